"""SynSense Xylo: does a network fit its thousand hidden neurons?"""

from __future__ import annotations

from collections.abc import Iterator
from math import log2, prod
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple

import numpy as np

from saf.config.targets import TARGETS
from saf.lif.export.chips.chip import Chip, Limit, maps, neurons_of, weight_limit
from saf.networks.architecture import Conv

if TYPE_CHECKING:
    from saf.lif.network import LIFNetwork

WEIGHT_BITS = 8


class _Device(NamedTuple):
    inputs: int
    hidden: int
    outputs: int
    fan_out: int


DEVICES = {
    "audio 2": _Device(16, 1000, 8, 64),
    "audio 3": _Device(16, 992, 32, 1024),
    "imu": _Device(16, 496, 16, 512),
}


@TARGETS.add
class Xylo(Chip):
    """Whether the network fits one of SynSense's Xylo: input channels, hidden and output neurons,
    fan-out, a decay by a bit shift, 8 bits of a weight. A report; nothing is written for the
    chip."""

    label: ClassVar[str] = "Xylo"
    place: ClassVar[int] = 82
    can: ClassVar[tuple[str, ...]] = ("a report of every limit for every network",)
    sources: ClassVar[tuple[str, ...]] = (
        "https://rockpool.ai/devices/xylo-overview.html (channels, neurons, fan-out, weights, "
        "decays, several spikes a step)",
        "rockpool 3.1.0, rockpool/devices/xylo/syns61201/xylo_mapper.py (linear weights between "
        "layers of neurons, 1000 hidden and 8 output neurons)",
    )

    name: Literal["xylo"] = "xylo"
    device: Literal["audio 2", "audio 3", "imu"] = "audio 2"
    """Which of the family."""

    def limits(self, network: LIFNetwork) -> Iterator[Limit]:
        of, device = network.description, DEVICES[self.device]
        inputs = prod(of.architecture.input_shape)
        yield _most("input channels", "", inputs, device.inputs, "give it fewer inputs")
        hidden = sum(neurons_of(network).values())
        yield _most("hidden neurons", "", hidden, device.hidden, "take fewer neurons")
        classes = len(of.class_names)
        yield _most("output neurons", "", classes, device.outputs, "take fewer classes")
        yield Limit(
            "readout",
            of.architecture.readout.name,
            "a sum, without neurons",
            "spiking neurons",
            False,
            "let the readout's neurons spike, and count their spikes",
        )
        shift = -log2(1 - of.decay) if of.decay < 1 else 0.0
        fits = of.decay < 1 and shift == int(shift)
        yield Limit(
            "decay",
            "",
            f"λ = {of.decay:g}",
            "λ = 1 − 2^−k, a bit shift",
            fits,
            "" if fits else "train it with neuron.decay 0.5, 0.75 or 0.875",
        )
        for each in maps(network):
            if isinstance(each.operation, Conv):
                yield Limit(
                    "map", each.layer, "a convolution", "a linear map", False, "train an mlp"
                )
            elif each.layer != of.architecture.readout.name and each.before != (inputs,):
                out = int(np.count_nonzero(each.weight, axis=0).max())
                yield _most("fan-out", each.layer, out, device.fan_out, "take a narrower layer")
        yield from weight_limit(network, WEIGHT_BITS)
        yield Limit(
            "spikes a step",
            "",
            "one",
            "as often as V fits into u, up to 31",
            False,
            "choose V so that no potential reaches 2 V, and compare on the device",
        )


def _most(what: str, layer: str, found: int, most: int, change: str) -> Limit:
    fits = found <= most
    return Limit(what, layer, f"{found:,}", f"at most {most:,}", fits, "" if fits else change)
