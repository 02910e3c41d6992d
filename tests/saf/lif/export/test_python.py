"""The file of numpy, in an interpreter that sees nothing of ours, is the network."""

from __future__ import annotations

import runpy
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from saf.lif.exporting import export
from saf.lif.network import LIFNetwork
from tests.saf.lif.export.temporal_networks import made
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
    assert len(program.read_text().splitlines()) < 250


@pytest.mark.parametrize(
    ("case", "change", "says"),
    [
        ("delays", lambda x: x[:, 1:], "samples have the shape N \\(7, 3, 1, 1\\)"),
        ("delays", lambda x: np.concatenate([x, x], 1), "samples have the shape N"),
        ("delays", lambda x: x * np.nan, "finite numbers"),
        ("grid: delays", lambda x: x - 1.0, "from 0 to 1"),
        ("images by `rate`", lambda x: x[:, 0], "samples have the shape N \\(1, 5, 7\\)"),
    ],
)
def test_samples_that_it_would_take_for_others_are_refused(
    case: str, change: Callable[[Any], Any], says: str, tmp_path: Path
) -> None:
    """Longer series were cut off, and values below 0 became others."""
    which = made(case)
    export(which.network, "python", tmp_path)
    program = runpy.run_path(str(tmp_path / "lif_numpy.py"))
    network = program["Network"](tmp_path / "lif.safetensors")
    x = np.float32(which.x) / which.unit
    network.run(x)
    with pytest.raises(ValueError, match=says):
        network.run(change(x))
    with pytest.raises(ValueError, match="lengths are 22 whole numbers from 1 to"):
        network.run(x, np.arange(22))
