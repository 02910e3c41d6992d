"""Fully connected layers that hear their own spikes of the time step before; no torch."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from saf.config.networks import NETWORKS, Features, Network
from saf.networks.architecture import (
    Architecture,
    Connection,
    Flatten,
    LayerDescription,
    Linear,
    Operation,
    Scale,
    Shape,
)
from saf.networks.chain import SPIKE_SCALE, chained, is_without_place

RecurrentScale = Annotated[float, Field(gt=0, le=1000)]


@NETWORKS.add
class RNN(Network):
    """Recurrent network for series: fully connected spiking layers, each of which also gets its own
    spikes of the time step before. The recurrent weights start at 0."""

    label: ClassVar[str] = "RNN"
    place: ClassVar[int] = 95
    suggested: ClassVar[bool] = True
    of_images: ClassVar[bool] = False

    name: Literal["rnn"] = "rnn"
    features: Annotated[tuple[Features, ...], Field(min_length=1, max_length=16)] = (128, 128)
    """Neurons of each spiking layer."""
    recurrent_scale: RecurrentScale = 1.0
    """A constant factor on the spikes that a layer hears of itself, times the 2.74 of all spikes.
    The recurrent weights start at 0, and AdamW changes every weight at the learning rate, so this
    is how fast feedback grows: below 1 slower, against learning few samples by heart."""

    def architecture(self, input_shape: Shape, classes: int) -> Architecture:
        first, *rest = (Linear(out_features=n, standardised=True) for n in self.features)
        if is_without_place(input_shape):
            first = Linear(out_features=self.features[0])
        layers: list[list[Operation]] = [[Flatten(), first]]
        layers.extend([linear] for linear in rest)
        forward = chained([*layers, [Linear(out_features=classes)]], input_shape)
        return Architecture(
            input_shape=input_shape,
            layers=tuple(
                recurrent(layer, Linear(out_features=features), self.recurrent_scale)
                for layer, features in zip(forward.layers, self.features, strict=True)
            ),
            readout=forward.readout,
        )


def recurrent(layer: LayerDescription, operation: Operation, scale: float) -> LayerDescription:
    """`layer` with a connection from itself by `operation`; its spikes arrive times `scale`."""
    factor = Scale(factor=scale * SPIKE_SCALE)
    own = Connection(source=layer.name, operations=(factor, operation))
    return layer.model_copy(update={"connections": (*layer.connections, own)})
