"""What bytes mean: counts in bytes are to a training what the same counts are in floats."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from saf.data import Dataset, load, save
from saf.errors import UserConfigError
from saf.lif.measure import measure
from saf.lif.network import load_lif
from saf.processes.predict import answer
from saf.training.batches import Samples
from tests.saf.training.trainings import run, specification, summary


def counts(**changes: Any) -> Dataset:
    generator = np.random.default_rng(0)
    y = np.arange(30) % 3
    x = generator.poisson(0.4, (30, 3, 2, 8, 8))
    for sample, label in zip(x, y, strict=True):
        sample[:, :, :, 2 * label : 2 * label + 2] += generator.poisson(3.0, (3, 2, 8, 2))
    x = x.astype(np.uint8)
    fields: dict[str, Any] = {
        "x_train": x[:20],
        "y_train": y[:20],
        "x_test": x[20:],
        "y_test": y[20:],
        "class_names": tuple("abc"),
        "unit": 1,
    }
    return Dataset(**(fields | changes))


def in_floats(data: Dataset) -> Dataset:
    return counts(x_train=data.x_train.astype(np.float32), x_test=data.x_test.astype(np.float32))


@pytest.mark.parametrize("method", ["saf-e", "bptt"])
@pytest.mark.parametrize("mapped", [False, True])
def test_a_training_on_counts_in_bytes_ends_with_the_weights_of_one_on_floats(
    method: str, mapped: bool, tmp_path: Path
) -> None:
    data = counts()
    job = specification(method={"name": method})
    ended = {}
    for name, given in (("bytes", data), ("floats", in_floats(data))):
        if mapped:
            save(given, tmp_path / f"{name}.data")
            given = load(tmp_path / f"{name}.data")
        ended[name] = summary(run(job, given, tmp_path / name))
    files = [(tmp_path / name / "lif.safetensors").read_bytes() for name in ended]
    assert files[0] == files[1]
    for figure in ("lif_accuracy", "verdict", "test_accuracy"):
        assert ended["bytes"][figure] == ended["floats"][figure]


def test_bytes_of_another_unit_are_other_samples_to_the_network(tmp_path: Path) -> None:
    data = counts()
    shares = counts(x_train=data.x_train, x_test=data.x_test, unit=255)
    found = {}
    for name, given in (("counts", data), ("shares", shares)):
        run(specification(), given, tmp_path / name)
        found[name] = load_lif(tmp_path / name / "lif.safetensors").description.mean
    np.testing.assert_allclose(found["counts"], [255 * mean for mean in found["shares"]], rtol=1e-5)


def test_a_delivered_network_sees_the_same_counts_wherever_it_is_run(tmp_path: Path) -> None:
    data = counts()
    run(specification(), data, tmp_path)
    path = tmp_path / "lif.safetensors"
    save(data, tmp_path / "bytes")
    save(in_floats(data), tmp_path / "floats")
    network = load_lif(path)
    with torch.no_grad():
        expected = network(torch.from_numpy(data.x_test).float())
    for name in ("bytes", "floats"):
        stored = load(tmp_path / name)
        question = {
            "network": str(path),
            "sample": {"dataset": str(tmp_path / name), "builtin": False, "index": 2},
        }
        tried = answer(question)
        assert tried["ok"]
        np.testing.assert_allclose(tried["scores"][-1], expected[2].numpy(), atol=1e-4)
        found = measure(network, stored.x_test, stored.y_test, unit=stored.unit)
        right = (expected.argmax(1).numpy() == data.y_test).mean()
        assert found.accuracy == pytest.approx(right)


@pytest.mark.parametrize("unit", [1, 255])
def test_samples_that_are_mapped_stay_in_their_file(unit: int, tmp_path: Path) -> None:
    data = counts(unit=unit)
    save(data, tmp_path / "d")
    stored = load(tmp_path / "d")
    samples = Samples(
        stored.x_train, stored.y_train, torch.device("cpu"), torch.float32, stored.unit
    )
    assert samples.x.data_ptr() == stored.x_train.ctypes.data
    x, _ = samples[torch.tensor([3, 1])]
    np.testing.assert_array_equal(x, data.x_train[[3, 1]].astype(np.float32) / np.float32(unit))


def test_series_are_refused_by_a_network_of_images_with_what_can_be_done(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(20, 3, 2)).astype(np.float32)
    data = counts(x_train=x, x_test=x[:10])
    with pytest.raises(UserConfigError, match="convnet takes images") as refused:
        run(specification(timesteps=3), data, tmp_path)
    assert "use mlp or rnn" in str(refused.value)
