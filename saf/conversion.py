"""From a trained network to the same network of plain weights and LIF neurons.

Weight standardisation, gains, the scale after every spike and the factor 1 / k² of an average
pooling are all linear, so they go into one weight per connection; an average pooling leaves a sum
behind. The neurons are swapped; the spikes stay (mathematics: sections 1 and 2).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy

import torch
from torch import Tensor

from saf.architecture import (
    Architecture,
    AveragePool,
    Connection,
    Conv,
    Linear,
    Operation,
    Population,
    Scale,
    SumPool,
)
from saf.config import JobSpecification
from saf.lif import LIFDescription, LIFNetwork, weight_names, weighted
from saf.methods import readout_of
from saf.network import SpikingNetwork


def convert(
    network: SpikingNetwork,
    specification: JobSpecification,
    *,
    class_names: Sequence[str],
    frames: bool,
    dtype: torch.dtype = torch.float32,
) -> LIFNetwork:
    """The LIF network, on the CPU, that fires as `network` does.

    Folding is done in float64 and rounded once, to `dtype`. `frames` says that a sample is a
    sequence of T frames and not one image.
    """
    architecture, folded = fold(network.architecture, effective_weights(network))
    return LIFNetwork(
        LIFDescription(
            architecture=architecture,
            decay=specification.neuron.decay,
            threshold=specification.neuron.threshold,
            timesteps=specification.timesteps,
            readout=readout_of(specification.method.name),
            frames=frames,
            mean=tuple(network.mean.flatten().tolist()),
            std=tuple(network.std.flatten().tolist()),
            class_names=tuple(class_names),
            specification=specification.model_dump(mode="json"),
        ),
        {name: tensor.to(dtype) for name, tensor in folded.items()},
    )


def in_precision(network: SpikingNetwork, dtype: torch.dtype) -> SpikingNetwork:
    """A copy of `network` that holds its parameters and computes in `dtype`."""
    copy = deepcopy(network).to(dtype)
    copy.compute_dtype = None
    return copy


@torch.no_grad()
def effective_weights(network: SpikingNetwork) -> dict[str, Tensor]:
    """Weights as they act, and biases, in float64 on the CPU, named as in `lif.safetensors`."""
    exact = in_precision(network, torch.float64).cpu()
    effective = exact.effective()
    named: dict[str, Tensor] = {}
    for population in (*exact.architecture.populations, exact.architecture.readout):
        weights = [weight for own in effective[population.name].weights for weight in own]
        named |= dict(zip(weight_names(population), weights, strict=True))
        named[f"{population.name}.bias"] = exact.get_parameter(f"{population.name}.bias").detach()
    return named


def fold(
    architecture: Architecture, weights: Mapping[str, Tensor]
) -> tuple[Architecture, dict[str, Tensor]]:
    """`architecture` with nothing but plain convolutions, linear maps, sum pooling and flatten.

    `weights` are the effective ones (after standardisation and gain) and the biases, named as in
    `lif.safetensors`; so are those that come back. A `Scale` remains only on a connection without
    weights.
    """
    folded = dict(weights)

    def plain(population: Population) -> Population:
        names = iter(weight_names(population))
        connections = []
        for connection in population.connections:
            own = [next(names) for _ in weighted(connection)]
            operations, factor = _without_factors(connection)
            if own:
                folded[own[-1]] = folded[own[-1]] * factor
            elif factor != 1.0:
                operations.append(Scale(factor=factor))
            connections.append(Connection(source=connection.source, operations=tuple(operations)))
        return Population(name=population.name, connections=tuple(connections))

    return (
        Architecture(
            input_shape=architecture.input_shape,
            populations=tuple(plain(population) for population in architecture.populations),
            readout=plain(architecture.readout),
        ),
        folded,
    )


def _without_factors(connection: Connection) -> tuple[list[Operation], float]:
    """The operations of `connection` without any constant, and the product of the constants."""
    operations: list[Operation] = []
    factor = 1.0
    for operation in connection.operations:
        match operation:
            case Scale():
                factor *= operation.factor
            case AveragePool(kernel=kernel):
                factor /= kernel**2
                operations.append(SumPool(kernel=kernel))
            case Conv() | Linear():
                operations.append(operation.model_copy(update={"standardised": False}))
            case _:
                operations.append(operation)
    return operations, factor
