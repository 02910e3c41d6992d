"""A job trains on series: what is shown at each step, what comes out, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

import saf
from saf.config import JobSpecification
from saf.config.encodings import ENCODINGS as ENCODINGS_BY_NAME
from saf.config.targets import CannotExportError
from saf.data.baseline import baselines
from saf.data.dataset import Dataset
from saf.errors import UserConfigError
from saf.lif.exporting import export
from saf.lif.header import LIFDescription
from saf.model.network import SpikingNetwork
from saf.networks.architecture import Architecture
from saf.networks.build import build
from saf.training.batches import Samples
from saf.training.loop import train
from tests.saf.training.trainings import dataset, run, summary

STEPS = 9


def waves(samples: int, channels: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Sines of three frequencies around −5, one for each class."""
    generator = np.random.default_rng(seed)
    y = np.arange(samples) % 3
    phase = generator.uniform(0, 0.5, (samples, 1, channels))
    angle = np.arange(STEPS)[None, :, None] * (0.3 + 0.5 * y[:, None, None]) + phase
    return (10 * np.sin(angle) - 5).astype(np.float32), y


def series(channels: int = 3, samples: int = 60) -> Dataset:
    x, y = waves(samples, channels, 0)
    x_test, y_test = waves(15, channels, 1)
    return Dataset(x_train=x, y_train=y, x_test=x_test, y_test=y_test, class_names=tuple("abc"))


def job(**changes: Any) -> JobSpecification:
    values: dict[str, Any] = {"network": {"name": "mlp", "features": [20, 20]}, "epochs": 1}
    return JobSpecification.model_validate(values | changes)


@pytest.mark.parametrize(
    "method", ["saf-e", "saf-f", "ottt-a", "ottt-o", "spike-representation", "bptt"]
)
@pytest.mark.parametrize("channels", [1, 3])
def test_every_method_trains_on_series_and_leaves_a_network_that_fires_the_same(
    method: str, channels: int, tmp_path: Path
) -> None:
    data = series(channels)
    reports = run(job(method={"name": method}), data, tmp_path)
    lif = saf.load_lif(tmp_path / "lif.safetensors")
    assert lif.timesteps == STEPS
    x = torch.from_numpy(data.x_test)
    accuracy = float((lif.predict(x).numpy() == data.y_test).mean())
    assert summary(reports)["lif_accuracy"] == pytest.approx(accuracy)
    certificate = json.loads((tmp_path / "certificate.json").read_text())
    exact = certificate["checks"][1]
    assert exact["precision"] == "float64"
    assert exact["spikes_compared"] == 15 * STEPS * 40
    assert exact["spikes_differing"] == 0
    assert sum(layer["firing_rate_lif"] for layer in exact["layers"]) > 0


def test_a_job_that_says_nothing_trains_on_series(tmp_path: Path) -> None:
    run(JobSpecification(epochs=1), series(), tmp_path)
    asked = json.loads((tmp_path / "report.json").read_text())["specification"]
    assert (asked["network"]["name"], asked["method"]["name"]) == ("mlp", "saf-e")


def test_a_stream_of_values_has_the_scores_of_the_whole_series(tmp_path: Path) -> None:
    data = series()
    run(job(epochs=1), data, tmp_path)
    lif = saf.load_lif(tmp_path / "lif.safetensors")
    x = torch.from_numpy(data.x_test)
    state = None
    for t in range(STEPS):
        scores, state = lif.step(x[:, t], state)
    assert torch.equal(scores, lif(x))
    with pytest.raises(ValueError, match=f"N {STEPS} 3 1 1 .*N {STEPS} 3,"):
        lif(x[:, 1:])


@pytest.mark.slow
def test_waves_are_learnt(tmp_path: Path) -> None:
    reports = run(job(epochs=25, method={"name": "saf-e"}), series(), tmp_path)
    assert summary(reports)["test_accuracy"] >= 0.9


def test_the_current_of_a_step_is_the_value_of_that_step() -> None:
    """A neuron that copies channel 0, normalised, fires at the step whose value exceeds V."""
    architecture = Architecture.model_validate(
        build(job(network={"name": "mlp", "features": [1]}).network, (2, 1, 1), 2).model_dump()
    )
    network = SpikingNetwork(architecture, job().neuron, mean=[10, 0], std=[2, 1], seed=0)
    with torch.no_grad():
        network.layers[0].maps[0].weight.copy_(torch.tensor([[1.0, 0.0]]))
    x = torch.tensor([[[10.0, 9.0], [12.0, 9.0], [8.0, 9.0], [9.0, 9.0]]])  # T C
    fired: list[torch.Tensor] = []
    network.layers[0].register_forward_hook(lambda _m, _i, sent: fired.append(sent.detach()))
    network(x)
    assert torch.cat(fired).flatten().tolist()[:2] == [0.0, 1.0]
    assert torch.equal(network(x), network(x[..., None, None]))


