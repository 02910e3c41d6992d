"""The architecture of a network, without its weights: layers and the connections between them.

A layer is a group of spiking neurons. Their input current is the sum of the layer's connections
plus a bias. A connection is a chain of linear operations on the output of another layer, or of the
input. A relay is a layer without neurons: its output is that sum, so that a residual stream is
added up once and not once for each layer that reads it. The readout does not spike either. A
connection from an earlier layer is a forward or a skip connection; from the same or a later one it
is feedback and carries the accumulation of the time step before. A connection may have a delay of
several time steps, and learn the delay of each of its weights.

This module loads no torch: the API checks shapes, counts parameters and forecasts memory with it,
`saf.model.network` gives the same description its weights, and the header of `lif.safetensors`
holds it.

Shapes: `C H W` channels, height, width; `F` features.
"""

from saf.networks.architecture.connections import (
    INPUT,
    MOST_DELAY,
    Connection,
    LayerDescription,
    LearnedDelay,
    weighted,
)
from saf.networks.architecture.network import Architecture
from saf.networks.architecture.operations import (
    AveragePool,
    AveragePool1d,
    Conv,
    Conv1d,
    Flatten,
    InARow,
    Linear,
    Operation,
    Scale,
    Shape,
    Sides,
    SumPool,
    SumPool1d,
    Upsample,
)

__all__ = [
    "INPUT",
    "MOST_DELAY",
    "Architecture",
    "AveragePool",
    "AveragePool1d",
    "Connection",
    "Conv",
    "Conv1d",
    "Flatten",
    "InARow",
    "LayerDescription",
    "LearnedDelay",
    "Linear",
    "Operation",
    "Scale",
    "Shape",
    "Sides",
    "SumPool",
    "SumPool1d",
    "Upsample",
    "weighted",
]
