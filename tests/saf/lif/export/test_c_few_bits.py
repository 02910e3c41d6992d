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
from saf.model.network import SpikingNetwork
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