def test_series_in_bytes_mean_what_their_unit_says(tmp_path: Path) -> None:
    generator = np.random.default_rng(3)
    x, y = generator.integers(0, 9, (30, STEPS, 2)).astype(np.uint8), np.arange(30) % 2
    counts = Dataset(x, y, x[:6], y[:6], ("a", "b"), unit=1)
    as_floats = x.astype(np.float32)
    floats = Dataset(as_floats, y, as_floats[:6], y[:6], ("a", "b"))
    for data, directory in ((counts, "counts"), (floats, "floats")):
        run(job(epochs=1, validation_share=0), data, tmp_path / directory)
    first, second = (
        saf.load_lif(tmp_path / directory / "lif.safetensors") for directory in ("counts", "floats")
    )
    for name, tensor in first.tensors.items():
        assert torch.equal(tensor, second.tensors[name])


@pytest.mark.parametrize("network", ["mlp", "delay"])
def test_series_in_bytes_over_255_can_be_proven(network: str, tmp_path: Path) -> None:
    x, y = waves(30, 2, 0)
    as_bytes = (127 + 7 * x).clip(0, 255).astype(np.uint8)
    data = Dataset(as_bytes, y, as_bytes[:9], y[:9], tuple("abc"), unit=255)
    of: dict[str, Any] = {"name": network, "features": [12, 12]}
    if network == "delay":
        of |= {"delays": [0, 3], "learned": True}
    reports = run(job(network=of, conversion={"grid_bits": "auto"}, epochs=1), data, tmp_path)
    assert summary(reports)["verdict"] == "proven"


@pytest.mark.parametrize(
    ("changes", "message", "hint"),
    [
        ({"timesteps": 6}, "9 time steps a sample and timesteps is 6", "set timesteps to 9"),
        ({"conversion": {"grid_bits": 8}}, "series of any values", "null"),
        ({"augment": ["flip"]}, "flip changes the places of pixels", "leave it out"),
        ({"augment": ["crop", "cutout"]}, "crop changes the places", "leave it out"),
        ({"network": {"name": "convnet"}}, "without a place .* use mlp", "fit together"),
        ({"network": {"name": "vgg11"}}, "without a place .* use mlp", "fit together"),
    ],
)
def test_what_series_cannot_be_trained_with_is_refused_in_words(
    changes: dict[str, Any], message: str, hint: str, tmp_path: Path
) -> None:
    with pytest.raises(UserConfigError, match=message) as refused:
        next(train(job(**changes), series(), tmp_path))
    assert hint in refused.value.hint
    assert list(tmp_path.iterdir()) == []


def test_series_that_are_too_long_are_refused_with_what_to_do(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(6, 1025, 1)).astype(np.float32)
    y = np.arange(6) % 2
    data = Dataset(x, y, x, y, ("a", "b"))
    with pytest.raises(UserConfigError, match="1,025 time steps") as refused:
        next(train(job(), data, tmp_path))
    assert "every n-th value" in refused.value.hint


def test_samples_of_a_mapped_file_stay_views_with_the_axes_of_one_pixel() -> None:
    data = series()
    samples = Samples(data.x_train, data.y_train, torch.device("cpu"), torch.float32)
    x, _ = samples[torch.tensor([2, 4])]
    assert x.shape == (2, STEPS, 3, 1, 1)
    assert np.array_equal(x[..., 0, 0].numpy(), data.x_train[[2, 4]])


