"""SynSense Speck 2: does a network fit its nine convolutional cores?"""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil, log2
from typing import TYPE_CHECKING, ClassVar, Literal

from saf.config.targets import TARGETS
from saf.lif.export.chips.chip import Chip, Limit, Map, maps, one_map_a_layer, weight_limit
from saf.networks.architecture import AveragePool, Conv, SumPool

if TYPE_CHECKING:
    from saf.lif.network import LIFNetwork

KERNEL_MEMORY = (16, 16, 16, 32, 32, 64, 64, 16, 16)  # Ki weights of each core
NEURON_MEMORY = (64, 64, 64, 32, 32, 16, 16, 16, 16)  # Ki neurons of each core
BIASES = 1024
CHANNELS, SIDE = 1024, 16
STRIDES, POOLS = (1, 2, 4, 8), (1, 2, 4)
WEIGHT_BITS = 8


@TARGETS.add
class Speck(Chip):
    """Whether the network fits SynSense's Speck 2: nine cores of one convolution each, neurons that
    integrate without a leak, weights in 8 bits. A report; nothing is written for the chip."""

    label: ClassVar[str] = "Speck 2"
    place: ClassVar[int] = 80
    can: ClassVar[tuple[str, ...]] = ("a report of every limit for every network",)
    sources: ClassVar[tuple[str, ...]] = (
        "sinabs 3.1.3, sinabs/backend/dynapcnn/chips/dynapcnn.py (memory of the cores) and "
        "sinabs/validate_memory_speck.py (sides, channels, strides, pooling; how memory counts)",
    )

    name: Literal["speck"] = "speck"

    def limits(self, network: LIFNetwork) -> Iterator[Limit]:
        of = network.description
        yield Limit(
            "decay",
            "",
            f"λ = {of.decay:g}",
            "λ = 1, integration without a leak",
            of.decay == 1,
            "" if of.decay == 1 else "train it with neuron.decay 1",
        )
        yield _input(network)
        yield from one_map_a_layer(network)
        yield from weight_limit(network, WEIGHT_BITS)
        found = list(maps(network))
        for each in found:
            yield from _of_map(each)
        yield from _pools(network)
        yield _placed(found)


def _input(network: LIFNetwork) -> Limit:
    """Events, or what becomes a current at every step: images, and series of values that are no
    counts, of which a mean is subtracted."""
    of = network.description
    is_series = of.frames and of.architecture.input_shape[1:] == (1, 1)
    fits = of.frames and not (is_series and any(of.mean))
    found = "event frames" if fits else "images, as a current at every step"
    if is_series:
        found = "series of counts" if fits else "series of values, as currents"
    change = "" if fits else "train it on recordings of an event camera"
    return Limit("input", "", found, "events", fits, change)


def _of_map(each: Map) -> Iterator[Limit]:
    channels, sides, strides = _as_convolution(each)
    yield _limit("channels", each.layer, channels, CHANNELS, "take fewer channels")
    yield _limit("side of the kernel", each.layer, max(sides), SIDE, "take a smaller kernel")
    fits = strides in STRIDES
    allowed = ", ".join(map(str, STRIDES))
    yield Limit(
        "stride",
        each.layer,
        str(strides),
        f"one of {allowed}",
        fits,
        "" if fits else "take another stride",
    )
    if isinstance(each.operation, Conv) and each.operation.groups > 1:
        yield Limit("groups", each.layer, str(each.operation.groups), "1", False, "take one group")


def _pools(network: LIFNetwork) -> Iterator[Limit]:
    architecture = network.description.architecture
    for layer in (*architecture.layers, architecture.readout):
        for operation in (o for c in layer.connections for o in c.operations):
            if isinstance(operation, SumPool | AveragePool):
                fits = operation.kernel in POOLS
                allowed = ", ".join(map(str, POOLS))
                yield Limit(
                    "pooling",
                    layer.name,
                    str(operation.kernel),
                    f"one of {allowed}",
                    fits,
                    "" if fits else "pool over 2 or 4 pixels",
                )


def _placed(found: list[Map]) -> Limit:
    """Whether every map finds a core with room for its weights and neurons."""
    needs = [(_kernel_memory(each), _neuron_memory(each), len(each.weight)) for each in found]
    cores = list(zip(KERNEL_MEMORY, NEURON_MEMORY, strict=True))
    room = [
        [
            kernels <= 1024 * core[0] and neurons <= 1024 * core[1] and biases <= BIASES
            for core in cores
        ]
        for kernels, neurons, biases in needs
    ]
    taken: dict[int, int] = {}

    def place(number: int, tried: set[int]) -> bool:
        for core, fits in enumerate(room[number]):
            if fits and core not in tried:
                tried.add(core)
                if core not in taken or place(taken[core], tried):
                    taken[core] = number
                    return True
        return False

    homeless = [found[number].layer for number in range(len(found)) if not place(number, set())]
    largest = ", ".join(
        f"{each.layer} {kernels / 1024:.3g} Ki weights and {neurons / 1024:.3g} Ki neurons"
        for each, (kernels, neurons, _) in zip(found, needs, strict=True)
    )
    return Limit(
        "cores",
        homeless[0] if homeless else "",
        f"{len(found)} maps: {largest}",
        f"{len(cores)} cores of {'/'.join(map(str, KERNEL_MEMORY))} Ki weights and "
        f"{'/'.join(map(str, NEURON_MEMORY))} Ki neurons",
        not homeless,
        f"take fewer layers, channels or pixels: no core is left for {', '.join(homeless)}"
        if homeless
        else "",
    )


def _kernel_memory(each: Map) -> int:
    """c · 2^(⌈log2 k²⌉ + ⌈log2 f⌉)"""
    channels, sides, _ = _as_convolution(each)
    return int(each.image[0] * 2 ** (_bits(sides[0] * sides[1]) + _bits(channels)))


def _neuron_memory(each: Map) -> int:
    """f · 2^(⌈log2 h⌉ + ⌈log2 w⌉)"""
    channels, *sides = each.after if len(each.after) == 3 else (*each.after, 1, 1)
    return int(channels * 2 ** sum(map(_bits, sides)))


def _bits(number: int) -> int:
    return ceil(log2(number))


def _as_convolution(each: Map) -> tuple[int, tuple[int, int], int]:
    """Channels, sides of the kernel and stride."""
    if isinstance(each.operation, Conv):
        kernel = each.operation.kernel
        return each.operation.out_channels, (kernel, kernel), each.operation.stride
    return each.operation.out_features, (each.image[1], each.image[2]), 1


def _limit(what: str, layer: str, found: int, most: int, change: str) -> Limit:
    fits = found <= most
    return Limit(what, layer, str(found), f"at most {most}", fits, "" if fits else change)
