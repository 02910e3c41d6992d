"""What an export target is: a tool or a chip that a LIF network can be carried to.

A target is one file in `saf.lif.export` or in a plugin: a subclass of `Target` with a `name` and a
`label`, registered by `@TARGETS.add`. Its docstring is what people read of it, its fields are its
settings. This module and the head of such a file load no torch, `unfit` neither; `obstacles`,
`write` and `replay` do.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from saf.config.base import Strict
from saf.config.methods import Readout
from saf.extras import Extra
from saf.registry import Registry, name_of

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from saf.lif.network import LIFNetwork
    from saf.networks.outline import Outline


@dataclass(frozen=True)
class Obstacle:
    """Why a target cannot express a network."""

    layer: str
    """The name of the layer; empty where it is the network as a whole."""
    reason: str
    """What of it cannot be said, in words."""
    remedy: str
    """What to change, or what to take instead."""

    def __str__(self) -> str:
        where = f"layer {self.layer}: " if self.layer else ""
        return f"{where}{self.reason}; {self.remedy}"


class CannotExportError(ValueError):
    """A target that cannot express a network, with all the reasons."""

    def __init__(self, target: str, obstacles: tuple[Obstacle, ...]) -> None:
        super().__init__(f"{target} cannot express this network: " + "; ".join(map(str, obstacles)))
        self.obstacles = obstacles


class NoReaderError(Exception):
    """What replays an export is not installed here; the message says what it is."""


@dataclass(frozen=True)
class Played:
    """What a reader made of a batch of N samples in T steps."""

    spikes: dict[str, NDArray[np.bool_]] | None
    """Of every spiking layer, N T and then its shape; None where the reader shows none."""
    scores: NDArray[np.float64]
    """N K. Only their order within a sample counts."""


class Reader(Protocol):
    """An export as its own tool runs it."""

    versions: dict[str, str]
    """Names and versions of what runs it."""

    def play(
        self, samples: NDArray[np.float32], lengths: NDArray[np.int64] | None = None
    ) -> Played:
        """Run a batch: images N C H W, or frames N T C H W; values as the network takes them. Of
        padded ones `lengths` (N) time steps are their own, and the scores are those at their end;
        only a target with `lengths` gets them."""


class Target(Strict):
    """A tool or a chip that a network is written for; fields, beside `name`, are settings."""

    label: ClassVar[str]
    """What people read in place of the name: "NIR for Norse"."""
    place: ClassVar[int] = 100
    can: ClassVar[tuple[str, ...]]
    """What it expresses, in short sentences."""
    cannot: ClassVar[tuple[str, ...]] = ()
    """What it does not."""
    packages: ClassVar[tuple[str, ...]] = ()
    """Packages that `write` needs, by the names that pip installs."""
    readers: ClassVar[tuple[str, ...]] = ()
    """Packages that `replay` needs beside them."""
    extra: ClassVar[Extra] = "export"
    """The extra of `saf-snn` that brings them."""
    neurons: ClassVar[tuple[str, ...]] = ()
    """Models of neurons, by name, that it expresses in layers with neurons of their own
    (`LIFDescription.neurons`); `lif`: LIF neurons with another decay or threshold."""
    delays: ClassVar[bool] = False
    """Whether it expresses connections with delays."""
    rows: ClassVar[bool] = False
    """Whether it expresses convolutions and poolings of one dimension."""
    encodings: ClassVar[tuple[str, ...]] = ()
    """Encodings of the input, beside values as currents, that it expresses, by name."""
    readouts: ClassVar[tuple[Readout, ...]] = ("mean", "weighted")
    """Readouts that it expresses, by name."""
    lengths: ClassVar[bool] = False
    """Whether what it writes gives the scores at the end of a sample that ends before T, and its
    reader takes `lengths`; else all T time steps are replayed."""
    is_check: ClassVar[bool] = False
    """Whether it writes a report of what fits and nothing that runs; `facts` then has `fits`."""
    loading: ClassVar[str]
    """The lines of code that load the export where it was written for; `{file}` is its name,
    `{samples}` what a batch of samples is: `N C H W in [0, 1]`."""

    name: str = ""

    def unfit(self, of: Outline) -> Iterator[Obstacle]:
        """Why this target cannot express a network, as far as its weights need not be known; the
        service asks before it takes an order."""
        yield from ()

    def obstacles(self, network: LIFNetwork) -> Iterator[Obstacle]:
        """What else stands in the way of `network`: what its weights say."""
        yield from ()

    @abstractmethod
    def write(self, network: LIFNetwork, directory: Path) -> tuple[str, ...]:
        """Write the files of the export into `directory`, the one that is loaded first, and return
        their names. `obstacles` found none."""

    @abstractmethod
    def replay(self, network: LIFNetwork, directory: Path) -> AbstractContextManager[Reader]:
        """What was written, loaded by its own tool. Raises NoReaderError where that is not
        installed. A checking target, which has no reader, raises it as well."""

    def facts(self, network: LIFNetwork, directory: Path) -> dict[str, Any]:
        """What else its certificate says, such as bytes of memory, as JSON values."""
        return {}

    @classmethod
    def missing(cls, packages: tuple[str, ...]) -> list[str]:
        """Which of `packages` are not installed here."""
        return [package for package in packages if not _is_installed(package)]


def samples_in_words(of: Outline) -> str:
    """What a batch of samples of a network is, for people: `N C H W in [0, 1]`."""
    bounded = not of.frames or of.image is not None or of.grid is not None
    shape = "C" if of.is_series else "C H W"
    read = "" if of.image is None else f", an image {of.image.words}"
    return f"N {'T ' if of.frames else ''}{shape}{read}{' in [0, 1]' if bounded else ''}"


def _is_installed(package: str) -> bool:
    try:
        version(package)
    except PackageNotFoundError:
        return find_spec(package.replace("-", "_")) is not None
    return True


def target_of(name: str, settings: Mapping[str, Any] | None = None) -> Target:
    """The target of a name, with its settings. Raises KeyError and ValueError with a sentence."""
    kind = TARGETS[name]
    return kind.model_validate({**(settings or {}), "name": name_of(kind)})


def unfit_for(target: Target, of: Outline) -> tuple[Obstacle, ...]:
    """Why `target` cannot express a network, as far as its weights need not be known."""
    own = (
        Obstacle(
            layer,
            f"its neurons ({constants.get('name')}) are others than LIF neurons with the decay and "
            "the threshold of the network",
            f"{_elsewhere('neurons', constants.get('name'))}, or train with neuron.name = lif",
        )
        for layer, constants in of.neurons.items()
        if constants.get("name") not in target.neurons
    )
    late = (
        Obstacle(
            layer.name,
            f"it hears {connection.source} with a delay of {connection.delay} time steps",
            f"{_elsewhere('delays')}, or choose a network without delays",
        )
        for layer in of.architecture.layers
        for connection in layer.connections
        if connection.delay and not target.delays
    )
    rows = (
        Obstacle(
            layer,
            "it is a convolution or a pooling of one dimension",
            f"{_elsewhere('rows')}, or choose a network of images or matrices",
        )
        for layer in unread_rows(target, of)
    )
    return (*own, *late, *rows, *_unread(target, of), *target.unfit(of))


def _elsewhere(what: str, name: object = None) -> str:
    """Where to take what a target does not know: the targets of floats that do, or this library.
    `what` is the attribute of a target that has `name`, or is it."""
    floats = [each for each in ("python", "onnx", "torch-export") if each in TARGETS]
    known = ((each, getattr(TARGETS[each], what)) for each in floats)
    able = [each for each, has in known if (has if isinstance(has, bool) else name in has)]
    if not able:
        return "run lif.safetensors with this library"
    *others, last = able
    return f"take the target {', '.join(others)}{' or ' if others else ''}{last}"


def unread_rows(target: Target, of: Outline) -> list[str]:
    """Layers with operations of one dimension, which `target` does not know at all."""
    layers = () if target.rows else (*of.architecture.layers, of.architecture.readout)
    return [
        layer.name
        for layer in layers
        if any(operation.of_rows for c in layer.connections for operation in c.operations)
    ]


def _unread(target: Target, of: Outline) -> Iterator[Obstacle]:
    """What `target` has no words for of the input and the readout of a network."""
    encoding = None if of.encoding is None else str(of.encoding.get("name"))
    if encoding is not None and encoding not in target.encodings:
        yield Obstacle(
            "",
            f"its input is encoded ({encoding})",
            f"{_elsewhere('encodings', encoding)}, or train with input.encoding.name = current",
        )
    if of.readout not in target.readouts:
        yield Obstacle(
            "",
            f"its scores are read out as {of.readout}",
            f"{_elsewhere('readouts', of.readout)}, or train with the readout "
            f"{' or '.join(target.readouts)}",
        )


TARGETS: Registry[Target] = Registry("export target", "saf.lif.export")
"""All export targets by name."""
