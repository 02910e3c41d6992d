"""The SAF form of a LIF network on a grid, step by step, to compare with its LIF form.

Shapes: `N` samples, `…` the shape of a layer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from saf.kernels.saf_scan import Constant
from saf.lif.network import LIFNetwork
from saf.lif.sequence import LIFStep
from saf.model.forward.accumulation import difference
from saf.model.forward.delays import DelayLine
from saf.model.forward.saf_forward import Neurons
from saf.model.inputs import with_pixels
from saf.model.layers import Layer, run_layers
from saf.model.operations import channels_last
from saf.networks.architecture import INPUT
from saf.neurons.base import Filters
from saf.neurons.dynamics import saf_step
from saf.neurons.lif import LIF

Received = tuple[str, Filters]
"""A source, and the filters by which layers accumulate what it sends."""


@torch.no_grad()
def run_saf(network: LIFNetwork, x: Tensor, neurons: Neurons | None = None) -> Iterator[LIFStep]:
    """The T steps of `network` on images `x` (`N C H W`) or event frames (`N T C H W`) by spike
    accumulation, as in SAF.

        Û[t] = Σ W Â_in[t] + Î[t]                Î[t] = λ Î[t−1] + (W x[t] + b)
        s[t] = H(Û[t] − V (λ â[t−1] + 1))        â[t] = λ â[t−1] + s[t]

    with λ of the layer; Â_in is what a source has sent, accumulated by the λ of the layer that
    reads it (by its two filters, where it has a synaptic current). Scores are those of the readout
    of this step: Σ (W s[t] + b), or Û[t] / c[t] of the readout. The potentials are
    Û[t] − V λ â[t−1]. A relay sends its Û on, and has sent Û[t] − λ Û[t−1] in this step. With
    `neurons`, which runs the layers as in `saf.model.forward.saf_forward.advance`, there are no
    potentials, and spikes of those alone that the readout listens to.
    """
    of = network.description
    x = x if of.image is None else of.image.sequence(x)
    x = with_pixels(x, of.architecture.input_shape, len(of.architecture.input_shape) + 2)
    frames = x.transpose(0, 1) if of.frames else None
    memory = _Memory(network, len(x))
    of_input, _ = network.currents_of_input(x if frames is None else frames[0])
    readout = network.readout_layer
    everyone = [layer.name for layer in network.layers]
    read = {connection.source for connection in readout.description.connections}
    total = torch.zeros((), dtype=network.dtype, device=network.device)
    for t in range(1, of.timesteps + 1):
        if frames is not None:
            of_input, arrived = network.currents_of_input(frames[t - 1], memory.of_input)
            if INPUT in memory.of_input:
                memory.of_input[INPUT] = memory.of_input[INPUT].after(arrived, 1)
        sums = memory.currents(of_input, t)
        step = _Step(network, memory, sums, neurons)
        for layer, accumulation in run_layers(
            network.layers, dict(memory.own), step, keep=everyone
        ):
            step.after(layer, accumulation, note=layer.name in read and of.readout == "mean")
        memory = step.memory()
        if of.readout == "mean":
            total = scores = total + network.current(readout, step.sent, of_input[readout.name])
        else:
            inputs = {name: step.received(name, readout, a) for name, a in step.own.items()}
            scores = network.current(readout, inputs, sums[readout.name])
            scores = scores / readout.accumulated_one(t)
        yield LIFStep(potentials=step.potentials, spikes=step.spikes, scores=scores)


class _Memory:
    """What the SAF form knows of the time steps before."""

    def __init__(self, network: LIFNetwork, samples: int) -> None:
        layers = (*network.layers, network.readout_layer)
        self._layers = {layer.name: layer for layer in layers}
        self.own = {
            layer.name: channels_last(
                torch.zeros(samples, *layer.shape, dtype=network.dtype, device=network.device)
            )
            for layer in network.layers
            if layer.neuron is not None
        }
        """â of every layer with neurons, and then of relays, by their own λ."""
        self.filtered: dict[Received, tuple[Tensor, ...]] = {}
        """Accumulations by other filters than the source's own, a tensor after each filter."""
        self.carried: dict[str, tuple[Tensor, ...]] = {}
        """Further state of neurons."""
        self.lines: dict[Received, DelayLine] = {}
        self.of_input: dict[str, DelayLine] = {}
        self.others: dict[str, set[Filters]] = {}
        for layer in layers:
            for connection in layer.description.connections:
                source, delay = connection.source, connection.delay
                if source == INPUT:
                    longest = max(delay, self.of_input.get(INPUT, DelayLine(0)).depth)
                    if longest:
                        self.of_input[INPUT] = DelayLine(longest)
                    continue
                if layer.filters != (self._layers[source].decay,):
                    self.others.setdefault(source, set()).add(layer.filters)
                if delay:
                    key = (source, layer.filters)
                    depth = max(delay, self.lines.get(key, DelayLine(0)).depth)
                    self.lines[key] = DelayLine(depth)
        self._sums: dict[str, tuple[Tensor, ...]] = {}
        self._frames = network.description.frames

    def currents(self, of_input: Mapping[str, Tensor], t: int) -> dict[str, Tensor]:
        """Î[t] of each layer: the currents of the input and the bias, by its filters."""
        if not self._frames:
            return {n: self._layers[n].accumulated_one(t) * x for n, x in of_input.items()}
        for name, now in of_input.items():
            filters = self._layers[name].filters
            self._sums[name] = _filtered(now, self._sums.get(name), filters)
        return {name: stages[-1] for name, stages in self._sums.items()}


