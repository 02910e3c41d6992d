"""Operations of an iteration, counted on the description of a network; no torch."""

from __future__ import annotations

from math import prod

from saf.config import ResolvedSpecification
from saf.networks.architecture import Architecture, Conv, Linear


def multiply_adds(architecture: Architecture) -> int:
    """Multiplications with a weight when every map of the network is evaluated once on a sample."""
    shapes = architecture.shapes()
    total = 0
    for layer in (*architecture.layers, architecture.readout):
        for connection in layer.connections:
            for operation, before in connection.shapes(shapes[connection.source]):
                if isinstance(operation, Conv | Linear):
                    places = prod(operation.output_shape(before)[1:])
                    once = prod(operation.weight_shape(before)) * places
                    total += once * len(connection.taps)
    return total


def evaluations(specification: ResolvedSpecification) -> int:
    """Number of times that one sample passes every map in training, forward and backward.

    Forward once a step. Backward costs two evaluations, of the gradient of the input and of the
    weights: once a step, or once a sample where the loss is at the final step only.
    """
    steps = specification.timesteps
    return steps + 2 * specification.method.backward_passes(steps)
