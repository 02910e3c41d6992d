"""The program that torch loads without this library is the network."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from saf.lif.exporting import export
from saf.lif.network import LIFNetwork
from saf.lif.plain import PlainNetwork
from tests.saf.lif.grid.test_exactness import networks
from tests.saf.lif.grid_networks import (
    architecture_of_one_layer,
    converted,
    exact_grid,
    samples,
)


@pytest.mark.slow
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(networks(), st.integers(0, 2**20))
def test_plain_operations_make_the_same_spikes_and_scores_on_a_grid(
    network: LIFNetwork, seed: int
) -> None:
    network = exact_grid(network)
    x = samples(seed, 4, network)
    with torch.no_grad():
        scores, spikes, *_ = PlainNetwork(network)(x)
    assert torch.equal(scores, network(x))
    names = [layer.name for layer in network.layers if layer.neuron is not None]
    for t, step in enumerate(network.run(x)):
        for name, fired in zip(names, spikes, strict=True):
            assert torch.equal(fired[:, t], step.spikes[name])


@pytest.mark.slow
@pytest.mark.parametrize("frames", [False, True], ids=["images", "frames"])
def test_the_program_is_identical_for_any_number_of_samples(frames: bool, tmp_path: Path) -> None:
    network = exact_grid(converted(architecture_of_one_layer(), 1, 3, "saf-f", frames=frames))
    done = export(network, "torch-export", tmp_path, samples(0, 4, network), batch_size=3)
    assert done.verdict == "identical", done.certificate["statement"]
