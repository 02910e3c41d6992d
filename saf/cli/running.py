"""Output of `saf run`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from saf.printable import one_line

if TYPE_CHECKING:
    from saf.lif.measure import Measured

SPLITS = ("test", "train")


def described(found: Measured) -> list[str]:
    """Lines for a person."""
    return [
        f"accuracy {found.accuracy:.2%} on {found.samples} samples, firing rate "
        f"{found.firing_rate:.3f} spikes per neuron and step, "
        f"{found.samples_per_second:.0f} samples/s",
        *(f"  {one_line(layer)}: {rate:.3f}" for layer, rate in found.firing_rates.items()),
    ]


def document(found: Measured) -> dict[str, Any]:
    """For a script; without the spikes of each neuron."""
    return {key: value for key, value in vars(found).items() if key != "spikes"}
