"""A spiking network: its weights, and what it takes.

`saf.model.saf_forward` runs it with SAF neurons, `saf.model.lif_forward` with LIF neurons.

Shapes: `T` time steps, `B` samples, `C H W` one image or frame.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from types import MappingProxyType
from typing import NamedTuple

import torch
from torch import Tensor

from saf.config import JobSpecification, Neuron
from saf.errors import UserConfigError
from saf.kernels.precision import compute_dtype, parameter_dtype
from saf.model.inputs import Stimulus
from saf.model.operations import apply, channels_last, without_scales
from saf.model.weight_standardisation import standardise, standardised
from saf.networks.architecture import INPUT, Architecture, Connection, Conv, Linear, Operation

FLAT_CHANNEL = 1e-4  # a deviation below which a channel says nothing and is not blown up


class Effective(NamedTuple):
    """What a population computes with: its weights standardised, its bias shaped to be added."""

    operations: tuple[tuple[Operation, ...], ...]  # per connection
    weights: tuple[tuple[Tensor, ...], ...]  # per connection, per convolution or linear map
    bias: Tensor  # C 1 1, or F


_Maps = tuple[tuple[Operation, ...], tuple[Tensor, ...]]
"""The operations of a connection, and the weights of those that have some."""


class _Weight(torch.nn.Module):
    def __init__(self, shape: tuple[int, ...], operation: Conv | Linear) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(shape))
        self.gain: torch.nn.Parameter | None = None
        self.residual_gain: torch.nn.Parameter | None = None
        if operation.standardised:
            per_output = (shape[0], *(1,) * (len(shape) - 1))
            self.gain = torch.nn.Parameter(torch.full(per_output, operation.initial_gain))
        if operation.residual_gain is not None:
            self.residual_gain = torch.nn.Parameter(torch.tensor(operation.residual_gain))

    def _with_gain(self) -> tuple[Tensor, Tensor | None]:
        """The weight and the gain of its standardisation, one of them with that of the branch."""
        if self.residual_gain is None:
            return self.weight, self.gain
        if self.gain is None:
            return self.residual_gain * self.weight, None
        return self.weight, self.residual_gain * self.gain

    def effective(self) -> Tensor:
        weight, gain = self._with_gain()
        return weight if gain is None else standardise(weight, gain)

    def folded(self, factor: float, dtype: torch.dtype) -> Tensor:
        weight, gain = self._with_gain()
        if gain is not None:
            return standardised(weight, gain, factor, dtype)
        return channels_last((weight if factor == 1.0 else factor * weight).to(dtype))


class SpikingNetwork(torch.nn.Module):
    """Weights of an `Architecture`, with the normalisation of its input.

    Parameters, for a population `layer1`: `layer1.0.weight` (and `layer1.0.gain` where it is
    standardised, `layer1.0.residual_gain` where it has one) for its first convolution or linear
    map, counted through all its connections, and `layer1.bias`, one per channel or feature. The
    modules hold no state of a sequence.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        architecture: Architecture,
        neuron: Neuron,
        *,
        mean: Sequence[float],
        std: Sequence[float],
        seed: int | None,
        compute_dtype: torch.dtype | None = None,
    ) -> None:
        """Draw the weights from `seed` (None: from the operating system); no global generator.

        `mean` and `std` are per input channel. `compute_dtype` is the type of the arithmetic where
        it is not that of the parameters (bfloat16 with float32 parameters). Raises ValueError.

        Initialisation as in the code published with OTTT: convolutions Kaiming-normal over the
        fan-out (std = sqrt(2 / (out_channels / groups · k²))), linear maps normal with 0.01, gains
        1 unless the architecture says otherwise, biases 0, and feedback connections 0. Standardised
        linear maps, which it does not have, start like convolutions: the smaller a standardised
        weight, the faster it turns, and at 0.01 an MLP does not learn.
        """
        super().__init__()
        channels = architecture.input_shape[0]
        if not len(mean) == len(std) == channels:
            raise ValueError(f"mean and std are needed for each of {channels} input channels")
        if min(std) <= 0:
            raise ValueError("the standard deviation of an input channel must be positive")
        self.architecture = architecture
        self.neuron = neuron
        self.compute_dtype = compute_dtype
        shapes = architecture.shapes()
        for population in (*architecture.populations, architecture.readout):
            if hasattr(self, population.name):
                raise ValueError(f"a layer cannot be named {population.name}")
            module = torch.nn.Module()
            maps = [m for c in population.connections for m in _maps(c, shapes[c.source])]
            for number, (operation, shape) in enumerate(maps):
                module.add_module(str(number), _Weight(shape, operation))
            bias = torch.zeros(shapes[population.name][0])
            module.register_parameter("bias", torch.nn.Parameter(bias))
            self.add_module(population.name, module)
        per_channel = (channels, *(1,) * (len(architecture.input_shape) - 1))
        self.register_buffer("mean", torch.tensor(mean).view(per_channel))
        self.register_buffer("std", torch.tensor(std).view(per_channel))
        generator = torch.Generator()
        if seed is None:
            generator.seed()
        else:
            generator.manual_seed(seed)
        self._initialise(generator)

    @torch.no_grad()
    def _initialise(self, generator: torch.Generator) -> None:
        known = {INPUT}
        for population in (*self.architecture.populations, self.architecture.readout):
            left = iter(self._weights(population.name))
            for connection in population.connections:
                weights = []
                for operation, _ in _maps(connection):
                    weight = next(left).weight
                    groups = operation.groups if isinstance(operation, Conv) else 1
                    fan_out = weight.shape[0] // groups * math.prod(weight.shape[2:])
                    kaiming = isinstance(operation, Conv) or operation.standardised
                    std = math.sqrt(2.0 / fan_out) if kaiming else 0.01
                    weights.append(weight.normal_(0.0, std, generator=generator))
                if connection.source not in known and weights:
                    weights[-1].zero_()
            known.add(population.name)

    @torch.no_grad()
    def scale(self, population: str, factor: float) -> None:
        """Multiply all that arrives at `population` by `factor`, but for its bias and for residual
        branches: the last map of each connection is scaled, by its gain where it has one."""
        populations = (*self.architecture.populations, self.architecture.readout)
        (described,) = (p for p in populations if p.name == population)
        left = iter(self._weights(population))
        for connection in described.connections:
            own = [next(left) for _ in _maps(connection)]
            if own and own[-1].residual_gain is None:
                last = own[-1]
                (last.weight if last.gain is None else last.gain).mul_(factor)

    def _weights(self, population: str) -> list[_Weight]:
        return [m for m in self.get_submodule(population).children() if isinstance(m, _Weight)]

    @property
    def dtype(self) -> torch.dtype:
        """The type of the arithmetic."""
        return self.compute_dtype or self.parameter_dtype

    @property
    def parameter_dtype(self) -> torch.dtype:
        """The type of the parameters, of the scores and of the loss."""
        return next(self.parameters()).dtype

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    @property
    def classes(self) -> int:
        """K"""
        return self.architecture.shapes()[self.architecture.readout.name][0]

    @torch.no_grad()
    def with_weights(self, weights: Mapping[str, Tensor]) -> SpikingNetwork:
        """A copy with these parameters, by name."""
        copy = deepcopy(self)
        for name, parameter in copy.named_parameters():
            parameter.copy_(weights[name])
        return copy

    def normalise(self, x: Tensor) -> Tensor:
        """(x − mean) / std of B C H W or B T C H W in [0, 1], on the network's device."""
        mean, std = self.mean, self.std
        return ((x.to(mean) - mean) / std).to(self.dtype)

    def effective(self) -> dict[str, Effective]:
        """Weights as they act, of every population and of the readout, by name, with their graph.

        Weight standardisation is done here, once, and not once per step.
        """
        return self._effective(
            lambda connection, own: (
                connection.operations,
                tuple(weight.effective().to(self.dtype) for weight in own),
            )
        )

    def folded(self) -> dict[str, Effective]:
        """`effective` to compute with: the constant factors of a connection are part of its last
        weight, and weights are laid out for convolutions with the channels last."""

        def fold(connection: Connection, own: list[_Weight]) -> _Maps:
            operations, factor = without_scales(connection.operations)
            if not own:
                return connection.operations, ()
            factors = [1.0] * (len(own) - 1) + [factor]
            weights = (w.folded(f, self.dtype) for w, f in zip(own, factors, strict=True))
            return operations, tuple(weights)

        return self._effective(fold)

    def _effective(
        self, maps: Callable[[Connection, list[_Weight]], _Maps]
    ) -> dict[str, Effective]:
        found = {}
        shapes = self.architecture.shapes()
        for population in (*self.architecture.populations, self.architecture.readout):
            left = iter(self._weights(population.name))
            pairs = [maps(c, [next(left) for _ in _maps(c)]) for c in population.connections]
            bias = self.get_parameter(f"{population.name}.bias").to(self.dtype)
            found[population.name] = Effective(
                tuple(operations for operations, _ in pairs),
                tuple(weights for _, weights in pairs),
                bias.view(-1, *(1,) * (len(shapes[population.name]) - 1)),
            )
        return found

    def stimulus(self, x: Tensor, timesteps: int) -> Stimulus:
        """Normalise `x`, images B C H W or event frames B T C H W with values in [0, 1].

        Raises UserConfigError when the frames are not `timesteps` many, ValueError when the shape
        is another than the network's.
        """
        shape = self.architecture.input_shape
        if timesteps < 1:
            raise ValueError(f"a sequence has at least 1 time step, not {timesteps}")
        if x.dim() not in (len(shape) + 1, len(shape) + 2) or x.shape[-len(shape) :] != shape:
            raise ValueError(
                f"the network takes images of {shape} (or frames, with the time steps before), "
                f"and got a batch of {tuple(x.shape)}"
            )
        if x.dim() == len(shape) + 1:
            return Stimulus(self.normalise(x), None)
        if x.shape[1] != timesteps:
            raise UserConfigError(
                f"the samples have {x.shape[1]} frames and the job asks for {timesteps} time steps",
                hint=f"set timesteps to {x.shape[1]}, or bin the events into {timesteps} frames",
            )
        return Stimulus(None, self.normalise(x).transpose(0, 1))


