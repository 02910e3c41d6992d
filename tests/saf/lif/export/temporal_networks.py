"""Networks on data in time, each of a training of a few steps on samples of an odd shape, with
held-out samples and, where they are padded, their lengths."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from saf.config import JobSpecification
from saf.data.dataset import Dataset
from saf.lif.grid.fixed_point import Grid
from saf.lif.network import LIFNetwork, load_lif
from saf.networks.architecture import (
    INPUT,
    Architecture,
    Connection,
    Flatten,
    LayerDescription,
    Linear,
)
from saf.training.loop import train
from tests.saf.lif.grid_networks import described

DELAY: Mapping[str, Any] = {"name": "delay", "features": [7, 5], "delays": [0, 1, 3]}
MLP: Mapping[str, Any] = {"name": "mlp", "features": [9]}
RNN: Mapping[str, Any] = {"name": "rnn", "features": [6, 5]}
CONV1D: Mapping[str, Any] = {"name": "convnet1d", "channels": [3, 4], "kernel": 3}
GRID: Mapping[str, Any] = {"conversion": {"grid_bits": 8}}


class Case(NamedTuple):
    """What is trained: settings of a job, the shape of its samples, and whether they are bytes."""

    settings: Mapping[str, Any]
    shape: tuple[int, ...] = (7, 3)  # T C
    bytes: bool = False
    padded: bool = False


def _encoded(name: str, **settings: Any) -> Mapping[str, Any]:
    return {"input": {"encoding": {"name": name, **settings}}}


def _read(readout: str) -> Mapping[str, Any]:
    return {"network": MLP, "method": {"name": "saf-e", "readout": readout}}


CASES: Mapping[str, Case] = {
    "delays": Case({"network": DELAY}),
    "learned delays": Case({"network": {**DELAY, "learned": True}}),
    "delays longer than the series": Case({"network": DELAY}, (1, 3)),
    "delays in a list of layers": Case(
        {
            "network": {
                "name": "layers",
                "layers": [
                    {"kind": "conv1d", "channels": 3, "kernel": 3, "delays": [0, 2]},
                    {"kind": "average_pool1d", "kernel": 2},
                    {"kind": "linear", "features": 5, "recurrent": True},
                ],
            }
        },
        (6, 5),
    ),
    "feedback (`rnn`)": Case({"network": RNN}, (6, 1)),
    "convolutions of one dimension": Case({"network": CONV1D}, (5, 9)),
    "encoding `onoff`": Case({"network": MLP, **_encoded("onoff")}),
    "encoding `delta`": Case({"network": MLP, **_encoded("delta")}),
    "encoding `rate`": Case({"network": MLP, **_encoded("rate", seed=3)}),
    "encoding `latency`": Case({"network": MLP, **_encoded("latency", window=3)}),
    "images by `rate`": Case(
        {"network": MLP, "timesteps": 5, **_encoded("rate")}, (1, 5, 7), bytes=True
    ),
    "images by `latency`": Case(
        {"network": MLP, "timesteps": 5, **_encoded("latency", window=4)}, (2, 5, 3), bytes=True
    ),
    "images row by row": Case(
        {"network": RNN, "input": {"present": "rows"}}, (2, 5, 3), bytes=True
    ),
    "neurons `plif`": Case({"network": MLP, "neuron": {"name": "plif"}}),
    "neurons `cuba`": Case({"network": RNN, "neuron": {"name": "cuba"}}),
    "neurons `alif`": Case({"network": MLP, "neuron": {"name": "alif"}}),
    "readout `weighted`": Case(_read("weighted")),
    "readout `last`": Case(_read("last")),
    "readout `max`": Case(_read("max")),
    "padded series, delays": Case({"network": DELAY}, padded=True),
    "padded series, `weighted`": Case(_read("weighted"), (9, 1), padded=True),
    "grid: delays": Case({"network": DELAY, **GRID}, bytes=True),
    "grid: learned delays": Case(
        {"network": {**DELAY, "learned": True}, **GRID}, (6, 2), bytes=True, padded=True
    ),
    "grid: images column by column": Case(
        {"network": DELAY, "input": {"present": "columns"}, **GRID}, (2, 5, 3), bytes=True
    ),
    "grid: delays longer than the series": Case({"network": DELAY, **GRID}, (1, 3), bytes=True),
    "grid: feedback (`rnn`)": Case({"network": RNN, **GRID}, (6, 1), bytes=True),
    "grid: convolutions of one dimension": Case({"network": CONV1D, **GRID}, (5, 9), bytes=True),
    "grid: padded series, `weighted`": Case(
        {**_read("weighted"), **GRID}, (9, 1), bytes=True, padded=True
    ),
}


class Made(NamedTuple):
    """A network and held-out samples of it."""

    network: LIFNetwork
    x: NDArray[Any]
    y: NDArray[Any]
    unit: int
    lengths: NDArray[np.int64] | None


@cache
def made(name: str) -> Made:
    """The network of a case, after three epochs on 24 samples."""
    case = CASES[name]
    data = _drawn(case)
    job = JobSpecification.model_validate({"epochs": 3, "batch_size": 12, **case.settings})
    with TemporaryDirectory() as folder:
        for _ in train(job, data, Path(folder), device="cpu"):
            pass
        network = load_lif(Path(folder) / "lif.safetensors")
    return Made(network, data.x_test, data.y_test, data.unit, data.lengths_test)


def _drawn(case: Case) -> Dataset:
    generator = np.random.default_rng(4)
    splits: dict[str, Any] = {}
    for split, count in (("train", 24), ("test", 22)):
        y = np.arange(count) % 3
        x = generator.uniform(0, 255, (count, *case.shape))
        x *= (y + 1).reshape(-1, *(1,) * len(case.shape)) / 3
        splits[f"x_{split}"] = x.astype(np.uint8) if case.bytes else x.astype(np.float32) / 50 - 2
        splits[f"y_{split}"] = y
        if case.padded:
            splits[f"lengths_{split}"] = generator.integers(1, case.shape[0] + 1, count)
    return Dataset(**splits, class_names=("a", "b", "c"), unit=255 if case.bytes else 1)


def skipping(*, grid: bool) -> Made:
    """A network in which the input and the first layer also reach the third one, steps later, and
    that the first."""

    def heard(source: str, features: int, delay: int = 0) -> Connection:
        flat = (Flatten(),) if source == INPUT else ()
        operations = (*flat, Linear(out_features=features))
        return Connection(source=source, operations=operations, delay=delay)

    layers = (
        LayerDescription(name="layer1", connections=(heard(INPUT, 5), heard("layer3", 5, 2))),
        LayerDescription(name="layer2", connections=(heard("layer1", 4, 1),)),
        LayerDescription(
            name="layer3",
            connections=(heard("layer2", 3), heard("layer1", 3, 3), heard(INPUT, 3, 2)),
        ),
    )
    readout = LayerDescription(name="readout", connections=(heard("layer3", 3),))
    architecture = Architecture(input_shape=(2, 1, 1), layers=layers, readout=readout)
    steps, on = 6, Grid(bits=4, input_bits=8)
    description = described(
        architecture,
        steps,
        on if grid else None,
        format="saf-lif/3",
        frames=True,
        readout="mean",
        mean=(0.3, 0.5),
        std=(0.2, 0.3),
    )
    generator = torch.Generator().manual_seed(5)
    tensors = {
        name: torch.randint(-12, 20, shape, generator=generator) / 16
        for name, shape in description.tensor_shapes().items()
    }
    x = np.random.default_rng(6).integers(0, 256, (20, steps, 2), dtype=np.uint8)
    network = LIFNetwork(description, tensors)
    return Made(network, x, np.arange(20) % 3, 255, np.arange(20) % steps + 1)


MADE: Mapping[str, Callable[[], Made]] = {
    **{name: partial(made, name) for name in CASES},
    "skip over time": partial(skipping, grid=False),
    "grid: skip over time": partial(skipping, grid=True),
}
"""All networks, by what they are."""
