"""A checkpoint becomes the LIF network that its training would convert to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from saf.data import Dataset, save
from saf.lif.network import load_lif
from saf.model.inference import record
from saf.model.network import network_of
from saf.networks.build import build
from saf.processes.predict import answer
from saf.training.checkpoint import Checkpoint, steps
from saf.training.loop import train
from saf.training.to_lif import lif_network
from tests.saf.training.trainings import resolved


def dataset(*, frames: int | None = None, channels: int = 1) -> Dataset:
    shape = (channels, 16, 16) if frames is None else (frames, channels, 16, 16)
    x = np.random.default_rng(0).integers(0, 4 if frames else 256, (12, *shape), dtype=np.uint8)
    y = np.arange(12) % 3
    if frames:
        x = x.astype(np.float32)
    return Dataset(x_train=x, y_train=y, x_test=x[:6], y_test=y[:6], class_names=("a", "b", "c"))


CASES: list[tuple[dict[str, Any], Dataset]] = [
    ({"network": {"name": "convnet", "channels": [4, 4]}, "average_decay": 0.9}, dataset()),
    ({"network": {"name": "mlp", "features": [8]}, "precision": "float64"}, dataset()),
    (
        {"network": {"name": "vgg11-f", "width": 0.1}, "neuron": {"threshold": 0.25}},
        dataset(channels=3),
    ),
    ({"network": {"name": "resnet18", "width": 0.25}}, dataset(frames=3, channels=2)),
]
NAMES = ["moving average", "float64", "feedback", "skips and event frames"]


def trained(directory: Path, changes: dict[str, Any], data: Dataset) -> Path:
    specification = resolved(
        {"epochs": 2, "batch_size": 6, "timesteps": 3, "method": {"name": "saf-e"}, **changes}
    )
    for _ in train(specification, data, directory, device="cpu"):
        pass
    return directory


@pytest.mark.slow
@pytest.mark.parametrize(("changes", "data"), CASES, ids=NAMES)
def test_the_network_of_the_last_checkpoint_is_the_one_that_is_handed_out(
    tmp_path: Path, changes: dict[str, Any], data: Dataset
) -> None:
    directory = trained(tmp_path, changes, data)
    found = lif_network(Checkpoint.read(directory / "checkpoint.safetensors"), data.summary())
    handed_out = load_lif(directory / "lif.safetensors")
    assert found.description == handed_out.description
    assert found.tensors.keys() == handed_out.tensors.keys()
    for name, tensor in found.tensors.items():
        assert torch.equal(tensor, handed_out.tensors[name]), name


@pytest.mark.slow
@pytest.mark.parametrize(("changes", "data"), CASES[2:], ids=NAMES[2:])
def test_a_checkpoint_in_between_shows_the_spikes_of_the_network_in_training(
    tmp_path: Path, changes: dict[str, Any], data: Dataset
) -> None:
    directory = trained(tmp_path, changes, data)
    _, (step, path) = steps(directory / "checkpoints")
    assert step == 2  # of 4
    save(data, tmp_path / "data")
    found = answer(
        {
            "checkpoint": str(path),
            "summary": json.dumps(data.summary()),
            "sample": {"dataset": str(tmp_path / "data"), "builtin": False, "index": 4},
            "detail": True,
        }
    )
    assert found["ok"], found
    assert found["label"] == data.y_test[4]
    saved = Checkpoint.read(path)
    lif = lif_network(saved, data.summary())
    network = network_of(
        saved.specification,
        build(saved.specification.network, data.sample_shape, data.classes),
        mean=lif.description.mean,
        std=lif.description.std,
    )
    network.load_state_dict(saved.weights, strict=False)
    x = torch.from_numpy(data.x_test[4:5]).float() / (255 if data.x_test.dtype == np.uint8 else 1)
    by_step = list(record(network, x, 3))
    for number, layer in enumerate(found["layers"]):
        spikes = [int(at_step[number][0].sum()) for at_step in by_step]
        np.testing.assert_allclose(layer["spikes"], spikes, atol=1)  # rounding at the threshold
        assert len(layer["raster"]) == len(layer["membrane"]) == 3
    assert (found["frames"] is not None) == data.is_events


def test_a_checkpoint_that_diverged_or_is_of_other_data_says_so(tmp_path: Path) -> None:
    changes, data = CASES[0]
    path = trained(tmp_path, changes, data) / "checkpoint.safetensors"
    with pytest.raises(ValueError, match="in the checkpoint and"):
        lif_network(Checkpoint.read(path), dataset(channels=3).summary() | {"classes": 5})
    saved = Checkpoint.read(path)
    saved.average["layer1.0.weight"].fill_(torch.nan)
    saved.write(tmp_path / "diverged.safetensors")
    question = {
        "checkpoint": str(tmp_path / "diverged.safetensors"),
        "summary": json.dumps(data.summary()),
        "pixels": [[[0.5] * 16] * 16],
    }
    found = answer(question)
    assert not found["ok"]
    assert "no finite numbers" in found["message"]
