"""Operations of a LIF network and of the same network without spikes, for one sample, and an
estimate of their energy.

Energy per operation in float32 on 45 nm: an addition 0.9 pJ, a multiplication 3.7 pJ, so 4.6 pJ for
both; M. Horowitz, Computing's energy problem, ISSCC 2014. Memory traffic, which often costs more
than arithmetic, is not included: these are estimates for comparison, not predictions.

A spike at a synapse is one addition (a synaptic operation). Maps of pixels take multiplications and
additions, and so does the update of a neuron at every time step.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from saf.config import NEURONS
from saf.lif.header import LIFDescription
from saf.model.operations import apply, without_scales
from saf.networks.architecture import (
    INPUT,
    Connection,
    Conv,
    Linear,
    Operation,
    Scale,
    Shape,
    weighted,
)

PICOJOULES_PER_ADDITION = 0.9
PICOJOULES_PER_MULTIPLY_ADD = 4.6
Counts = NDArray[np.float64]


def estimate(description: LIFDescription, spikes: Mapping[str, Counts]) -> dict[str, Any]:
    """Operations and energy for one sample, as JSON values.

    `spikes` counts those of each neuron of every layer in T time steps, the mean over many samples,
    as `saf.lif.measure.measure` does. The weights of the first layer are applied to an image once,
    for all T time steps, and to event frames at every time step. The network without spikes applies
    each weight once per sample, or once per frame. Synapses beyond the border of an image are not
    counted. Maps behind the first one of a connection are applied to sums of spikes, so they take
    multiplications at every time step; so do maps of a relay, while a plain skip connection is an
    addition.
    """
    architecture, steps = description.architecture, description.timesteps
    shapes = architecture.shapes()
    changes = description.frames or description.encoding_of_input().over_time
    shown = steps if changes else 1
    updates = {n: NEURONS[own["name"]].updates for n, own in description.neurons.items()}
    relays = {layer.name for layer in architecture.layers if layer.relay}
    layers: list[dict[str, Any]] = []
    for layer in (*architecture.layers, architecture.readout):
        additions = multiplications = dense = 0.0
        for connection in layer.connections:
            reach, behind = _synapses(connection, shapes[connection.source])
            dense += shown * (float(reach.sum()) * _has_weights(connection) + behind)
            if connection.source == INPUT:
                multiplications += shown * (float(reach.sum()) + behind)
            elif connection.source in relays:
                if any(isinstance(o, Conv | Linear | Scale) for o in connection.operations):
                    multiplications += steps * (float(reach.sum()) + behind)
                else:
                    additions += steps * float(reach.sum())
            else:
                additions += float((spikes[connection.source] * reach).sum())
                multiplications += steps * behind
        layers.append(
            {
                "name": layer.name,
                "synaptic_operations": additions,
                "multiply_adds": multiplications,
                "neuron_updates": 0.0
                if layer.name in relays
                else float(steps * prod(shapes[layer.name]) * updates.get(layer.name, 1)),
                "dense_multiply_adds": dense,
            }
        )
    totals = {key: sum(layer[key] for layer in layers) for key in layers[0] if key != "name"}
    of_spikes = PICOJOULES_PER_ADDITION * totals["synaptic_operations"]
    of_spikes += PICOJOULES_PER_MULTIPLY_ADD * (totals["multiply_adds"] + totals["neuron_updates"])
    of_dense = PICOJOULES_PER_MULTIPLY_ADD * totals["dense_multiply_adds"]
    return {
        "source": "an estimate: float32 arithmetic on 45 nm (Horowitz, ISSCC 2014), without memory",
        "picojoules_per_addition": PICOJOULES_PER_ADDITION,
        "picojoules_per_multiply_add": PICOJOULES_PER_MULTIPLY_ADD,
        **totals,
        "picojoules": of_spikes,
        "dense_picojoules": of_dense,
        "layers": layers,
    }


def _has_weights(connection: Connection) -> bool:
    return len(weighted(connection)) > 0


def _synapses(connection: Connection, shape: Shape) -> tuple[Counts, int]:
    """Number of synapses of the first map with weights for every neuron of the source (in its
    shape), and number of multiplications of the maps behind it."""
    operations, _ = without_scales(connection.operations)
    first = next(
        (i + 1 for i, o in enumerate(operations) if isinstance(o, Conv | Linear)), len(operations)
    )
    reach = _reach(operations[:first], shape)
    behind = 0
    for operation, before in connection.model_copy(update={"operations": operations}).shapes(shape):
        if first <= 0 and isinstance(operation, Conv | Linear):
            behind += int(_reach([operation], before).sum())
        first -= 1
    return reach, behind


def _reach(operations: Sequence[Operation], shape: Shape) -> Counts:
    """Number of sums that every number of `shape` contributes to: the gradient of their sum
    where all weights are 1."""
    x = torch.zeros(1, *shape, requires_grad=True)
    weights, before = [], shape
    for operation in operations:
        if isinstance(operation, Conv | Linear):
            weights.append(torch.ones(operation.weight_shape(before)))
        before = operation.output_shape(before)
    with torch.enable_grad():
        (gradient,) = torch.autograd.grad(apply(operations, weights, x).sum(), x)
    return gradient[0].double().numpy()
