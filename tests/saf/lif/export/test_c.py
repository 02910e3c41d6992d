"""The C of a network on a grid is, compiled strictly, that network to the last spike and score."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st

from saf.lif.convert import on_grid
from saf.lif.export.c import C
from saf.lif.export.templates.integer_program import program
from saf.lif.export.templates.integer_source import IntegerSource
from saf.lif.exporting import check, export
from saf.lif.network import LIFNetwork
from saf.networks.architecture import (
    INPUT,
    Architecture,
    Connection,
    Flatten,
    LayerDescription,
    Linear,
)
from tests.saf.lif.grid.test_exactness import networks
from tests.saf.lif.grid_networks import architecture_of_one_layer, converted, exact_grid, samples


@pytest.mark.slow
@settings(
    max_examples=20,
    deadline=None,
    phases=[
        Phase.explicit,
        Phase.reuse,
        Phase.generate,
    ],  # a compiler runs: shrinking takes minutes
    suppress_health_check=[HealthCheck.too_slow],
)
@given(networks(mixed=True), st.integers(0, 2**20))
def test_every_spike_prediction_and_score_is_that_of_the_network(
    network: LIFNetwork, seed: int
) -> None:
    network = exact_grid(network)
    x = samples(seed, 8, network)
    with TemporaryDirectory() as directory:
        done = export(network, "c", directory, x, batch_size=5)
        assume("no neuron fired" not in done.certificate["statement"])
        assert done.verdict == "identical", done.certificate["statement"]
        with C().replay(network, Path(directory)) as reader:
            played = reader.play(x.numpy())
    facts = done.certificate["facts"]
    scores = network(x).double().numpy()
    unit = 2.0 ** -int(facts["scores"].split("2^-")[1].split(" ")[0])
    if network.description.readout == "weighted":
        unit /= float(facts["scores"].rsplit(" / ", 1)[1])
    np.testing.assert_allclose(played.scores * unit, scores, rtol=1e-6, atol=1e-6)
    assert facts["weight_bytes"] > 0


def test_a_network_on_no_grid_is_refused_with_what_to_do() -> None:
    network = converted(architecture_of_one_layer(), 1, 4, "saf-f")
    (obstacle,) = check(network, "c")
    assert "grid_bits" in obstacle.remedy


def test_a_large_matrix_is_written_in_memory_of_its_own_size() -> None:
    """Constants of a transposed matrix were copied once for every line."""
    architecture = Architecture(
        input_shape=(1, 1, 1000),
        layers=(
            LayerDescription(
                name="layer1",
                connections=(
                    Connection(
                        source=INPUT,
                        operations=(Flatten(), Linear(out_features=300, standardised=False)),
                    ),
                ),
            ),
        ),
        readout=LayerDescription(
            name="readout",
            connections=(Connection(source="layer1", operations=(Linear(out_features=2),)),),
        ),
    )
    network = on_grid(converted(architecture, 1, 2, "saf-f"), 6)
    tracemalloc.start()
    try:
        text = program(IntegerSource(network))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert text.count("\n") > 10_000
    assert peak < 100 * 2**20


def test_more_fractional_bits_than_an_integer_has_are_refused_though_nothing_is_large() -> None:
    """Tiny weights are within every bound, and a shift by 34 is none in C."""
    in_a_row = tuple(Linear(out_features=3, standardised=False) for _ in range(3))
    architecture = Architecture(
        input_shape=(1, 2, 2),
        layers=(
            LayerDescription(
                name="layer1",
                connections=(Connection(source=INPUT, operations=(Flatten(), *in_a_row)),),
            ),
        ),
        readout=LayerDescription(
            name="readout",
            connections=(Connection(source="layer1", operations=(Linear(out_features=2),)),),
        ),
    )
    network = converted(architecture, 1, 2, "saf-f")
    tiny = {
        name: torch.full_like(tensor, 0.0 if name.endswith("bias") else 2.0**-12)
        for name, tensor in network.tensors.items()
    }
    (obstacle,) = check(on_grid(LIFNetwork(network.description, tiny), 12), "c")
    assert "fractional bits" in obstacle.reason
