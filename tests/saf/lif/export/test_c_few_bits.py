"""The C of a network with weights of few bits holds them as they are."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from saf.config import JobSpecification, Neuron
from saf.lif.convert import convert, on_grid
from saf.lif.exporting import export
from saf.lif.grid.few_bits import exponents_of, grid_of, put_quantised
from saf.lif.grid.fixed_point import Grid
from saf.lif.header import LIFDescription
from saf.lif.network import LIFNetwork
from saf.model.network import SpikingNetwork
from saf.networks.architecture import (
    Architecture,
    Connection,
    Flatten,
    LayerDescription,
    Linear,
    Operation,
)
from saf.networks.convnet import ConvNet
from saf.training.quantisation import plain_network


@pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")
@pytest.mark.parametrize("bits", [4, 8])
def test_weights_of_each_map_are_in_its_own_unit(bits: int, tmp_path: Path) -> None:
    job = JobSpecification(timesteps=4)
    network = SpikingNetwork(
        ConvNet(channels=(4, 6)).architecture((1, 8, 8), 3),
        Neuron(),
        mean=[0.4],
        std=[0.3],
        seed=0,
        timesteps=4,
    )
    with torch.no_grad():  # layers of very different sizes
        network.scale("layer1", 8.0)
        network.scale("readout", 30.0)
    plain = plain_network(network)
    values = {name: p.detach().clone() for name, p in plain.named_parameters()}
    exponents = exponents_of(plain, bits, "layer")
    assert len({float(each.max()) for each in exponents.values()}) > 1
    put_quantised(plain, values, exponents, bits)
    lif = on_grid(convert(plain, job, class_names="abc", frames=False), grid_of(exponents))
    x = torch.rand(24, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    done = export(lif, "c", tmp_path, (x * 255).round().byte().numpy())
    assert done.certificate["verdict"] == "identical"
    facts = done.certificate["facts"]
    assert set(facts["weights"].values()) == {"int8"}
    for name, scale in facts["weight_scales"].items():
        whole = lif.tensors[name].double() * 2.0 ** int(scale.removeprefix("2^-"))
        assert torch.equal(whole, whole.round())
        assert whole.abs().max() < 128


@pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")
def test_large_weights_on_a_fine_grid_overflow_no_integer(tmp_path: Path) -> None:
    """Whole weights beside some of 2^-12: their sums are proven in few bits, and were computed in
    12 more, beyond those of an int32_t."""

    def heard(source: str, *operations: Operation) -> tuple[Connection, ...]:
        return (Connection(source=source, operations=operations),)

    to_2 = Linear(out_features=2)
    description = LIFDescription(
        architecture=Architecture(
            input_shape=(64, 1, 1),
            layers=(LayerDescription(name="layer1", connections=heard("input", Flatten(), to_2)),),
            readout=LayerDescription(name="readout", connections=heard("layer1", to_2)),
        ),
        decay=0.5,
        threshold=1.0,
        timesteps=1,
        readout="mean",
        frames=False,
        mean=(0.0,) * 64,
        std=(1.0,) * 64,
        class_names=("a", "b"),
        specification={},
        grid=Grid(bits=12, input_bits=10),
    )
    tensors = {
        "layer1.0.weight": torch.tensor([[32.0], [-32.0]]).expand(2, 64).clone(),
        "layer1.bias": torch.zeros(2),
        "readout.0.weight": torch.tensor([[1.0, 2.0**-12], [0.0, 1.0]]),
        "readout.bias": torch.zeros(2),
    }
    x = torch.ones(4, 64, 1, 1) * torch.tensor([1.0, 0.8, 0.6, 0.4]).view(4, 1, 1, 1)
    done = export(LIFNetwork(description, tensors), "c", tmp_path, x)
    assert done.certificate["verdict"] == "identical", done.certificate["statement"]
