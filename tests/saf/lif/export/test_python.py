"""The file of numpy, in an interpreter that sees nothing of ours, is the network."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from saf.lif.exporting import export
from saf.lif.network import LIFNetwork
from tests.saf.lif.grid.test_exactness import networks
from tests.saf.lif.grid_networks import exact_grid, samples


@pytest.mark.slow
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(networks(), st.integers(0, 2**20))
def test_on_a_grid_it_is_identical(network: LIFNetwork, seed: int) -> None:
    network = exact_grid(network)
    with TemporaryDirectory() as directory:
        done = export(network, "python", directory, samples(seed, 6, network))
        assume("no neuron fired" not in done.certificate["statement"])
    assert done.verdict == "identical", done.certificate["statement"]


@pytest.mark.slow
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(networks(), st.integers(0, 2**20))
def test_off_a_grid_nothing_but_rounding_differs(network: LIFNetwork, seed: int) -> None:
    with TemporaryDirectory() as directory:
        done = export(network, "python", directory, samples(seed, 6, network))
        assume("no neuron fired" not in done.certificate["statement"])
    assert done.certificate["spikes_differing"] <= 0.01 * done.certificate["spikes_compared"]


def test_the_program_is_short_enough_to_be_read() -> None:
    program = Path(export.__code__.co_filename).parent / "export/templates/lif_numpy.py"
    assert len(program.read_text().splitlines()) < 160
