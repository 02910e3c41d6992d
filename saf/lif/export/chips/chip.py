"""A target that checks whether a network fits a chip: a report of what was found beside each limit,
and what would have to change."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np

from saf.config.targets import NoReaderError, Reader, Target
from saf.files import write_bytes
from saf.networks.architecture import Conv, Flatten, LayerDescription, Linear, Shape

if TYPE_CHECKING:
    from saf.lif.network import LIFNetwork

FORMAT = "saf-chip/1"
IN_FLOAT = 32
"""Bits of weights that are on no grid."""


class Limit(NamedTuple):
    """One limit of a chip beside what a network needs."""

    what: str
    layer: str
    """Empty where it is the network as a whole."""
    found: str
    limit: str
    fits: bool
    change: str
    """What would have to change; empty where it fits."""


class Chip(Target):
    """A chip. `CHIP-report.json` says whether a network fits."""

    is_check: ClassVar[bool] = True
    sources: ClassVar[tuple[str, ...]]
    """Where the limits are published."""
    loading: ClassVar[str] = (
        'import json\n\nreport = json.load(open("{file}"))\nprint(report["fits"])'
    )

    @abstractmethod
    def limits(self, network: LIFNetwork) -> Iterator[Limit]:
        """Every limit of the chip that was looked at, kept or not."""

    def write(self, network: LIFNetwork, directory: Path) -> tuple[str, ...]:
        name = f"{self.name}-report.json"
        report = {"format": FORMAT, "chip": self.label, **self._report(network)}
        content = json.dumps(report, indent=1, allow_nan=False, ensure_ascii=False)
        write_bytes(directory / name, content.encode())
        return (name,)

    @contextmanager
    def replay(self, network: LIFNetwork, directory: Path) -> Iterator[Reader]:
        unkept = [limit for limit in self.limits(network) if not limit.fits]
        if not unkept:
            raise NoReaderError("it fits all limits that were checked; nothing runs it here")
        said = "; ".join(
            f"{_at(each)}{each.what} {each.found}, not {each.limit}" for each in unkept
        )
        raise NoReaderError(f"it does not fit: {said}")
        yield  # a context manager that never opens

    def facts(self, network: LIFNetwork, directory: Path) -> dict[str, Any]:
        return self._report(network)

    def _report(self, network: LIFNetwork) -> dict[str, Any]:
        limits = list(self.limits(network))
        return {
            "fits": all(limit.fits for limit in limits),
            "limits": [limit._asdict() for limit in limits],
            "sources": list(self.sources),
        }


def _at(limit: Limit) -> str:
    return f"{limit.layer}: " if limit.layer else ""


class Map(NamedTuple):
    """A map with weights of a network."""

    layer: str
    operation: Conv | Linear
    weight: Any
    before: Shape
    """Shape that enters it."""
    after: Shape
    image: Shape
    """What enters it as channels and sides, before it was flattened; features have one pixel."""


def maps(network: LIFNetwork) -> Iterator[Map]:
    """Every map with weights, in the order of the layers, the readout last."""
    from saf.lif.header import weight_names

    architecture = network.description.architecture
    shapes = architecture.shapes()
    for layer in (*architecture.layers, architecture.readout):
        names = iter(weight_names(layer))
        for connection in layer.connections:
            image = shapes[connection.source]
            for operation, before in connection.shapes(shapes[connection.source]):
                if len(before) == 3 or prod(before) != prod(image):
                    image = before
                if isinstance(operation, Flatten):
                    continue
                if isinstance(operation, Conv | Linear):
                    weight = network.tensors[next(names)].double().numpy()
                    after = operation.output_shape(before)
                    seen = image if len(image) == 3 else (*image, 1, 1)
                    yield Map(layer.name, operation, weight, before, after, seen)
                    image = after


def bits_of(weight: Any) -> int:
    """Bits, with the sign, of the integers that the weights are on a scale that is a power of two;
    `IN_FLOAT` where they take more than the 24 of a float32."""
    values = np.unique(np.abs(weight[weight != 0]))
    if not len(values):
        return 1
    mantissas, exponents = np.frexp(values)
    whole = np.rint(mantissas * 2.0**24).astype(np.int64)
    zeros = np.array([(int(each) & -int(each)).bit_length() - 1 for each in whole])
    lowest = int((exponents - 24 + zeros).min())
    bits = int(exponents.max()) - lowest + 1
    return bits if bits <= 24 else IN_FLOAT


def weight_limit(network: LIFNetwork, most: int) -> Iterator[Limit]:
    """A limit on the bits of the weights of each map."""
    for each in maps(network):
        bits = bits_of(each.weight)
        found = "float32" if bits == IN_FLOAT else f"{bits} bits"
        yield Limit(
            "weights",
            each.layer,
            found,
            f"at most {most} bits",
            bits <= most,
            ""
            if bits <= most
            else f"train it with conversion.weight_bits {most}, weight_scale layer",
        )


def one_map_a_layer(network: LIFNetwork) -> Iterator[Limit]:
    """Every layer hears one other through one map with weights."""
    architecture = network.description.architecture
    for layer in (*architecture.layers, architecture.readout):
        count = _paths(layer)
        yield Limit(
            "maps",
            layer.name,
            f"{count} with weights" + (", added up without neurons" if layer.relay else ""),
            "one for a layer of neurons",
            count == 1 and not layer.relay,
            "" if count == 1 and not layer.relay else "train a network without skip connections",
        )


def neurons_of(network: LIFNetwork) -> dict[str, int]:
    """Neurons of each spiking layer."""
    shapes = network.description.architecture.shapes()
    return {layer.name: prod(shapes[layer.name]) for layer in network.layers if layer.neuron}


def _paths(layer: LayerDescription) -> int:
    return sum(
        max(1, sum(isinstance(o, Conv | Linear) for o in each.operations))
        for each in layer.connections
    )
