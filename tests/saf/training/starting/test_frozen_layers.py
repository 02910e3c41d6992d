"""Layers whose weights stay as they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from saf.errors import UserConfigError
from saf.training.checkpoint import Checkpoint
from tests.saf.training.starting.continuations import (
    ADAMW,
    METHODS,
    assert_same_bits,
    begun,
    left,
    starting,
)
from tests.saf.training.test_meta_device import run_until_read
from tests.saf.training.trainings import dataset, run, specification

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("freeze", [["layer1"], ["layer2"], ["*"], ["readout"], ["layer*"]])
@pytest.mark.parametrize("method", METHODS)
def test_frozen_layers_keep_their_bits_and_the_others_learn(
    method: str, freeze: list[str], tmp_path: Path
) -> None:
    data = dataset()
    run(specification(epochs=1), data, tmp_path / "source")
    job = specification(
        epochs=2,
        method={"name": method},
        optimizer=ADAMW,
        max_gradient_norm=1.0,
        average_decay=0.9,
        validation_share=0.3,
        init={"job": "j", "freeze": freeze},
    )
    source = Checkpoint.read(left(tmp_path / "source")).weights
    starting(job, left(tmp_path / "source"), tmp_path / "new", data)
    found = Checkpoint.read(left(tmp_path / "new"))
    kept = {
        "layer1": {"layer1"},
        "layer2": {"layer2"},
        "*": {"layer1", "layer2"},
        "layer*": {"layer1", "layer2"},
        "readout": {"readout"},
    }[freeze[0]]
    for name, before in source.items():
        for now in (found.weights[name], found.average[name], found.best[name]):
            assert torch.equal(now, before) == (name.partition(".")[0] in kept), name
    assert {name.partition(".")[0] for name in found.optimizer}.isdisjoint(kept)


@pytest.mark.parametrize("optimizer", [{"name": "sgd", "weight_decay": 0.5}, ADAMW])
@pytest.mark.parametrize("parts", [1, 2])
def test_weight_decay_leaves_frozen_layers_alone(
    optimizer: dict[str, Any], parts: int, tmp_path: Path
) -> None:
    data = dataset()
    run(specification(epochs=1), data, tmp_path / "source")
    job = specification(
        optimizer=optimizer, micro_batches=parts, init={"job": "j", "freeze": ["layer1"]}
    )
    starting(job, left(tmp_path / "source"), tmp_path / "new", data)
    source, found = (Checkpoint.read(left(tmp_path / n)).weights for n in ("source", "new"))
    names = [name for name in source if name.startswith("layer1.")]
    assert len(names) > 1
    assert_same_bits({n: source[n] for n in names}, {n: found[n] for n in names})


@pytest.mark.parametrize(
    ("network", "freeze", "kept"),
    [
        ({"name": "mlp", "features": [6, 5]}, ["layer1"], ["layer1"]),
        ({"name": "resnet18", "width": 0.05}, ["stage1*", "stem"], None),
        ({"name": "mobilenet", "width": 0.05}, ["*"], None),
    ],
    ids=["mlp", "resnet18", "mobilenet"],
)
def test_layers_of_other_networks_are_frozen_by_their_names(
    network: dict[str, Any], freeze: list[str], kept: list[str] | None, tmp_path: Path
) -> None:
    data = dataset()
    plain = specification(network=network, epochs=1, timesteps=2)
    run(plain, data, tmp_path / "source")
    trainer = begun(plain, left(tmp_path / "source"), data)
    layers = list(dict.fromkeys(name.partition(".")[0] for name in trainer.parameters))
    if kept is None:
        kept = layers[:-1] if freeze == ["*"] else layers[: len(layers) // 3]
        freeze = freeze if freeze == ["*"] else kept
    job = specification(network=network, epochs=1, timesteps=2, init={"job": "j", "freeze": freeze})
    starting(job, left(tmp_path / "source"), tmp_path / "new", data)
    source, found = (Checkpoint.read(left(tmp_path / n)).weights for n in ("source", "new"))
    same = {name.partition(".")[0] for name in source if torch.equal(source[name], found[name])}
    moved = {
        name.partition(".")[0] for name in source if not torch.equal(source[name], found[name])
    }
    assert set(kept) <= same
    assert moved.isdisjoint(kept)
    assert layers[-1] in moved


@pytest.mark.parametrize(
    ("freeze", "said"),
    [
        (["layer1", "stage*"], '"stage\\*", and the network has no such layer'),
        (["layer*", "readout"], "leaves nothing to train"),
        (["*", "readout"], "leaves nothing to train"),
        (["readout", "*"], "leaves nothing to train"),
    ],
)
def test_freezing_no_layer_or_all_of_them_is_refused(
    freeze: list[str], said: str, tmp_path: Path
) -> None:
    run(specification(epochs=1), dataset(), tmp_path / "source")
    job = specification(init={"job": "j", "freeze": freeze})
    with pytest.raises(UserConfigError, match=said):
        starting(job, left(tmp_path / "source"), tmp_path / "new", dataset())


@pytest.mark.parametrize("freeze", [[], ["layer1"], ["*"], ["readout"]], ids=str)
@pytest.mark.parametrize("method", METHODS)
def test_nothing_is_left_on_the_host_where_layers_are_frozen(
    method: str, freeze: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On torch's meta device, which stands in for a GPU."""
    data = dataset(samples=16)
    run(specification(epochs=1, timesteps=2), data, tmp_path / "source")
    job = specification(
        method={"name": method}, timesteps=2, init={"job": "j", "freeze": freeze}, average_decay=0.9
    )
    run_until_read(job, data, tmp_path, monkeypatch, init_from=left(tmp_path / "source"))
