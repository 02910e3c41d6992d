"""What a sample costs: counted synapse by synapse."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from saf.lif.costs.energy import estimate
from saf.lif.header import LIFDescription
from saf.networks.architecture import (
    Architecture,
    Connection,
    Conv,
    Flatten,
    LayerDescription,
    Linear,
    Operation,
    SumPool,
)


def connection(source: str, *operations: Operation) -> Connection:
    return Connection(source=source, operations=operations)


def plain(channels: int, **geometry: Any) -> Conv:
    return Conv(out_channels=channels, standardised=False, **geometry)


def described(*layers: LayerDescription, side: int = 4, frames: bool = False) -> LIFDescription:
    last = layers[-1].name
    readout = LayerDescription(
        name="readout", connections=(connection(last, Flatten(), Linear(out_features=3)),)
    )
    return LIFDescription(
        architecture=Architecture(input_shape=(1, side, side), layers=layers, readout=readout),
        decay=0.5,
        threshold=1.0,
        timesteps=5,
        readout="mean",
        frames=frames,
        mean=(0.0,),
        std=(1.0,),
        class_names=("a", "b", "c"),
        specification={},
    )


def synapses(source: int, target: int, kernel: int, stride: int, padding: int) -> list[int]:
    """Along one axis: to how many outputs each of `source` inputs contributes."""
    counts = [0] * source
    for output in range(target):
        for offset in range(kernel):
            place = output * stride + offset - padding
            if 0 <= place < source:
                counts[place] += 1
    return counts


def test_every_spike_is_added_once_at_each_synapse_that_the_border_leaves_it() -> None:
    first = LayerDescription(name="layer1", connections=(connection("input", plain(2)),))
    second = LayerDescription(
        name="layer2", connections=(connection("layer1", plain(3, kernel=3, stride=2, padding=1)),)
    )
    spikes = {
        "layer1": np.arange(32, dtype=float).reshape(2, 4, 4),
        "layer2": np.ones((3, 2, 2)),
    }
    found = estimate(described(first, second), spikes)
    axis = np.array(synapses(4, 2, 3, 2, 1))
    reach = 3 * np.outer(axis, axis)
    layer1, layer2, readout = found["layers"]
    border = np.array(synapses(4, 4, 3, 1, 1))
    assert layer1["multiply_adds"] == layer1["dense_multiply_adds"] == 2 * border.sum() ** 2
    assert layer1["synaptic_operations"] == 0
    assert layer2["synaptic_operations"] == (spikes["layer1"] * reach).sum()
    assert layer2["dense_multiply_adds"] == 2 * reach.sum()
    assert layer2["multiply_adds"] == 0
    assert readout["synaptic_operations"] == 12 * 3
    assert layer2["neuron_updates"] == 5 * 12


def test_the_energies_are_those_of_horowitz_and_of_all_operations() -> None:
    only = LayerDescription(name="layer1", connections=(connection("input", plain(1)),))
    found = estimate(described(only), {"layer1": np.full((1, 4, 4), 0.25)})
    additions, multiplications = 16 * 0.25 * 3, 100 + 5 * 16 + 5 * 3
    assert found["picojoules"] == pytest.approx(0.9 * additions + 4.6 * multiplications)
    assert found["dense_picojoules"] == pytest.approx(4.6 * (100 + 48))


def test_frames_meet_the_weights_at_every_step() -> None:
    only = LayerDescription(name="layer1", connections=(connection("input", plain(1)),))
    spikes = {"layer1": np.zeros((1, 4, 4))}
    image = estimate(described(only), spikes)
    frames = estimate(described(only, frames=True), spikes)
    assert frames["multiply_adds"] == 5 * image["multiply_adds"]
    assert frames["dense_multiply_adds"] == 5 * image["dense_multiply_adds"]


def test_a_skip_adds_each_spike_once_and_pooling_passes_it_on() -> None:
    first = LayerDescription(name="layer1", connections=(connection("input", plain(1)),))
    second = LayerDescription(
        name="layer2", connections=(connection("layer1", plain(1)), connection("layer1"))
    )
    third = LayerDescription(
        name="layer3",
        connections=(connection("layer2", SumPool(kernel=2), plain(4, kernel=1, padding=0)),),
    )
    spikes = {
        "layer1": np.ones((1, 4, 4)),
        "layer2": np.ones((1, 4, 4)),
        "layer3": np.zeros((4, 2, 2)),
    }
    layers = estimate(described(first, second, third), spikes)["layers"]
    assert layers[1]["synaptic_operations"] == 100 + 16
    assert layers[1]["dense_multiply_adds"] == 100
    assert layers[2]["synaptic_operations"] == 16 * 4


def test_a_map_behind_another_multiplies_at_every_step() -> None:
    first = LayerDescription(name="layer1", connections=(connection("input", plain(1)),))
    second = LayerDescription(
        name="layer2",
        connections=(
            connection("layer1", plain(2, kernel=1, padding=0), plain(1, kernel=1, padding=0)),
        ),
    )
    spikes = {"layer1": np.ones((1, 4, 4)), "layer2": np.zeros((1, 4, 4))}
    layer = estimate(described(first, second), spikes)["layers"][1]
    assert layer["synaptic_operations"] == 32
    assert layer["multiply_adds"] == 5 * 32
    assert layer["dense_multiply_adds"] == 64
