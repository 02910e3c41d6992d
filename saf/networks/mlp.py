"""Fully connected layers; no torch."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from saf.config.networks import NETWORKS, Features, Network
from saf.networks.architecture import Architecture, Flatten, Linear, Operation, Shape
from saf.networks.chain import chained, is_without_place


@NETWORKS.add
class MLP(Network):
    """Fully connected spiking layers on the flattened image, or on the channels of series."""

    label: ClassVar[str] = "MLP"
    place: ClassVar[int] = 90
    suggested: ClassVar[bool] = True
    of_images: ClassVar[bool] = False

    name: Literal["mlp"] = "mlp"
    features: Annotated[tuple[Features, ...], Field(min_length=1, max_length=16)] = (512, 512)
    """Neurons of each spiking layer."""

    def architecture(self, input_shape: Shape, classes: int) -> Architecture:
        first, *rest = (Linear(out_features=n, standardised=True) for n in self.features)
        if is_without_place(input_shape):
            first = Linear(out_features=self.features[0])
        layers: list[list[Operation]] = [[Flatten(), first]]
        layers.extend([linear] for linear in rest)
        return chained([*layers, [Linear(out_features=classes)]], input_shape)
