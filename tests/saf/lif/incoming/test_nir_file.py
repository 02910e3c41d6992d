"""An NIR file becomes the network that its reader makes of it, or is refused by the node."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import h5py
import nir
import numpy as np
import pytest
import torch

from saf.config.incoming import Reading
from saf.lif.exporting import export
from saf.lif.incoming.reading import read_network
from saf.lif.network import LIFNetwork
from saf.lif.starting import settings_of
from tests.saf.training.starting.test_starting_from_files import left
from tests.saf.training.trainings import dataset

ASKED: dict[str, dict[str, Any]] = {
    "norse": {"dt": 2**-10, "reset": "subtract"},
    "sinabs": {},
    "snntorch": {"reset": "subtract"},
    "spikingjelly": {"dt": 1.0, "reset": "subtract"},
    "spyx": {},
    "rockpool": {"shape": (1, 8, 8)},
}


def spikes_of(network: LIFNetwork, x: torch.Tensor) -> torch.Tensor:
    steps = [step.spikes for step in network.run(x)]
    return torch.cat([step[name].flatten() for step in steps for name in sorted(step)])


@pytest.mark.parametrize("reader", sorted(ASKED))
def test_what_was_written_for_a_reader_comes_back_with_the_same_spikes(
    reader: str, tmp_path: Path
) -> None:
    changes: dict[str, Any] = {"neuron": {"decay": 0.8, "threshold": 0.9}}
    if reader == "rockpool":
        changes["network"] = {"name": "mlp", "features": [12, 9]}
    lif = left(tmp_path, method={"name": "saf-f"}, **changes)
    export(lif, f"nir-{reader}", tmp_path)
    of = lif.description
    asked = Reading(reader=reader, timesteps=5, mean=of.mean, std=of.std, **ASKED[reader])
    found = read_network(tmp_path / f"{reader}.nir", asked)
    x = torch.tensor(dataset().x_test / 255, dtype=torch.float32)
    ours = spikes_of(lif, x)
    assert ours.any()
    assert torch.equal(ours, spikes_of(found.network, x))
    assert (found.network.description.decay, found.network.description.threshold) == (0.8, 0.9)
    assert any("subtracts its threshold" in each for each in found.assumptions)


def graph(*nodes: Any, shape: tuple[int, ...] = (4,)) -> nir.NIRGraph:
    names = ["input", *(f"node{number}" for number in range(len(nodes))), "output"]
    found: dict[str, Any] = {
        "input": nir.Input({"input": np.array(shape)}),
        "output": nir.Output({"output": np.array([3])}),
    }
    found |= dict(zip(names[1:-1], nodes, strict=True))
    return nir.NIRGraph(found, list(pairwise(names)), type_check=False)


def full(value: float, *shape: int) -> np.ndarray[Any, Any]:
    return np.full(shape or (3,), value, np.float32)


def affine(rows: int = 3, columns: int = 4) -> nir.Affine:
    generator = np.random.default_rng(rows)
    return nir.Affine(
        generator.normal(0, 2, (rows, columns)).astype(np.float32),
        generator.normal(0, 0.1, rows).astype(np.float32),
    )


def integrating(threshold: float = 1.0) -> nir.IF:
    return nir.IF(r=full(1.0), v_threshold=full(threshold), v_reset=full(0.0))


def leaky(**changes: Any) -> nir.LIF:
    of = {"tau": full(2.0), "r": full(2.0), "v_leak": full(0.0), "v_threshold": full(1.0)}
    return nir.LIF(**{**of, **changes}, v_reset=full(0.0))


def current_based(synaptic: float) -> nir.CubaLIF:
    return nir.CubaLIF(
        tau_syn=full(synaptic),
        tau_mem=full(2.0),
        r=full(2.0),
        v_leak=full(0.0),
        v_threshold=full(1.0),
        v_reset=full(0.0),
        w_in=full(synaptic),
    )


def read(of: nir.NIRGraph, folder: Path, **asked: Any) -> Any:
    nir.write(str(folder / "of.nir"), of)
    return read_network(folder / "of.nir", Reading(**{"reset": "subtract", **asked}))


def test_a_leak_a_current_and_a_last_layer_of_neurons(tmp_path: Path) -> None:
    """By a loop over the equations of NIR, in steps of dt."""
    first, second = affine(3, 4), affine(3, 3)
    rest = full(0.3)
    of = graph(first, leaky(v_leak=rest), second, current_based(4.0))
    network = read(of, tmp_path, dt=1.0, timesteps=6).network
    x = np.random.default_rng(3).random((4,)).astype(np.float32)
    counts, v1, v2, current = np.zeros(3), np.zeros(3), np.zeros(3), np.zeros(3)
    for _ in range(6):
        v1 = v1 + (rest - v1 + 2 * (first.weight @ x + first.bias)) / 2
        fired = v1 > 1
        v1 = v1 - fired
        current = current + (-current + 4 * (second.weight @ fired + second.bias)) / 4
        v2 = v2 + (-v2 + 2 * current) / 2
        counts += v2 > 1
        v2 = v2 - (v2 > 1)
    assert counts.any()
    scores = network(torch.from_numpy(x)[None, :, None, None])
    np.testing.assert_array_equal(scores[0].numpy(), counts)
    assert network.description.neurons["layer2"]["synaptic_decay"] == 0.75


def test_thresholds_of_their_own_are_divided_into_the_weights(tmp_path: Path) -> None:
    own = nir.IF(r=full(1.0), v_threshold=np.array([0.5, 1, 2], np.float32), v_reset=full(0.0))
    first = affine()
    found = read(graph(first, own, affine(3, 3)), tmp_path, reader="sinabs", timesteps=3)
    settings = settings_of(found.network)
    assert settings["neuron"] == {"name": "lif", "decay": 1.0, "threshold": 1.0}
    np.testing.assert_allclose(
        found.network.tensors["layer1.0.weight"].numpy(), first.weight / [[0.5], [1], [2]]
    )
    assert any("divided into the weights" in each for each in found.assumptions)


def test_the_rounding_of_a_grid_is_left_out_and_told(tmp_path: Path) -> None:
    large = 2.0**20
    add, take = (nir.Affine(np.eye(3, dtype=np.float32), full(each)) for each in (large, -large))
    found = read(graph(affine(), add, take, integrating(), affine(3, 3)), tmp_path, reader="sinabs")
    assert any("round the current" in each for each in found.assumptions)
    assert [layer.name for layer in found.network.layers] == ["layer1"]


def test_a_flat_input_is_of_the_shape_that_is_said(tmp_path: Path) -> None:
    of = graph(affine(), integrating(), affine(3, 3))
    found = read(of, tmp_path, reader="sinabs", shape=(1, 2, 2)).network.description
    assert found.architecture.input_shape == (1, 2, 2)
    with pytest.raises(ValueError, match="as shape says"):
        read(of, tmp_path, reader="sinabs", shape=(1, 3, 3))


def branching() -> nir.NIRGraph:
    of = graph(affine(), integrating(), affine(3, 3))
    of.edges.append(("node0", "node2"))
    return of


def recurrent() -> nir.NIRGraph:
    of = graph(affine(), integrating(), affine(3, 3))
    of.edges.append(("node1", "node1"))
    return of


@pytest.mark.parametrize(
    ("make", "asked", "words"),
    [
        (lambda: graph(affine(), leaky(), affine(3, 3)), {}, "node1 (LIF): it has a time constant"),
        (lambda: graph(affine(), integrating()), {"reset": None}, "send reset=subtract"),
        (lambda: graph(affine(), integrating()), {"reset": "zero"}, "cannot be expressed"),
        (
            lambda: graph(affine(), leaky(tau=np.array([1, 2, 3], np.float32)), affine(3, 3)),
            {"dt": 1e-3},
            "node1 (LIF): its tau differs from neuron to neuron",
        ),
        (lambda: graph(affine(), leaky(), affine(3, 3)), {"dt": 3.0}, "is dt in the unit"),
        (
            lambda: graph(affine(), leaky(v_leak=full(1.0)), affine(3, 3)),
            {"reader": "sinabs"},
            "v_leak is not 0",
        ),
        (branching, {}, "node0 (Affine): it leads to 2 nodes"),
        (recurrent, {}, "node1 (IF): it hears node0, node1"),
        (lambda: graph(affine(), integrating(), affine(3, 5)), {}, "node2 (Affine): a matrix of"),
        (lambda: graph(affine(), affine(3, 3)), {}, "no spiking neurons"),
        (
            lambda: graph(affine(), nir.LI(tau=full(2.0), r=full(1.0), v_leak=full(0.0))),
            {},
            "node1 (LI): there is nothing here",
        ),
        (
            lambda: graph(affine(), nir.Threshold(full(1.0))),
            {},
            "node1 (Threshold): there is nothing here",
        ),
    ],
)
def test_what_cannot_be_expressed_is_refused_by_its_node(
    make: Callable[[], nir.NIRGraph], asked: dict[str, Any], words: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=re.escape(words)):
        read(make(), tmp_path, **asked)


UNLIKE = np.arange(1, 49, dtype=np.float32).reshape(3, 4, 4)


def conv(**changes: Any) -> nir.Conv2d:
    of: dict[str, Any] = {"stride": 1, "padding": 1, "dilation": 1, "groups": 1, "bias": full(0.1)}
    weight = changes.pop("weight", np.ones((3, 1, 3, 3), np.float32))
    return nir.Conv2d(input_shape=(4, 4), weight=weight, **{**of, **changes})


@pytest.mark.parametrize(
    ("nodes", "words"),
    [
        ([conv(stride=(1, 2))], "its stride is [1, 2]"),
        ([conv(dilation=2)], "dilated"),
        ([conv(weight=np.ones((3, 1, 3, 1), np.float32))], "a square is needed"),
        (
            [conv(), nir.SumPool2d(np.array([3, 3]), np.array([1, 1]), np.array([0, 0]))],
            "windows that overlap",
        ),
        (
            [conv(), nir.Flatten({"input": np.array([3, 4, 4])}, 1, -1)],
            "it flattens dimensions 1 to -1",
        ),
        (
            [
                conv(),
                nir.IF(r=full(1.0, 3, 4, 4), v_threshold=UNLIKE),
            ],
            "its threshold differs within a channel",
        ),
    ],
)
def test_maps_of_images_that_cannot_be_computed(
    nodes: list[Any], words: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=re.escape(words)):
        read(graph(*nodes, integrating(), shape=(1, 4, 4)), tmp_path, reader="sinabs")


@pytest.mark.parametrize("bias", [0.0, 0.3])
def test_neurons_and_classes_may_follow_maps_that_were_flattened(
    bias: float, tmp_path: Path
) -> None:
    """Also where these have a bias of zeros, one for each channel, as writers give to every map."""
    maps = conv(weight=full(0.25, 2, 1, 3, 3), bias=full(bias, 2))
    flat = nir.Flatten({"input": np.array([2, 4, 4])}, 0, -1)
    neurons = nir.IF(r=full(1.0, 32), v_threshold=full(1.0, 32), v_reset=full(0.0, 32))
    image = torch.ones(1, 1, 4, 4)
    found = read(graph(maps, flat, neurons, shape=(1, 4, 4)), tmp_path, timesteps=1).network
    current = torch.nn.functional.conv2d(image, torch.full((2, 1, 3, 3), 0.25), padding=1) + bias
    assert torch.equal(next(iter(found.run(image))).scores, (current > 1).float().flatten(1))
    side = (1, 4, 4)
    of_channels = nir.IF(full(1.0, *side), full(0.5, *side), full(0.0, *side))
    found = read(graph(of_channels, maps, flat, shape=(1, 4, 4)), tmp_path, timesteps=1).network
    torch.testing.assert_close(next(iter(found.run(image))).scores, current.flatten(1))


def test_neurons_may_hear_a_flat_input_themselves(tmp_path: Path) -> None:
    found = read(graph(integrating(0.5), affine(2, 3), shape=(3,)), tmp_path, timesteps=1).network
    (step,) = found.run(torch.tensor([[[[0.4]], [[0.6]], [[1.0]]]]))
    assert step.spikes["layer1"].tolist() == [[0.0, 1.0, 1.0]]


def test_a_file_reaches_no_other_file(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(bytes(4000))
    nir.write(str(tmp_path / "of.nir"), graph(affine(), integrating(), affine(3, 3)))
    with h5py.File(tmp_path / "of.nir", "a") as file:
        del file["node/nodes/node0/weight"]
        outside = [(str(tmp_path / "secret"), 0, 48)]
        file["node/nodes/node0"].create_dataset("weight", (3, 4), dtype="f4", external=outside)
    with pytest.raises(ValueError, match="lie in other files"):
        read_network(tmp_path / "of.nir", Reading())
    with h5py.File(tmp_path / "of.nir", "a") as file:
        del file["node/nodes/node0/weight"]
        file["node/nodes/node0/weight"] = h5py.ExternalLink("other.h5", "weight")
    with pytest.raises(ValueError, match="links are not followed"):
        read_network(tmp_path / "of.nir", Reading())
    with h5py.File(tmp_path / "empty.nir", "w") as file:
        file["x"] = [1]
    with pytest.raises(ValueError, match="no graph of NIR"):
        read_network(tmp_path / "empty.nir", Reading())


@pytest.mark.parametrize(
    ("field", "value"),
    [("node0/type", [1, 2]), ("node0/bias", {"q": 1}), ("input/shape", {"q": 1})],
)
def test_a_field_of_another_kind_is_refused_in_words(
    field: str, value: Any, tmp_path: Path
) -> None:
    nir.write(str(tmp_path / "of.nir"), graph(affine(), integrating(), affine(3, 3)))
    with h5py.File(tmp_path / "of.nir", "a") as file:
        del file[f"node/nodes/{field}"]
        if isinstance(value, dict):
            file[f"node/nodes/{field}/q"] = 1
        else:
            file[f"node/nodes/{field}"] = value
    with pytest.raises(ValueError, match=r"no graph (that nir|of NIR)|node node0 \("):
        read_network(tmp_path / "of.nir", Reading(reset="subtract"))
