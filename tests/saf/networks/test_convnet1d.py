"""Convolutions of one dimension: over the channels of series, and along signals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from hypothesis import given, settings
from hypothesis import strategies as st

import saf
from saf.config import Neuron
from saf.config.targets import CannotExportError
from saf.data.dataset import Dataset
from saf.errors import NetworkError
from saf.lif.export.templates import lif_numpy
from saf.lif.exporting import export
from saf.model.network import SpikingNetwork
from saf.model.operations import apply
from saf.networks.architecture import AveragePool1d, Conv1d, InARow, SumPool1d
from saf.networks.build import build
from saf.networks.convnet1d import ConvNet1d
from saf.networks.layers import LayerList
from tests.saf.methods import reference
from tests.saf.methods.gradients import assert_close, train
from tests.saf.methods.rules import METHODS
from tests.saf.networks.random_networks import Case, randomise
from tests.saf.training.test_series import job, series, waves
from tests.saf.training.trainings import run, summary

SMALL: dict[str, Any] = {"name": "convnet1d", "channels": [4, 5], "kernel": 3}
LISTED: dict[str, Any] = {
    "name": "layers",
    "layers": [
        {"kind": "conv1d", "channels": 4, "kernel": 3},
        {"kind": "average_pool1d"},
        {"kind": "conv1d", "channels": 5, "kernel": 3, "recurrent": True},
        {"kind": "linear", "features": 6, "delays": [0, 2], "learned_delays": True},
    ],
}


def test_they_are_those_of_torch() -> None:
    x = torch.randn((2, 3, 1, 9), dtype=torch.float64, requires_grad=True)
    weight = torch.randn((4, 3, 1, 5), dtype=torch.float64)
    for stride, padding in ((1, 2), (2, 0), (3, 1)):
        conv = Conv1d(out_channels=4, kernel=5, stride=stride, padding=padding)
        found = apply([conv], [weight], x)
        expected = F.conv1d(x[:, :, 0], weight[:, :, 0], stride=stride, padding=padding)
        torch.testing.assert_close(found[:, :, 0], expected)
        assert tuple(found.shape[1:]) == conv.output_shape((3, 1, 9))
    for kind, factor in ((AveragePool1d, 1), (SumPool1d, 2)):
        found, expected = apply([kind()], [], x), factor * F.avg_pool1d(x[:, :, 0], 2)
        torch.testing.assert_close(found[:, :, 0], expected)
        of_found, of_expected = (
            torch.autograd.grad((y**2).sum(), x, retain_graph=True)[0] for y in (found, expected)
        )
        torch.testing.assert_close(of_found, of_expected)
    row = InARow(maps=2)
    bands = torch.arange(6.0).view(1, 6, 1, 1)  # all of one sign, then all of the other
    assert apply([row], [], bands).tolist() == [[[[0, 1, 2]], [[3, 4, 5]]]]
    assert row.output_shape((6, 1, 1)) == (2, 1, 3)


def test_it_can_be_proven(tmp_path: Path) -> None:
    x, y = waves(30, 8, 0)
    as_bytes = (127 + 7 * x).clip(0, 255).astype("uint8")
    data = Dataset(as_bytes, y, as_bytes[:9], y[:9], tuple("abc"), unit=255)
    of = job(network=SMALL, method={"name": "saf-f"}, conversion={"grid_bits": "auto"}, epochs=1)
    assert summary(run(of, data, tmp_path))["verdict"] == "proven"


def test_the_channels_of_series_are_the_places() -> None:
    of = build(ConvNet1d(channels=(4, 6), kernel=3), (16, 1, 1), 5)
    assert of.shapes() == {
        "input": (16, 1, 1), "layer1": (4, 1, 16), "layer2": (6, 1, 8), "readout": (5,),
    }  # fmt: skip
    both_signs = build(ConvNet1d(channels=(4,), kernel=3, maps=2), (16, 1, 1), 5)
    assert both_signs.shapes()["layer1"] == (4, 1, 8)
    assert next(both_signs.weight_shapes()) == (4, 2, 1, 3)
    signal = build(ConvNet1d(channels=(4,)), (2, 1, 100), 5)
    assert signal.shapes()["layer1"] == (4, 1, 100)
    with pytest.raises(NetworkError, match="2 values to a place, and 7 channels") as refused:
        build(ConvNet1d(maps=2), (7, 1, 1), 5)
    assert refused.value.pointer == "/network/maps"


@settings(max_examples=8, deadline=None)
@given(
    seed=st.integers(0, 1000),
    traced=st.booleans(),
    listed=st.booleans(),
    frames=st.booleans(),
)
def test_saf_e_and_ottt_a_have_the_gradient_of_the_loop_reference(
    seed: int, traced: bool, listed: bool, frames: bool
) -> None:
    kind = LayerList if listed else ConvNet1d
    shape = (8, 1, 1) if frames else (1, 1, 8)
    architecture = build(kind.model_validate(LISTED if listed else SMALL), shape, 3)
    of = SpikingNetwork(
        architecture, Neuron(decay=0.7), mean=[0.5] * shape[0], std=[0.3] * shape[0], seed=0
    ).double()
    generator = torch.Generator().manual_seed(seed)
    randomise(of, generator)
    x = torch.rand((2, 5, *shape) if frames else (2, *shape), generator=generator).double()
    case = Case(of, x, torch.tensor([0, 2]), 5)
    _, of_saf = train(METHODS["saf-e"], case, traced=traced, chunk=3)
    _, of_ottt = train(METHODS["ottt-a"], case, traced=traced)
    with torch.no_grad():
        expected = reference.ottt_a(of, x, case.y, 5, traced, case.masks)
    assert_close(of_saf, of_ottt, 1e-11, of)
    assert_close(of_ottt, expected.gradients, 1e-11, of)


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("network", [SMALL, LISTED], ids=lambda each: each["name"])
def test_every_method_leaves_a_network_that_fires_the_same(
    method: str, network: dict[str, Any], tmp_path: Path
) -> None:
    if network is LISTED and method != "saf-e":
        pytest.skip("the network is the same")
    data = series(channels=8, samples=30)
    run(job(network=network, method={"name": method}, epochs=1), data, tmp_path)
    for check in json.loads((tmp_path / "certificate.json").read_text())["checks"]:
        assert check["spikes_differing"] == 0
        assert sum(layer["firing_rate_lif"] for layer in check["layers"]) > 0
    lif = saf.load_lif(tmp_path / "lif.safetensors")
    x, state = torch.from_numpy(data.x_test), None
    for now in x.unbind(1):
        scores, state = lif.step(now, state)
    torch.testing.assert_close(scores, lif(x), rtol=1e-5, atol=1e-5)
    kinds = {
        o.kind for layer in lif.layers for c in layer.description.connections for o in c.operations
    }
    assert kinds >= {"in_a_row", "conv1d", "sum_pool1d"}
    with pytest.raises(CannotExportError, match="of one dimension"):
        export(lif, "nir-rockpool", tmp_path / "written")
    program = lif_numpy.Network(str(tmp_path / "lif.safetensors"))  # type: ignore[no-untyped-call]
    scores, _ = program.run(data.x_test)  # type: ignore[no-untyped-call]
    np.testing.assert_allclose(scores, lif(x).numpy(), rtol=1e-4, atol=1e-4)
