"""Time steps of a LIF network: its recurrent state, and the computation of its layers.

Shapes: `N` samples, `T` time steps, `K` of them at once, `C H W` one image or frame.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import NamedTuple

import torch
from torch import Tensor

from saf.config.methods import Readout
from saf.model.forward.delays import DelayLine
from saf.model.layers import Layer, Wire
from saf.networks.architecture import INPUT, weighted
from saf.neurons.base import State

OfInput = Callable[[Layer], Tensor]
"""What a layer gets from the input, and its bias: steps · N …, or the bias alone, 1 C 1 1 (1 F)."""


class SequenceState(NamedTuple):
    """Recurrent state of a LIF network: pass it in, get the next one back."""

    steps: int
    neurons: tuple[State, ...]  # u and s per spiking layer: N, then its shape
    readout: Tensor  # N K, the sum, the decaying sum, the last outputs or the largest
    sent: Mapping[str, DelayLine] = MappingProxyType({})
    """Output of a layer, or the input, for connections with delays."""
    encoding: Tensor | None = None
    """Memory of the encoding of the input."""


class LIFStep(NamedTuple):
    """One time step of a run: scores, spikes and potentials."""

    potentials: dict[str, Tensor]  # u before the reset, per spiking layer: N, then its shape
    spikes: dict[str, Tensor]  # s, likewise
    scores: Tensor  # N K, after this step


class LIFChunk(NamedTuple):
    """K time steps of a run at once: scores, spikes and potentials."""

    steps: int  # K
    potentials: dict[str, Tensor]  # u before the reset, per spiking layer: K · N, its shape
    spikes: dict[str, Tensor]  # s, likewise
    scores: Tensor  # K N classes, after each of the steps


class LayerSteps:
    """Computes the spikes of a layer in K time steps from those of its sources."""

    def __init__(
        self,
        layers: Iterable[Layer],
        current: Callable[[Layer, Mapping[str, Tensor], Tensor | None], Tensor],
        of_input: OfInput,
        state: SequenceState,
        *,
        record: bool,
    ) -> None:
        """`current(layer, inputs, start)` is the input current of a layer, plus `start`; `record`
        asks for potentials."""
        self._current, self._of_input, self._record = current, of_input, record
        spiking = (layer.name for layer in layers if layer.neuron is not None)
        self.neurons: dict[str, State] = dict(zip(spiking, state.neurons, strict=True))
        self.recorded: dict[str, Tensor] = {}
        self._fired: dict[str, Tensor] = {}

    def __call__(self, layer: Layer, inputs: Mapping[str, Tensor]) -> Tensor:
        start, bias = self._of_input(layer), None
        if _maps_one_source(layer):
            bias = start  # the scan adds it, which saves a pass over the memory
        current = self._current(layer, inputs, start if bias is None else None)
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
        """Keep the output of a layer; a hook may have replaced its spikes."""
        if sent is not self._fired.pop(name):
            state = self.neurons[name]
            self.neurons[name] = state.with_spikes(sent[-len(state.s) :])


def read_out(
    kind: Readout, layer: Layer, outputs: Iterable[Tensor], state: SequenceState
) -> tuple[Tensor, list[Tensor]]:
    """The readout after the time steps with these `outputs` of the last `layer`, N K each, and the
    scores after each of them."""
    readout, scores = state.readout, []
    for t, of_step in enumerate(outputs, state.steps + 1):
        if kind == "weighted":
            readout = layer.decay * readout + of_step
            scores.append(readout / layer.accumulated_one(t))
            continue
        if kind == "last":
            readout = of_step
        elif kind == "max":
            readout = of_step if t == 1 else readout.maximum(of_step)
        else:
            readout = readout + of_step
        scores.append(readout)
    return readout, scores


def wires(layer: Layer) -> list[Wire]:
    """The connections of a layer with plain weights."""
    return [
        Wire(
            connection.source,
            connection.operations,
            tuple(own.weight for own in maps),
            maps,
            connection.delay,
        )
        for connection, maps in layer.connected()
    ]


def _maps_one_source(layer: Layer) -> bool:
    """Whether the input current is one map with weights of one earlier layer, plus the bias."""
    if layer.neuron is None or len(layer.description.connections) != 1:
        return False
    (connection,) = layer.description.connections
    return connection.source != INPUT and len(weighted(connection)) > 0


def repeated(of_input: OfInput, steps: int) -> OfInput:
    """Current of an image at each of `steps` time steps: steps · N …, in its layout."""
    if steps == 1:
        return of_input

    def at_each_step(layer: Layer) -> Tensor:
        current = of_input(layer)
        return torch.cat([current] * steps) if layer.description.reads_input else current

    return at_each_step