@pytest.mark.parametrize("steps", [9, 700])
def test_the_linear_baseline_sees_the_values_of_series_or_means_over_time(steps: int) -> None:
    generator = np.random.default_rng(0)
    y = np.arange(40) % 2
    x = generator.normal(size=(40, steps, 2)).astype(np.float32)
    x[:, : steps // 2, 1] += np.where(y, 3, -3)[:, None]
    found = baselines(x[:30], y[:30], x[30:], y[30:], 2)
    assert found.linear == 1.0


ENCODINGS: list[dict[str, Any]] = [
    {"name": "onoff"},
    {"name": "delta", "step": 0.3},
    {"name": "rate", "seed": 5},
    {"name": "latency", "window": 4},
]


@pytest.mark.parametrize("encoding", ENCODINGS, ids=lambda each: each["name"])
@pytest.mark.parametrize("network", ["mlp", "rnn", "delay"])
def test_what_is_delivered_encodes_its_input_as_the_training_did(
    network: str, encoding: dict[str, Any], tmp_path: Path
) -> None:
    data = series()
    asked = job(
        network={"name": network, "features": [12, 12]},
        method={"name": "saf-e"},
        input={"encoding": encoding},
    )
    run(asked, data, tmp_path)
    lif = saf.load_lif(tmp_path / "lif.safetensors")
    assert lif.description.format == "saf-lif/3"
    assert lif.description.encoding is not None
    assert lif.description.encoding.items() >= encoding.items()
    for check in json.loads((tmp_path / "certificate.json").read_text())["checks"]:
        assert check["spikes_differing"] == 0
        assert sum(layer["firing_rate_lif"] for layer in check["layers"]) > 0
    x = torch.from_numpy(data.x_test)
    state = None
    for now in x.unbind(1):
        scores, state = lif.step(now, state)
    assert torch.equal(scores, lif(x))
    assert torch.equal(list(lif.run(x))[-1].scores, scores)


def test_the_rate_is_the_value_and_the_same_for_every_run() -> None:
    encoding = ENCODINGS_BY_NAME["rate"].model_validate({"name": "rate"})
    x = torch.tensor([-3.0, -1.0, 0.0, 1.0, 3.0]).expand(1000, 1, 5)[..., None, None]
    spikes, _ = encoding.encoded(x, None, 0)
    assert spikes.unique().tolist() == [0.0, 1.0]
    wanted = torch.tensor([0.0, 0.25, 0.5, 0.75, 1.0])
    assert torch.allclose(spikes.mean(0).flatten(), wanted, atol=0.01)
    parts = [encoding.encoded(x[i : i + 100], None, i)[0] for i in range(0, 1000, 100)]
    assert torch.equal(torch.cat(parts), spikes)
    other, _ = encoding.model_copy(update={"seed": 1}).encoded(x, None, 0)
    assert not torch.equal(other, spikes)


def test_delta_modulation_counts_the_levels_that_are_crossed() -> None:
    encoding = ENCODINGS_BY_NAME["delta"].model_validate({"name": "delta", "step": 0.5})
    x = torch.tensor([0.4, 1.1, 1.2, -0.6]).view(4, 1, 1, 1, 1)
    whole, last = encoding.encoded(x, None, 0)
    on, off = whole[:, 0, :, 0, 0].T
    assert on.tolist() == [0, 2, 0, 0]
    assert off.tolist() == [0, 0, 0, 3]
    first, memory = encoding.encoded(x[:1], None, 0)
    rest, again = encoding.encoded(x[1:], memory, 1)
    assert torch.equal(torch.cat([first, rest]), whole)
    assert last is not None
    assert again is not None
    assert torch.equal(last, again)


def test_on_and_off_are_what_is_above_and_below_the_mean() -> None:
    encoding = ENCODINGS_BY_NAME["onoff"].model_validate({"name": "onoff"})
    x = torch.tensor([[2.0, -3.0]]).view(1, 1, 2, 1, 1)
    assert encoding.encoded(x, None, 0)[0].flatten().tolist() == [2, 0, 0, 3]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"input": {"encoding": {"name": "delta"}}}, "delta is for data in time"),
    ],
)
def test_images_have_no_encoding_in_time(
    changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(UserConfigError, match=message):
        next(train(job(**changes), dataset(1, 8, 8), tmp_path))


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 2, 8, 8)])
def test_images_and_event_frames_may_be_shown_as_on_and_off(
    shape: tuple[int, ...], tmp_path: Path
) -> None:
    onoff = {"encoding": {"name": "onoff"}}
    asked = job(network={"name": "convnet", "channels": [4]}, input=onoff, epochs=1)
    run(asked, dataset(*shape, dtype=np.float32), tmp_path)
    lif = saf.load_lif(tmp_path / "lif.safetensors")
    assert lif.description.sample_shape == shape[-3:]
    assert lif.description.architecture.input_shape[0] == 2 * shape[-3]
    exact = json.loads((tmp_path / "certificate.json").read_text())["checks"][1]
    assert exact["spikes_differing"] == 0


def test_the_larger_a_value_the_earlier_its_one_spike() -> None:
    encoding = ENCODINGS_BY_NAME["latency"].model_validate({"name": "latency", "window": 4})
    x = torch.tensor([-3.0, -1.5, -0.5, 0.5, 1.5, 3.0]).expand(8, 1, 6)[..., None, None]
    spikes, _ = encoding.encoded(x, None, 0)
    at = [column.nonzero().flatten().tolist() for column in spikes.flatten(1).T]
    assert at == [[], [3, 7], [2, 6], [1, 5], [0, 4], [0, 4]]
    memory, parts = None, []
    for first in range(0, 8, 3):
        part, memory = encoding.encoded(x[first : first + 3], memory, first)
        parts.append(part)
    assert torch.equal(torch.cat(parts), spikes)
    later = torch.cat([x[:2], -x[2:]])  # a value is read when its window begins
    assert torch.equal(encoding.encoded(later, None, 0)[0][:4], spikes[:4])


