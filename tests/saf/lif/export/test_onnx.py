"""What ONNX Runtime makes of the files is what the network does."""

from __future__ import annotations

from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from saf.lif.exporting import export
from saf.lif.network import LIFNetwork
from tests.saf.lif.grid.test_exactness import networks
from tests.saf.lif.grid_networks import exact_grid, samples


@pytest.mark.slow
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(networks(), st.integers(0, 2**20), st.sampled_from([1, 4]))
def test_on_a_grid_it_is_identical_for_any_number_of_samples(
    network: LIFNetwork, seed: int, batch_size: int
) -> None:
    network = exact_grid(network)
    with TemporaryDirectory() as directory:
        x = samples(seed, 5, network)
        done = export(network, "onnx", directory, x, batch_size=batch_size)
        assume("no neuron fired" not in done.certificate["statement"])
    assert done.verdict == "identical", done.certificate["statement"]


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(networks(), st.integers(0, 2**20))
def test_off_a_grid_nothing_but_rounding_differs(network: LIFNetwork, seed: int) -> None:
    with TemporaryDirectory() as directory:
        done = export(network, "onnx", directory, samples(seed, 6, network))
        assume("no neuron fired" not in done.certificate["statement"])
    assert done.certificate["spikes_differing"] <= 0.01 * done.certificate["spikes_compared"]
