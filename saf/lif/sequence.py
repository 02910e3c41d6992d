"""Time steps of a LIF network: the state between them, and what each layer makes of some at once.

Shapes: `N` samples, `T` steps, `K` of them at once, `C H W` one image or frame.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from saf.model.layers import Layer, Wire
from saf.networks.architecture import INPUT, weighted
from saf.neurons.base import State

OfInput = Callable[[Layer], Tensor]
"""What a layer gets from the input, and its bias: steps · N …, or the bias alone, 1 C 1 1 (1 F)."""


class SequenceState(NamedTuple):
    """A LIF network after some steps: pass it in, get the next one back."""

    steps: int
    neurons: tuple[State, ...]  # u and s per spiking layer: N, then its shape
    readout: Tensor  # N K, the sum or the decaying sum


class LIFStep(NamedTuple):
    """One time step of a run, for those who look inside."""

    potentials: dict[str, Tensor]  # u before the reset, per spiking layer: N, then its shape
    spikes: dict[str, Tensor]  # s, likewise
    scores: Tensor  # N K, after this step


class LIFChunk(NamedTuple):
    """K time steps of a run at once, for those who look inside."""

    steps: int  # K
    potentials: dict[str, Tensor]  # u before the reset, per spiking layer: K · N, its shape
    spikes: dict[str, Tensor]  # s, likewise
    scores: Tensor  # K N classes, after each of the steps


class LayerSteps:
    """What a layer makes of the spikes that it hears in K steps."""

    def __init__(
        self,
        layers: Iterable[Layer],
        current: Callable[[Layer, Mapping[str, Tensor], Tensor | None], Tensor],
        of_input: OfInput,
        state: SequenceState,
        *,
        record: bool,
    ) -> None:
        """`current(layer, heard, start)` is what arrives at a layer, added to `start`; `record`
        asks for potentials."""
        self._current, self._of_input, self._record = current, of_input, record
        spiking = (layer.name for layer in layers if layer.neuron is not None)
        self.neurons: dict[str, State] = dict(zip(spiking, state.neurons, strict=True))
        self.recorded: dict[str, Tensor] = {}
        self._fired: dict[str, Tensor] = {}

    def __call__(self, layer: Layer, heard: Mapping[str, Tensor]) -> Tensor:
        start, bias = self._of_input(layer), None
        if _maps_one_source(layer):
            bias = start  # the scan adds it, which saves a pass over the memory
        current = self._current(layer, heard, start if bias is None else None)
        if layer.neuron is None:
            return current
        if current is start:
            current = current.clone()  # others look at it again
        kept = torch.empty_like(current) if self._record else None
        spikes, self.neurons[layer.name] = layer.neuron.steps(
            current, self.neurons[layer.name], bias=bias, potentials=kept
        )
        if kept is not None:
            self.recorded[layer.name] = kept
        self._fired[layer.name] = spikes
        return spikes

    def note(self, name: str, sent: Tensor) -> None:
        """A hook may have put something else in the place of the spikes of a layer."""
        if sent is not self._fired.pop(name):
            state = self.neurons[name]
            self.neurons[name] = state.with_spikes(sent[-len(state.s) :])


def wires(layer: Layer) -> list[Wire]:
    """The connections of a layer with plain weights."""
    return [
        Wire(connection.source, connection.operations, tuple(own.weight for own in maps), maps)
        for connection, maps in layer.connected()
    ]


def _maps_one_source(layer: Layer) -> bool:
    """Whether nothing but a map with weights of one earlier layer arrives beside the bias."""
    if layer.neuron is None or len(layer.description.connections) != 1:
        return False
    (connection,) = layer.description.connections
    return connection.source != INPUT and len(weighted(connection)) > 0


def repeated(of_input: OfInput, steps: int) -> OfInput:
    """What an image brings, at each of `steps` steps: steps · N …, in its layout."""
    if steps == 1:
        return of_input

    def at_each_step(layer: Layer) -> Tensor:
        current = of_input(layer)
        return torch.cat([current] * steps) if layer.description.hears_input else current

    return at_each_step