def _filtered(
    now: Tensor, before: tuple[Tensor, ...] | None, filters: Filters
) -> tuple[Tensor, ...]:
    """Accumulations of `now` after each of `filters`, with those of the time step `before`."""
    stages = []
    for number, decay in enumerate(filters):
        if before is not None:
            now = decay * before[number] + now
        stages.append(now)
    return tuple(stages)


class _Step:
    """Computes the accumulation of a layer in one time step from those of its sources."""

    def __init__(
        self,
        network: LIFNetwork,
        before: _Memory,
        sums: Mapping[str, Tensor],
        neurons: Neurons | None,
    ) -> None:
        """`sums` are the accumulated currents of the input."""
        self._network, self._before, self._sums, self._neurons = network, before, sums, neurons
        self.own = dict(before.own)
        self._filtered = dict(before.filtered)
        self._carried: dict[str, tuple[Tensor, ...]] = {}
        self._lines = dict(before.lines)
        self.spikes: dict[str, Tensor] = {}
        self.sent: dict[str, Tensor] = {}
        """In this step alone, of those that the readout reads."""
        self.potentials: dict[str, Tensor] = {}

    def __call__(self, layer: Layer, inputs: Mapping[str, Tensor]) -> Tensor:
        name, start = layer.name, self._sums[layer.name]
        # A layer that is computed later is heard by its accumulation of the time step before.
        received = {source: self.received(source, layer, x) for source, x in inputs.items()}
        lines = {s: line for (s, filters), line in self._lines.items() if filters == layer.filters}
        potential = self._network.current(layer, received, start, lines)
        if layer.neuron is None:
            return potential
        before, neuron = self._before.own[name], layer.neuron
        if self._neurons is None and isinstance(neuron, LIF):
            decay, threshold = neuron.decay, neuron.threshold
            self.spikes[name], accumulation = saf_step(potential, before, decay, threshold)
            self.potentials[name] = potential - threshold * (decay * before)
            return accumulation
        if potential is start:  # others look at it again
            potential = potential.expand_as(before).clone()
        carried, constant = self._before.carried.get(name, ()), _nothing(potential)
        if self._neurons is not None:
            found = self._neurons(name, potential, constant, before, carried)
        else:
            found = neuron.accumulate(potential, constant, before, carried=carried, potentials=True)
            assert found.potentials is not None
            self.potentials[name] = found.potentials
            self._sent(layer, found.accumulation)
        self._carried[name] = found.carried
        return found.accumulation

    def received(self, source: str, layer: Layer, own: Tensor) -> Tensor:
        """What `layer` reads of a source, whose `own` accumulation is by its own λ."""
        stages = self._filtered.get((source, layer.filters))
        if stages is not None:
            return stages[-1]
        if layer.filters in self._before.others.get(source, ()):
            return torch.zeros_like(own)  # before the first time step
        return own

    def after(self, layer: Layer, accumulation: Tensor, *, note: bool) -> None:
        """Keep the accumulation of a layer, and accumulate what it has sent by the filters of those
        that hear it; `note` what that is, for the readout."""
        name = layer.name
        self.own[name] = accumulation
        others = self._before.others.get(name, ())
        if not (note or others):
            return
        sent = self.spikes.get(name)
        if sent is None:
            sent = self._sent(layer, accumulation)
        if note:
            self.sent[name] = sent
        for filters in others:
            key = (name, filters)
            self._filtered[key] = _filtered(sent, self._before.filtered.get(key), filters)

    def _sent(self, layer: Layer, accumulation: Tensor) -> Tensor:
        """What a layer has sent in this time step: â[t] − λ â[t−1]."""
        before, spiking = self._before.own.get(layer.name), layer.neuron is not None
        sent = difference(accumulation, before, 1, layer.decay, spiking=spiking)
        if spiking:
            self.spikes[layer.name] = sent
        return sent

    def memory(self) -> _Memory:
        """What the next time step has to know."""
        memory = self._before
        memory.own, memory.filtered = self.own, self._filtered
        memory.carried = self._carried
        for (source, filters), line in memory.lines.items():
            stages = self._filtered.get((source, filters))
            now = self.own[source] if stages is None else stages[-1]
            memory.lines[source, filters] = line.after(now, 1)
        return memory


def _nothing(potential: Tensor) -> Constant:
    """No current beside `potential`."""
    shape = (1, potential.shape[1], *(1,) * (potential.dim() - 2))
    return Constant(potential.new_zeros(shape), True, [0.0], [0.0])