def network_of(
    specification: JobSpecification,
    architecture: Architecture,
    *,
    mean: Sequence[float],
    std: Sequence[float],
) -> SpikingNetwork:
    """The network of a job before its training, on the CPU; in bfloat16 its parameters are float32.

    `mean` and `std` are those of each input channel in the training data.
    """
    network = SpikingNetwork(
        architecture,
        specification.neuron,
        mean=mean,
        std=[deviation if deviation > FLAT_CHANNEL else 1.0 for deviation in std],
        seed=specification.seed,
        compute_dtype=compute_dtype(specification.precision),
    )
    return network.to(parameter_dtype(specification.precision))


def _maps(
    connection: Connection, shape: tuple[int, ...] | None = None
) -> list[tuple[Conv | Linear, tuple[int, ...]]]:
    """The operations of `connection` that have weights; with their shapes if `shape` enters it."""
    if shape is None:
        return [(o, ()) for o in connection.operations if isinstance(o, Conv | Linear)]
    return [
        (operation, operation.weight_shape(before))
        for operation, before in connection.shapes(shape)
        if isinstance(operation, Conv | Linear)
    ]


Masks = Mapping[str, Tensor]
"""What each neuron's spikes count at its listeners, by population, B …: see `saf.model.dropout`."""
NO_DROPOUT: Masks = MappingProxyType({})


