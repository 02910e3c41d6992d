"""A network with its input: effective weights, and what is the same at all time steps.

Shapes: `B` samples, `K` time steps, `…` the shape of a layer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import MappingProxyType
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from saf.config import Neuron as NeuronSettings
from saf.model.inputs import Stimulus
from saf.model.layers import Layer, Wire, input_current
from saf.model.operations import apply, apply_traced
from saf.networks.architecture import INPUT, Architecture
from saf.neurons.base import Filters

Masks = Mapping[str, Tensor]
"""Dropout masks of spikes as other layers read them, B … by layer: see `saf.model.dropout`."""
NO_DROPOUT: Masks = MappingProxyType({})


class Layered(Protocol):
    """Protocol of a network that the forward passes can run."""

    @property
    def architecture(self) -> Architecture: ...

    @property
    def neuron(self) -> NeuronSettings:
        """Neuron settings of the job; a layer may have others."""

    @property
    def layers(self) -> Sequence[Layer]:
        """All layers but the readout, in the order in which they are computed."""

    @property
    def readout_layer(self) -> Layer: ...

    @property
    def parameter_dtype(self) -> torch.dtype:
        """Type of the scores."""

    @property
    def dtype(self) -> torch.dtype:
        """Type of the arithmetic."""

    @property
    def device(self) -> torch.device: ...


class Effective(NamedTuple):
    """Effective weights of a layer, and its bias, shaped to be added."""

    wires: tuple[Wire, ...]
    bias: Tensor  # C 1 1, or F


class Steady(NamedTuple):
    """Input current that is the same at every time step: the bias, and the current of an image."""

    value: Tensor  # B …; 1 C 1 1 (1 F) where it is shared
    shared: bool  # whether it is a bias alone, the same for all samples and pixels


@dataclass(frozen=True)
class Presentation:
    """A network and its stimulus, with what is computed once per sequence."""

    network: Layered
    stimulus: Stimulus
    effective: dict[str, Effective]
    constant: Mapping[str, Steady]
    """Of every layer and of the readout."""

    masks: Masks = field(default_factory=lambda: NO_DROPOUT)

    @cached_property
    def samples(self) -> int:
        """B"""
        return len(self.stimulus.one)

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        """All layers but the readout, in the order in which they are computed."""
        return tuple(self.network.layers)

    @cached_property
    def decays(self) -> dict[str, float]:
        """λ by which the output of each layer, and of the input, is accumulated."""
        own = {layer.name: layer.decay for layer in self.layers}
        return {**own, INPUT: self.network.readout_layer.decay}

    @cached_property
    def spiking(self) -> frozenset[str]:
        """Layers that are no relays."""
        return frozenset(layer.name for layer in self.layers if layer.neuron is not None)

    @cached_property
    def heard(self) -> frozenset[str]:
        """Sources of the readout."""
        wires = self.effective[self.network.readout_layer.name].wires
        return frozenset(wire.source for wire in wires)

    @cached_property
    def other_filters(self) -> dict[str, set[Filters]]:
        """Filters of layers, by source, that differ from the source's own."""
        readout = self.network.readout_layer
        found: dict[str, set[Filters]] = {}
        for layer in (*self.layers, readout):
            for wire in self.effective[layer.name].wires:
                still = wire.source == INPUT and self.stimulus.frames is None
                if not still and layer.filters != (self.decays[wire.source],):
                    found.setdefault(wire.source, set()).add(layer.filters)
        return found

    @cached_property
    def delays(self) -> dict[tuple[str, Filters], int]:
        """The longest delay of a source as layers with these filters read it, of those with one."""
        depths: dict[tuple[str, Filters], int] = {}
        for layer in self.layers:
            for wire in self.effective[layer.name].wires:
                if wire.delay:
                    key = (wire.source, layer.filters)
                    depths[key] = max(wire.delay, depths.get(key, 0))
        return depths

    @cached_property
    def feedback(self) -> frozenset[str]:
        """Layers from which a connection leads to themselves or to an earlier one."""
        known, found = {INPUT}, set()
        for layer in self.layers:
            sources = {wire.source for wire in self.effective[layer.name].wires}
            found |= sources - known
            known.add(layer.name)
        return frozenset(found)

    def without_feedback(self) -> Presentation:
        """The same presentation without feedback connections."""
        known, effective = {INPUT}, dict(self.effective)
        for layer in self.layers:
            own = effective[layer.name]
            forward = tuple(wire for wire in own.wires if wire.source in known)
            effective[layer.name] = own._replace(wires=forward)
            known.add(layer.name)
        return replace(self, effective=effective)

    def masked(self, name: str, sent: Tensor) -> Tensor:
        """`sent`, spikes or accumulations of the layer `name` at K time steps (K · B …), with
        dropout as other layers read them."""
        if (mask := self.masks.get(name)) is None:
            return sent
        if len(sent) == len(mask):
            return sent * mask
        return (torch.unflatten(sent, 0, (-1, len(mask))) * mask).flatten(0, 1)


Synapse = Callable[[Wire, Tensor, Tensor], Tensor]
"""(wire, spikes, trace) → current: `traced`, or one like it."""


def traced(wire: Wire, spikes: Tensor, trace: Tensor) -> Tensor:
    """Input current of `spikes`, with the gradient of each weight taken at `trace`, as in OTTT."""
    return apply_traced(wire.operations, wire.weights, spikes, trace, maps=wire.maps)


def plain(wire: Wire, spikes: Tensor, trace: Tensor) -> Tensor:
    """Input current of `spikes`, with its ordinary gradient; `trace` has no effect."""
    return apply(wire.operations, wire.weights, spikes, maps=wire.maps)


class Constants(Mapping[str, Steady]):
    """`Presentation.constant` of effective weights. Each is computed when a layer reads it for
    the first time, so that hooks see the maps of the input inside their layer."""

    def __init__(
        self, network: Layered, stimulus: Stimulus, effective: Mapping[str, Effective]
    ) -> None:
        """A graph is recorded later if gradients are enabled here."""
        self._names = [layer.name for layer in (*network.layers, network.readout_layer)]
        self._image = {} if stimulus.image is None else {INPUT: stimulus.image}
        self._effective = effective
        self._records = torch.is_grad_enabled()
        self._found: dict[str, Steady] = {}

    def __getitem__(self, name: str) -> Steady:
        if name not in self._found:
            own = self._effective[name]
            with torch.set_grad_enabled(self._records):
                bias = own.bias[None]
                value = input_current(
                    own.wires, self._image, bias, lambda wire, x: plain(wire, x, x)
                )
            assert value is not None
            self._found[name] = self.found(Steady(value, value is bias))
        return self._found[name]

    def found(self, steady: Steady) -> Steady:
        """The part of a result that is kept."""
        return steady

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)
