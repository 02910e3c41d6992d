"""What a certificate says of the arithmetic of a network on a grid, as JSON values."""

from __future__ import annotations

from typing import Any

import torch

from saf.lif.convert import decays_of, on_grid
from saf.lif.grid.advice import remedies
from saf.lif.grid.exactness import LayerBound, bounds
from saf.lif.network import LIFNetwork
from saf.powers import SIGNIFICANT_BITS


def proof_of(
    network: LIFNetwork, expected: LIFNetwork, to_round: LIFNetwork | None
) -> dict[str, Any]:
    """The bounds of `network`, the types in which its arithmetic is exact, whether it is the
    `expected` one, and what to change where nothing is proven: `to_round` is what was trained, on
    no grid (None: its grid cannot be chosen)."""
    grid = network.description.grid
    assert grid is not None
    *of_layers, of_readout = bounds(network)
    rows = [_listed(bound, grid.bits) for bound in of_layers]
    within = all(bound.within for bound in of_layers)
    spiking = {layer.name for layer in network.description.architecture.spiking}
    remedy = None
    if not within:
        rounded_to = None if to_round is None else lambda bits: on_grid(to_round, bits)
        remedy = remedies(network, rounded_to)._asdict()
    return {
        "bits": grid.bits,
        "input_bits": grid.input_bits,
        "refused": None,
        "is_of_the_trained_network": network.description == expected.description
        and all(torch.equal(network.tensors[name], w) for name, w in expected.tensors.items()),
        "within": within,
        "exact_in": [
            name
            for name, bits in SIGNIFICANT_BITS.items()
            if all(bound.exact_in(bits) for bound in of_layers)
        ],
        "remedies": remedy,
        "layers": [row for row in rows if row["name"] in spiking],
        "relays": [row for row in rows if row["name"] not in spiking],
        "readout": _listed(of_readout, grid.bits),
    }


def rounded_decays(trained: LIFNetwork, network: LIFNetwork) -> dict[str, dict[str, float]]:
    """λ as it was trained and as it is delivered, of the layers where these differ."""
    before, after = decays_of(trained), decays_of(network)
    return {
        name: {"trained": before[name], "delivered": decay}
        for name, decay in after.items()
        if before[name] != decay
    }


def _listed(bound: LayerBound, grid_bits: int) -> dict[str, Any]:
    """A bound as JSON values."""
    return {
        "name": bound.name,
        "decay": bound.filters[-1],
        "grid_bits": grid_bits,
        "fraction_bits": bound.fraction_bits,
        "largest_magnitude": bound.magnitude,
        "bits_needed": bound.bits_needed,
        "bits_available": bound.bits_available,
        "within": bound.within,
    }
