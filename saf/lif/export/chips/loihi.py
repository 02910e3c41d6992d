"""Intel Loihi 2: does a network fit its neurons, and what of it do its neurons do otherwise?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from saf.config.targets import TARGETS
from saf.lif.export.chips.chip import Chip, Limit, maps, neurons_of, weight_limit
from saf.networks.architecture import Conv

if TYPE_CHECKING:
    from saf.lif.network import LIFNetwork

NEURONS, SYNAPSES = 1_000_000, 120_000_000
WEIGHT_BITS, DECAY_BITS, STATE_BITS = 8, 12, 24


@TARGETS.add
class Loihi(Chip):
    """Whether the network fits one Intel Loihi 2 with the LIF neuron of Lava: neurons, synapses, 8
    bits of a weight, 12 of a decay, and the reset. A report; nothing is written for the chip."""

    label: ClassVar[str] = "Loihi 2"
    place: ClassVar[int] = 81
    can: ClassVar[tuple[str, ...]] = ("a report of every limit for every network",)
    sources: ClassVar[tuple[str, ...]] = (
        "https://open-neuromorphic.org/neuromorphic-computing/hardware/loihi-2-intel/ (128 cores, "
        "1 million neurons, 120 million synapses)",
        "lava-nc/lava, src/lava/proc/lif/models.py, PyLifModelBitAcc (decays of 12 bits, states of "
        "24, a reset to 0)",
    )

    name: Literal["loihi"] = "loihi"

    def limits(self, network: LIFNetwork) -> Iterator[Limit]:
        of = network.description
        neurons = sum(neurons_of(network).values())
        yield _most("neurons", neurons, NEURONS, "take a smaller network, or several chips")
        synapses = sum(
            int(np.count_nonzero(each.weight))
            * (each.after[1] * each.after[2] if isinstance(each.operation, Conv) else 1)
            for each in maps(network)
        )
        yield _most("synapses", synapses, SYNAPSES, "take a smaller network, or several chips")
        steps = 2**DECAY_BITS
        exact = (1 - of.decay) * steps == int((1 - of.decay) * steps)
        near = round((1 - of.decay) * steps)
        yield Limit(
            "decay",
            "",
            f"λ = {of.decay:g}",
            f"λ = 1 − k / {steps}",
            exact,
            "" if exact else f"train it with neuron.decay {1 - near / steps:g}",
        )
        yield Limit(
            "reset",
            "",
            "by subtraction",
            "to 0, of Lava's LIF",
            False,
            "a neuron of one's own in the chip's microcode, whose reset subtracts the threshold",
        )
        yield from weight_limit(network, WEIGHT_BITS)
        yield from _potentials(network)


def _potentials(network: LIFNetwork) -> Iterator[Limit]:
    if network.description.grid is None:
        yield Limit(
            "potentials",
            "",
            "float32",
            f"integers of {STATE_BITS} bits",
            False,
            "train it with conversion.weight_bits or grid_bits",
        )
        return
    from saf.lif.grid.exactness import bounds

    for bound in bounds(network):
        bits = bound.bits_needed + 1
        fits = bits <= STATE_BITS
        change = "" if fits else "train it with fewer bits, or fewer timesteps"
        yield Limit("potentials", bound.name, f"{bits} bits", f"{STATE_BITS} bits", fits, change)


def _most(what: str, found: int, most: int, change: str) -> Limit:
    fits = found <= most
    return Limit(what, "", f"{found:,}", f"at most {most:,}", fits, "" if fits else change)
