"""Layers of a network as modules, and the loop over them that every forward pass uses.

Shapes: those of the forward pass.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from copy import copy
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor

from saf.model.forward.replay import Replay
from saf.model.operations import channels_last, mapped
from saf.model.taps import spread
from saf.model.weight_standardisation import standardise, standardised
from saf.networks.architecture import (
    Connection,
    Conv,
    LayerDescription,
    LearnedDelay,
    Linear,
    Operation,
    Shape,
    weighted,
)
from saf.neurons.base import Filters, Neuron
from saf.neurons.dynamics import accumulated_one

Signal = TypeVar("Signal")
"""What a layer sends in a pass: spikes, spike accumulations, an interval."""
Current = TypeVar("Current")
"""What arrives over a connection, which can be added up."""


class Map(torch.nn.Module):
    """The weight of a convolution or a linear map, with its gains if it has any, and the delay of
    each of its numbers where these are learned.

    `forward` takes the input, N …, and the weight to compute with (`effective` or `folded`,
    computed once per sequence), and returns the input current.
    """

    gain: torch.nn.Parameter | None
    residual_gain: torch.nn.Parameter | None
    centre: torch.nn.Parameter | None
    """Centres c of the kernels of `saf.model.taps`, of the shape of the weight, as shares of the
    span, so that one learning rate suits weights and delays of any span."""

    def __init__(
        self, operation: Conv | Linear, shape: Shape, learned_delay: LearnedDelay | None = None
    ) -> None:
        """Make a weight of zeros of `shape`."""
        super().__init__()
        self.operation, self._learned_delay = operation, learned_delay
        self.weight = torch.nn.Parameter(torch.zeros(shape))
        self.centre = None
        if learned_delay is not None:
            self.centre = torch.nn.Parameter(torch.zeros(shape))
        self.gain = self.residual_gain = None
        if operation.standardised:
            per_output = (shape[0], *(1,) * (len(shape) - 1))
            self.gain = torch.nn.Parameter(torch.full(per_output, operation.initial_gain))
        if operation.residual_gain is not None:
            self.residual_gain = torch.nn.Parameter(torch.tensor(operation.residual_gain))

    def forward(
        self,
        x: Tensor,
        weight: Tensor | None = None,
        trace: Tensor | None = None,
        replay: Replay | None = None,
    ) -> Tensor:
        """Apply the map to `x`, see `saf.model.operations.mapped`; without a weight, with the
        effective one."""
        weight = self.effective() if weight is None else weight
        return mapped(self.operation, x, weight, trace, replay)

    def _with_gain(self) -> tuple[Tensor, Tensor | None]:
        """The weight and the gain of its standardisation; one of them is multiplied by the gain
        of the branch."""
        if self.residual_gain is None:
            return self.weight, self.gain
        if self.gain is None:
            return self.residual_gain * self.weight, None
        return self.weight, self.residual_gain * self.gain

    def scale(self, factor: float) -> None:
        """Multiply what the map gives by `factor`: the gain of its branch, its gains or, without
        either, its weight."""
        gain = self.gain if self.residual_gain is None else self.residual_gain
        (self.weight if gain is None else gain).mul_(factor)

    def effective(self) -> Tensor:
        """Effective weight: standardised, with its gains."""
        weight, gain = self._with_gain()
        return weight if gain is None else standardise(weight, gain)

    def folded(self, factor: float, dtype: torch.dtype) -> Tensor:
        """`factor` · `effective()` in `dtype`, laid out with the channels last."""
        weight, gain = self._with_gain()
        if gain is not None:
            return standardised(weight, gain, factor, dtype)
        return channels_last((weight if factor == 1.0 else factor * weight).to(dtype))

    def at_each_tap(self, weight: Tensor, dtype: torch.dtype) -> tuple[Tensor, ...]:
        """`weight`, the effective one or a multiple of it, in `dtype`: at each tap of learned
        delays, or as it is without these."""
        if self._learned_delay is None:
            return (weight.to(dtype),)
        assert self.centre is not None
        taps = spread(weight, self.centre, self._learned_delay)
        return tuple(channels_last(own.to(dtype)) for own in taps)

    def extra_repr(self) -> str:
        operation = self.operation
        shape = " × ".join(map(str, self.weight.shape))
        return f"{shape}, stride={operation.stride}" if isinstance(operation, Conv) else shape


def without_gains(operation: Conv | Linear) -> Conv | Linear:
    """The same operation for a weight that is used as it is."""
    plain = {"standardised": False, "residual_gain": None, "initial_gain": 1.0}
    return operation.model_copy(update=plain)


class ConvMap(Map):
    """A convolution."""


class LinearMap(Map):
    """A fully connected map."""


class Wire(NamedTuple):
    """A connection with the weights to compute with; of learned delays, one of its taps."""

    source: str
    operations: tuple[Operation, ...]
    weights: tuple[Tensor, ...]  # of each convolution and linear map
    maps: tuple[Map, ...]  # the modules that evaluate these
    delay: int = 0  # time steps


def wires_of(
    connection: Connection,
    operations: tuple[Operation, ...],
    weights: Sequence[Tensor],
    maps: tuple[Map, ...],
    dtype: torch.dtype,
) -> Iterator[Wire]:
    """The wires of `connection`, one for each of its taps, with these `weights` of its maps."""
    first = tuple(weight.to(dtype) for weight in weights[:-1])
    last = [(own,) for own in maps[-1].at_each_tap(weights[-1], dtype)] if maps else [()]
    for delay, own in zip(connection.taps, last, strict=True):
        yield Wire(connection.source, operations, (*first, *own), maps, delay)


class Layer(torch.nn.Module):
    """A layer of a network: weights, biases and neurons.

    It has a `Map` for each convolution and linear map, numbered over all its connections; a bias
    per channel or feature; and neurons, unless it is a relay or the readout. A forward pass calls
    it with the outputs of its sources by name. It returns its own output, so that forward hooks
    see inputs and outputs and can replace them.
    """

    def __init__(
        self,
        description: LayerDescription,
        shapes: Mapping[str, Shape],
        neuron: Neuron | None,
        *,
        filters: Filters,
        plain: bool = False,
    ) -> None:
        """`shapes` are those of `Architecture.shapes`. `filters` are those of a layer without
        neurons; the first is the λ by which a relay accumulates. `plain` weights have no gains,
        whatever the operations say."""
        super().__init__()
        self.description = description
        self._filters = filters
        number = 0
        for connection in description.connections:
            left = len(weighted(connection))
            for operation, before in connection.shapes(shapes[connection.source]):
                if isinstance(operation, Conv | Linear):
                    kind = ConvMap if isinstance(operation, Conv) else LinearMap
                    shape = operation.weight_shape(before)
                    if plain:
                        operation = without_gains(operation)
                    left -= 1
                    delay = None if left else connection.learned_delay
                    self.add_module(str(number), kind(operation, shape, delay))
                    number += 1
        self.shape = shapes[description.name]
        self.bias = torch.nn.Parameter(torch.zeros(self.shape[0]))
        self.neuron = neuron

    def with_neuron(self, neuron: Neuron | None, filters: Filters) -> Layer:
        """The same layer with other neurons; the parameters are shared."""
        other = copy(self)
        other._modules = {**self._modules, "neuron": neuron}
        other._filters = filters
        return other

    @property
    def name(self) -> str:
        """Name of the layer."""
        return self.description.name

    @property
    def neurons(self) -> Neuron:
        """The neurons of a spiking layer."""
        assert self.neuron is not None, f"{self.name} does not spike"
        return self.neuron

    @property
    def decay(self) -> float:
        """λ by which the output of the layer is accumulated."""
        return self._filters[0] if self.neuron is None else self.neuron.decay

    @property
    def filters(self) -> Filters:
        """Decays by which the layer accumulates its input."""
        return self._filters if self.neuron is None else self.neuron.filters

    def accumulated_one(self, t: int) -> float:
        """Accumulation of a constant input of 1 after t time steps."""
        if self.neuron is None:
            return accumulated_one(t, self.decay)
        return self.neuron.accumulated_one(t)

    @property
    def maps(self) -> list[Map]:
        """Convolutions and linear maps of the layer, in order."""
        return [module for module in self._modules.values() if isinstance(module, Map)]

    def connected(self) -> Iterator[tuple[Connection, tuple[Map, ...]]]:
        """Yields each connection with its convolutions and linear maps."""
        left = iter(self.maps)
        for connection in self.description.connections:
            yield connection, tuple(next(left) for _ in weighted(connection))

    def shaped_bias(self) -> Tensor:
        """The bias, shaped to be added: C 1 1, or F."""
        return self.bias.view(-1, *(1,) * (len(self.shape) - 1))

    def forward(
        self,
        inputs: Mapping[str, Signal],
        step: Callable[[Layer, Mapping[str, Signal]], Signal],
    ) -> Signal:
        """Output of the layer in the forward pass that `step` belongs to; `inputs` are the
        outputs of its sources by name."""
        return step(self, inputs)


def run_layers(
    layers: Iterable[Layer],
    sent: dict[str, Signal],
    step: Callable[[Layer, Mapping[str, Signal]], Signal],
    *,
    keep: Collection[str],
) -> Iterator[tuple[Layer, Signal]]:
    """Compute `layers` in order; yields each with its output.

    `sent` holds the outputs by name: that of the input and, where there is feedback, those of all
    layers at the time step before. It is updated, and outputs are freed once the last layer that
    reads them has run, unless they are in `keep`. The caller may replace the output of a layer in
    `sent` before the next one is computed. `step` computes a layer from the outputs of its sources;
    sources that are not in `sent` are left out.
    """
    layers = list(layers)
    listening = Counter(c.source for layer in layers for c in layer.description.connections)
    for layer in layers:
        sources = [connection.source for connection in layer.description.connections]
        inputs = {source: sent[source] for source in sources if source in sent}
        listening.subtract(sources)
        signal = sent[layer.name] = layer(inputs, step)
        del inputs
        yield layer, signal
        del signal
        for name in [name for name in sent if listening[name] == 0 and name not in keep]:
            del sent[name]


def input_current(
    wires: Sequence[Wire],
    inputs: Mapping[str, Signal],
    start: Current | None,
    carry: Callable[[Wire, Signal], Current],
) -> Current | None:
    """Sum of `start`, if any, and of what `carry` makes of each source in `inputs`, in order."""
    total = start
    for wire in wires:
        if wire.source in inputs:
            current = carry(wire, inputs[wire.source])
            total = current if total is None else total + current  # type: ignore[operator]
    return total
