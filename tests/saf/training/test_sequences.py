"""Images are shown row by row, column by column or pixel by pixel, as the input of a job says."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError

import saf
from saf.config import JobSpecification
from saf.data import save
from saf.data.dataset import Dataset
from saf.errors import UserConfigError
from saf.estimate.memory import forecast
from saf.lif.export.templates.lif_numpy import Network
from saf.lif.exporting import export
from saf.lif.header import LIFDescription
from saf.lif.measure import measure
from saf.lif.network import LIFNetwork
from saf.lif.starting import settings_of, taken_over
from saf.networks.build import build_for
from saf.processes.predict import answer
from saf.training.events import Step
from saf.training.loop import train
from saf.training.trainer import Trainer
from tests.saf.training.trainings import resolved, run, summary

HEIGHT, WIDTH = 3, 4
RNN: dict[str, Any] = {"name": "rnn", "features": [12, 12]}


def images(channels: int = 1, samples: int = 40) -> Dataset:
    """Images of two classes, bright and dark. All places of a channel have the same values in
    another order of the samples, so that each has the mean and the deviation of the channel."""
    generator = np.random.default_rng(0)
    y = np.arange(samples) % 2
    values = generator.integers(0, 256, (channels, samples // 2))
    x = np.zeros((samples, channels, HEIGHT, WIDTH), np.uint8)
    for channel, h, w in np.ndindex(x.shape[1:]):
        for label in (0, 1):
            own = generator.permutation(values[channel])
            x[y == label, channel, h, w] = own // (1 + label)
    return Dataset(x, y, x[:12], y[:12], ("bright", "dark"))


def by_hand(x: Any, present: str) -> Any:
    """Images as series N T C."""
    n, _, height, width = x.shape
    if present == "rows":
        return np.stack([x[:, :, h].reshape(n, -1) for h in range(height)], axis=1)
    if present == "columns":
        return np.stack([x[..., w].reshape(n, -1) for w in range(width)], axis=1)
    places = [(h, w) for h in range(height) for w in range(width)]
    return np.stack([x[:, :, h, w] for h, w in places], axis=1)


def as_series(data: Dataset, present: str) -> Dataset:
    return Dataset(
        by_hand(data.x_train, present),
        data.y_train,
        by_hand(data.x_test, present),
        data.y_test,
        data.class_names,
        unit=255,
    )


def job(**changes: Any) -> JobSpecification:
    values: dict[str, Any] = {"network": RNN, "epochs": 1}
    return JobSpecification.model_validate(values | changes)


def shown(present: str, **encoding: Any) -> dict[str, Any]:
    return {"present": present, **({"encoding": encoding} if encoding else {})}


def lif_in(directory: Path) -> LIFNetwork:
    return saf.load_lif(directory / "lif.safetensors")


def floats(x: Any) -> torch.Tensor:
    return torch.from_numpy(x).float() / 255


CASES: list[tuple[str, int, dict[str, Any]]] = [
    ("rows", 1, {"method": {"name": "saf-e"}}),
    ("rows", 3, {"method": {"name": "saf-f"}, "network": {"name": "mlp", "features": [12, 12]}}),
    ("rows", 2, {"network": {"name": "convnet1d", "channels": [4], "kernel": 3, "maps": 2}}),
    ("columns", 1, {"method": {"name": "ottt-a"}, "neuron": {"name": "plif"}}),
    ("columns", 3, {"method": {"name": "ottt-o"}}),
    ("pixels", 1, {"method": {"name": "bptt"}}),
    ("pixels", 3, {"method": {"name": "spike-representation"}}),
    ("pixels", 1, {"network": {"name": "delay", "features": [8, 8], "learned": True}}),
]


@pytest.mark.slow
@pytest.mark.parametrize(("present", "channels", "changes"), CASES)
def test_a_training_is_that_of_series_that_were_made_by_hand(
    present: str, channels: int, changes: dict[str, Any], tmp_path: Path
) -> None:
    data = images(channels)
    of_images = run(job(input=shown(present), **changes), data, tmp_path / "images")
    of_series = run(job(**changes), as_series(data, present), tmp_path / "series")
    losses = [
        [each.metrics["loss"] for each in reports if isinstance(each, Step)]
        for reports in (of_images, of_series)
    ]
    assert losses[0] == losses[1]
    one, other = lif_in(tmp_path / "images"), lif_in(tmp_path / "series")
    assert one.tensors.keys() == other.tensors.keys()
    for name, tensor in one.tensors.items():
        assert torch.equal(tensor, other.tensors[name]), name
    x = floats(data.x_test)
    assert torch.equal(one(x), other(floats(by_hand(data.x_test, present))))
    assert torch.equal(one(x), one(floats(by_hand(data.x_test, present))))
    assert one.timesteps == {"rows": HEIGHT, "columns": WIDTH, "pixels": HEIGHT * WIDTH}[present]
    of_one = json.loads((tmp_path / "images" / "certificate.json").read_text())
    assert of_one["image"] == {"present": present, "shape": [channels, HEIGHT, WIDTH]}
    assert of_one["verdict"] in ("measured", "proven")
    assert sum(layer["firing_rate_lif"] for layer in of_one["checks"][1]["layers"]) > 0
    assert summary(of_images)["lif_accuracy"] == summary(of_series)["lif_accuracy"]


@pytest.mark.parametrize(
    "encoding",
    [
        {"name": "onoff"},
        {"name": "rate", "seed": 1},
        {"name": "latency", "window": 3},
        {"name": "delta", "step": 0.5},
    ],
    ids=lambda each: each["name"],
)
def test_parts_of_images_are_encoded_as_time_steps_of_series(
    encoding: dict[str, Any], tmp_path: Path
) -> None:
    data = images(2)
    run(job(input=shown("rows", **encoding)), data, tmp_path / "images")
    run(job(input={"encoding": encoding}), as_series(data, "rows"), tmp_path / "series")
    one, other = lif_in(tmp_path / "images"), lif_in(tmp_path / "series")
    for name, tensor in one.tensors.items():
        assert torch.equal(tensor, other.tensors[name]), name
    series = floats(by_hand(data.x_test, "rows"))
    assert torch.equal(one(floats(data.x_test)), other(series))
    state = None
    for row in series.unbind(1):
        scores, state = one.step(row, state)
    assert torch.equal(scores, one(floats(data.x_test)))


def test_pixels_are_normalised_by_the_channel_of_the_image(tmp_path: Path) -> None:
    """A column that is always dark has no deviation of its own to be blown up by."""
    data = images(3)
    data.x_train[..., 0] = 0
    run(job(input=shown("rows"), augment=["crop", "flip"]), data, tmp_path)
    described = lif_in(tmp_path).description
    mean, deviation = data.channel_statistics()
    assert described.mean == tuple(np.repeat(mean.astype(np.float32), WIDTH).tolist())
    assert described.std == tuple(np.repeat(deviation.astype(np.float32), WIDTH).tolist())


def test_images_are_changed_before_they_are_shown_in_parts() -> None:
    data = images()
    asked = resolved(network=RNN, input=shown("rows"), augment=["flip"], timesteps=HEIGHT)
    architecture = build_for(asked, data.sample_shape, data.classes, in_time=False)
    cpu = torch.device("cpu")
    trainer = Trainer(asked, data, architecture, cpu, resume_from=None, init_from=None)
    batch = trainer._batch(0).x
    known = {image.numpy().tobytes() for image in floats(data.x_train)}
    turned = {image.flip(2).numpy().tobytes() for image in floats(data.x_train)}
    found = {image.numpy().tobytes() for image in batch}
    assert found <= known | turned
    assert found & known
    assert found & turned


@pytest.mark.parametrize(("present", "steps"), [("rows", HEIGHT), ("pixels", HEIGHT * WIDTH)])
def test_timesteps_are_those_of_the_parts(present: str, steps: int, tmp_path: Path) -> None:
    asked = job(input=shown(present), timesteps=7)
    with pytest.raises(
        UserConfigError, match=f"3 × 4 pixels.* are {steps} time steps.* is 7"
    ) as no:
        next(train(asked, images(), tmp_path))
    assert f"set timesteps to {steps}" in no.value.hint


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"network": {"name": "convnet"}}, "present = rows shows them .* 8 values .* use mlp"),
        ({"network": {"name": "vgg11"}}, r"input\.present = whole"),
        ({"conversion": {"grid_bits": 8}, "input": shown("rows", name="onoff")}, "is proven"),
    ],
)
def test_what_does_not_go_with_parts_of_images_is_refused_in_words(
    changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises((UserConfigError, ValidationError), match=message):
        next(train(job(**{"input": shown("rows"), **changes}), images(2), tmp_path))


def test_series_have_time_steps_of_their_own(tmp_path: Path) -> None:
    with pytest.raises(UserConfigError, match="series, which have time steps of their own"):
        next(train(job(input=shown("rows")), as_series(images(), "rows"), tmp_path))


def test_more_parts_than_a_network_takes_are_refused_with_their_number(tmp_path: Path) -> None:
    y = np.arange(4) % 2
    x = np.random.default_rng(0).integers(0, 256, (4, 1, 33, 32), dtype=np.uint8)
    data = Dataset(x, y, x, y, ("a", "b"))
    with pytest.raises(UserConfigError, match=r"1,056 time steps.* at most 1,024") as refused:
        next(train(job(input=shown("pixels")), data, tmp_path))
    assert "rows or columns" in refused.value.hint


def test_the_forecast_counts_the_images_and_not_one_part_of_them() -> None:
    shape, needed = (3, 32, 32), {}
    for present, steps in (("columns", 32), ("pixels", 1024)):
        asked = resolved(network=RNN, input=shown(present), timesteps=steps, batch_size=64)
        architecture = build_for(asked, shape, 2, in_time=False)
        needed[present] = forecast(asked, architecture, limit_bytes=2**40).training_bytes
    assert min(needed.values()) > 64 * 4 * 3 * 32 * 32


def test_a_network_of_parts_is_proven_where_images_are(tmp_path: Path) -> None:
    asked = job(input=shown("rows"), conversion={"grid_bits": "auto"})
    assert summary(run(asked, images(2), tmp_path))["verdict"] == "proven"


def test_a_training_goes_on_bit_for_bit(tmp_path: Path) -> None:
    data, asked = images(), job(input=shown("columns"), epochs=3)
    run(asked, data, tmp_path / "whole")
    for report in train(asked, data, tmp_path / "parts"):
        if isinstance(report, Step) and report.step == 6:
            break
    assert list(train(asked, data, tmp_path / "parts", resume_from=tmp_path / "parts/checkpoints"))
    one, other = lif_in(tmp_path / "whole"), lif_in(tmp_path / "parts")
    for name, tensor in one.tensors.items():
        assert torch.equal(tensor, other.tensors[name])


def test_the_file_says_how_images_are_read_and_a_file_that_contradicts_itself_is_refused(
    tmp_path: Path,
) -> None:
    data = images(2)
    run(job(input=shown("rows")), data, tmp_path)
    lif = lif_in(tmp_path)
    assert repr(lif).startswith("LIFNetwork(2×3×4 row by row → 2, T = 3")
    described = lif.description.model_dump()
    for wrong in (
        {"format": "saf-lif/2"},
        {"frames": False},
        {"timesteps": 4},
        {"image": {"present": "columns", "shape": [2, HEIGHT, WIDTH]}},
        {"image": {"present": "rows", "shape": [2, HEIGHT, 7]}},
        {"image": {"present": "spirals", "shape": [2, HEIGHT, WIDTH]}},
    ):
        with pytest.raises(ValidationError):
            LIFDescription.model_validate({**described, **wrong})
    with pytest.raises(ValueError, match="images of 2 × 3 × 4, which it reads row by row"):
        lif(torch.zeros(1, 2, 4, 3))
    with pytest.raises(ValueError, match="values from 0 to 1"):
        lif(2 + floats(data.x_test))
    found = measure(lif, data.x_test, data.y_test)
    assert found.accuracy == float((lif.predict(floats(data.x_test)).numpy() == data.y_test).mean())


def test_a_job_that_starts_from_the_file_spikes_as_it_does(tmp_path: Path) -> None:
    data = images(2)
    run(job(input=shown("rows")), data, tmp_path / "first")
    file = tmp_path / "first" / "lif.safetensors"
    before = lif_in(tmp_path / "first")
    rate = {"name": "sgd", "learning_rate": 1e-12}
    asked = {"init": {"network": "it"}, "epochs": 1, "optimizer": rate}
    body = taken_over(asked, settings_of(before))
    assert body["input"] == {"present": "rows"}
    for _ in train(JobSpecification.model_validate(body), data, tmp_path / "next", init_from=file):
        pass
    x = floats(data.x_test)
    torch.testing.assert_close(lif_in(tmp_path / "next")(x), before(x))


@pytest.mark.parametrize("present", ["rows", "columns", "pixels"])
def test_exports_get_the_parts_in_their_order(present: str, tmp_path: Path) -> None:
    data = images(2)
    of = {"name": "mlp", "features": [12, 12]}
    run(job(input=shown(present), network=of), data, tmp_path)
    lif = lif_in(tmp_path)
    for target in ("python", "onnx"):
        done = export(lif, target, tmp_path / target, data.x_test, data.y_test)
        assert done.verdict in ("identical", "equivalent"), target
        assert done.certificate["network"]["image"]["present"] == present
    program: Any = Network
    scores, _ = program(tmp_path / "lif.safetensors").run(data.x_test / 255)  # images themselves
    expected = lif(floats(data.x_test)).numpy()
    np.testing.assert_allclose(scores, expected, rtol=1e-4, atol=1e-4)


def test_an_image_and_a_sample_are_tried_on_a_network_that_reads_rows(tmp_path: Path) -> None:
    data = images(1)
    run(job(input=shown("rows")), data, tmp_path)
    save(data, tmp_path / "data")
    question = {"network": str(tmp_path / "lif.safetensors"), "detail": True}
    file = io.BytesIO()
    Image.fromarray(data.x_test[3, 0]).save(file, "PNG")
    asked: list[dict[str, Any]] = [
        {"image": base64.b64encode(file.getvalue()).decode()},
        {"pixels": (data.x_test[3] / 255).tolist()},
        {"sample": {"dataset": str(tmp_path / "data"), "builtin": False, "index": 3}},
    ]
    answers = [answer({**question, **each}) for each in asked]
    assert all(each["ok"] for each in answers), answers
    assert answers[0]["scores"] == answers[1]["scores"] == answers[2]["scores"]
    assert len(answers[0]["scores"]) == HEIGHT
    assert answers[0]["frame_size"] == [HEIGHT, WIDTH]
    refused = answer({**question, "series": [[0.0] * WIDTH] * HEIGHT})
    assert "takes no series" in refused["message"]
    small = answer({**question, "pixels": [[[0.0]]]})
    assert "[1, 3, 4]" in small["hint"]