@pytest.mark.parametrize("encoding", [{"name": "latency", "window": 5}, {"name": "rate"}])
def test_an_image_speaks_in_spikes_over_time(encoding: dict[str, Any], tmp_path: Path) -> None:
    data = dataset(1, 8, 8, dtype=np.float32)
    asked = job(
        network={"name": "convnet", "channels": [4]},
        input={"encoding": encoding},
        timesteps=6,
        epochs=1,
    )
    run(asked, data, tmp_path)
    lif = saf.load_lif(tmp_path / "lif.safetensors")
    for check in json.loads((tmp_path / "certificate.json").read_text())["checks"]:
        assert check["spikes_differing"] == 0
        assert sum(layer["firing_rate_lif"] for layer in check["layers"]) > 0
    seen: list[torch.Tensor] = []
    lif.layers[0].register_forward_hook(lambda _m, _i, sent: seen.append(sent))
    x, state = torch.from_numpy(data.x_test), None
    for _ in range(6):
        scores, state = lif.step(x, state)
    assert len({each.sum().item() for each in seen}) > 1  # not the same current at every step
    torch.testing.assert_close(scores, lif(x), rtol=1e-5, atol=1e-5)
    done = export(lif, "python", tmp_path / "written", data.x_test)
    assert done.verdict in ("identical", "equivalent")


def test_an_encoding_on_a_grid_is_refused() -> None:
    asked = {"input": {"encoding": {"name": "onoff"}}, "conversion": {"grid_bits": 8}}
    with pytest.raises(ValidationError, match=r"needs input\.encoding\.name = current, not onoff"):
        JobSpecification.model_validate(asked)


def test_a_file_that_does_not_say_its_encoding_is_refused(tmp_path: Path) -> None:
    run(job(input={"encoding": {"name": "onoff"}}, epochs=1), series(), tmp_path)
    described = saf.load_lif(tmp_path / "lif.safetensors").description.model_dump()
    for wrong in ({"format": "saf-lif/2"}, {"encoding": {"name": "nothing"}}, {"encoding": None}):
        with pytest.raises(ValidationError):
            LIFDescription.model_validate({**described, **wrong})


def test_files_without_an_encoding_stay_what_they_are(tmp_path: Path) -> None:
    run(job(epochs=1), series(), tmp_path)
    described = saf.load_lif(tmp_path / "lif.safetensors").description
    assert described.format == "saf-lif/2"
    assert "encoding" not in described.model_dump(mode="json")


@pytest.mark.slow
def test_exports_write_series_and_what_they_have_no_words_for_is_said(tmp_path: Path) -> None:
    data = series()
    for name in ("current", "onoff", "delta"):
        run(job(input={"encoding": {"name": name}}, epochs=1), data, tmp_path / name)
        lif = saf.load_lif(tmp_path / name / "lif.safetensors")
        done = export(lif, "python", tmp_path / f"of-{name}", data.x_test, data.y_test)
        assert done.verdict == "identical"
    with pytest.raises(CannotExportError, match=r"its input is encoded \(onoff\)"):
        export(saf.load_lif(tmp_path / "onoff/lif.safetensors"), "c", tmp_path / "written")


@pytest.mark.parametrize("unit", [2.0**-19, 2.0**-43, 2.0**40])
@pytest.mark.parametrize("network", ["mlp", "convnet1d"])
def test_the_unit_of_a_signal_does_not_matter(network: str, unit: float, tmp_path: Path) -> None:
    """Brain waves are some 1e-5 volts, and magnetic fields of a head some 1e-13 teslas. One channel
    is constant; the other units are exact, so that the trainings are equal bit for bit."""
    data = series()
    for x in (data.x_train, data.x_test):
        x[:, :, 1] = 101325.3
    other = replace(
        data, x_train=data.x_train * np.float32(unit), x_test=data.x_test * np.float32(unit)
    )
    of_network = {"network": {"name": network}, "epochs": 2}
    one, two = (
        summary(run(job(**of_network), d, tmp_path / n)) for d, n in ((data, "a"), (other, "b"))
    )
    assert one["train_loss"] < np.log(3)
    for name in ("train_loss", "test_loss", "test_accuracy", "lif_accuracy", "verdict"):
        assert one[name] == two[name]
