"""A network in front of its input: its weights as they act, and what all steps have in common.

Shapes: `B` samples, `K` steps, `…` the shape of a layer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from saf.config import Neuron as NeuronSettings
from saf.model.inputs import Stimulus
from saf.model.layers import Layer, Wire, arriving
from saf.model.operations import apply, apply_traced
from saf.networks.architecture import INPUT, Architecture

Masks = Mapping[str, Tensor]
"""What each neuron's spikes count at its listeners, by layer, B …: see `saf.model.dropout`."""
NO_DROPOUT: Masks = MappingProxyType({})


class Layered(Protocol):
    """What a forward pass asks of a network."""

    @property
    def architecture(self) -> Architecture: ...

    @property
    def neuron(self) -> NeuronSettings:
        """Those of the job; a layer may have others."""

    @property
    def layers(self) -> Sequence[Layer]:
        """All but the readout, in the order in which they are computed."""

    @property
    def readout_layer(self) -> Layer: ...

    @property
    def parameter_dtype(self) -> torch.dtype:
        """The type of the scores."""

    @property
    def dtype(self) -> torch.dtype:
        """The type of the arithmetic."""

    @property
    def device(self) -> torch.device: ...


class Effective(NamedTuple):
    """What a layer computes with: its weights standardised, its bias shaped to be added."""

    wires: tuple[Wire, ...]
    bias: Tensor  # C 1 1, or F


class Steady(NamedTuple):
    """What a layer gets at every step alike: its bias, and the current of an image that stays."""

    value: Tensor  # B …; 1 C 1 1 (1 F) where it is shared
    shared: bool  # whether it is a bias alone, the same for all samples and pixels


class Presentation(NamedTuple):
    """A stimulus before a network, with what is computed once for it and not at every step."""

    network: Layered
    stimulus: Stimulus
    effective: dict[str, Effective]
    constant: Mapping[str, Steady]
    """Of every layer and of the readout."""

    masks: Masks = NO_DROPOUT

    @property
    def samples(self) -> int:
        """B"""
        return len(self.stimulus.one)

    @property
    def has_feedback(self) -> bool:
        """Whether a layer hears itself or a later one."""
        known = {INPUT}
        for layer in self.network.layers:
            if any(wire.source not in known for wire in self.effective[layer.name].wires):
                return True
            known.add(layer.name)
        return False

    def without_feedback(self) -> Presentation:
        """The same, where no layer hears itself or a later one."""
        known, effective = {INPUT}, dict(self.effective)
        for layer in self.network.layers:
            own = effective[layer.name]
            forward = tuple(wire for wire in own.wires if wire.source in known)
            effective[layer.name] = own._replace(wires=forward)
            known.add(layer.name)
        return self._replace(effective=effective)

    def masked(self, name: str, sent: Tensor) -> Tensor:
        """What of `sent`, spikes or accumulations of the layer `name` at K steps (K · B …),
        arrives at its listeners."""
        if (mask := self.masks.get(name)) is None:
            return sent
        if len(sent) == len(mask):
            return sent * mask
        return (torch.unflatten(sent, 0, (-1, len(mask))) * mask).flatten(0, 1)


Synapse = Callable[[Wire, Tensor, Tensor], Tensor]
"""(wire, spikes, trace) → current: `traced`, or one like it."""


def traced(wire: Wire, spikes: Tensor, trace: Tensor) -> Tensor:
    """The current of `spikes`, with the gradient of each weight taken at `trace`: that of OTTT."""
    return apply_traced(wire.operations, wire.weights, spikes, trace, maps=wire.maps)


def plain(wire: Wire, spikes: Tensor, trace: Tensor) -> Tensor:
    """The current of `spikes`, with its ordinary gradient; `trace` has no effect."""
    return apply(wire.operations, wire.weights, spikes, maps=wire.maps)


class Constants(Mapping[str, Steady]):
    """`Presentation.constant` of effective weights, computed where a layer asks for the first time:
    so that hooks see the maps of the input inside the layer that they belong to."""

    def __init__(
        self, network: Layered, stimulus: Stimulus, effective: Mapping[str, Effective]
    ) -> None:
        """The graph is recorded where it would be here."""
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
                value = arriving(own.wires, self._image, bias, lambda wire, x: plain(wire, x, x))
            assert value is not None
            self._found[name] = self.found(Steady(value, value is bias))
        return self._found[name]

    def found(self, steady: Steady) -> Steady:
        """What is to be remembered of a result."""
        return steady

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)