class Steady(NamedTuple):
    """What a population or the readout gets at every step alike: its bias, and the current of an
    image that stays."""

    value: Tensor  # B …; 1 C 1 1 (1 F) where it is shared
    shared: bool  # whether it is a bias alone, the same for all samples and pixels


class Presentation(NamedTuple):
    """A stimulus before a network, with what is computed once for it and not at every step."""

    network: SpikingNetwork
    stimulus: Stimulus
    effective: dict[str, Effective]
    constant: dict[str, Steady]
    """Of every population and of the readout."""

    masks: Masks = NO_DROPOUT

    @property
    def samples(self) -> int:
        """B"""
        return len(self.stimulus.one)

    def masked(self, name: str, sent: Tensor) -> Tensor:
        """What of `sent`, spikes or accumulations of the population `name` at K steps (K · B …),
        arrives at its listeners."""
        if (mask := self.masks.get(name)) is None:
            return sent
        if len(sent) == len(mask):
            return sent * mask
        return (torch.unflatten(sent, 0, (-1, len(mask))) * mask).flatten(0, 1)


def present(network: SpikingNetwork, stimulus: Stimulus, masks: Masks = NO_DROPOUT) -> Presentation:
    """Show `stimulus` to `network` with its weights as they are; the graph leads to them."""
    effective, stimulus = network.folded(), stimulus.channels_last()
    constant = constants(network, stimulus, effective)
    return Presentation(network, stimulus, effective, constant, masks)


def constants(
    network: SpikingNetwork, stimulus: Stimulus, effective: dict[str, Effective]
) -> dict[str, Steady]:
    """`Presentation.constant` of these effective weights."""
    found = {}
    for population in (*network.architecture.populations, network.architecture.readout):
        own = effective[population.name]
        value, shared = own.bias[None], True
        for connection, operations, weights in zip(
            population.connections, own.operations, own.weights, strict=True
        ):
            if connection.source == INPUT and stimulus.image is not None:
                value, shared = value + apply(operations, weights, stimulus.image), False
        found[population.name] = Steady(value, shared)
    return found
