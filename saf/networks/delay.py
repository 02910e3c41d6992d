"""Fully connected layers whose synapses have delays; no torch."""

from __future__ import annotations

from math import prod
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field

from saf.config.networks import NETWORKS, Features, Network
from saf.networks.architecture import (
    INPUT,
    MOST_DELAY,
    Architecture,
    Connection,
    Flatten,
    LayerDescription,
    LearnedDelay,
    Linear,
    Operation,
    Scale,
    Shape,
)
from saf.networks.chain import SPIKE_SCALE, is_without_place


def _with_none(delays: tuple[int, ...]) -> tuple[int, ...]:
    if 0 not in delays:
        raise ValueError(
            "has no 0: through connections with a delay no gradient reaches the layer below, "
            "which would not learn"
        )
    if len(set(delays)) != len(delays):
        raise ValueError("names a delay twice")
    return delays


Delays = Annotated[
    tuple[Annotated[int, Field(ge=0, le=MOST_DELAY)], ...],
    Field(min_length=1, max_length=64),
    AfterValidator(_with_none),
]
KernelWidth = Annotated[float, Field(ge=0.1, le=64)]


def delayed(
    at_once: Connection, delays: tuple[int, ...], learned: bool, kernel_width: float
) -> tuple[Connection, ...]:
    """The connections with `delays` in place of one without; where they are `learned`, that one and
    one that learns them. Without a delay the layer below gets its gradient from all that hears
    it."""
    longest = max(delays)
    if learned and longest:
        kernel = LearnedDelay(span=longest, width=kernel_width)
        return (at_once, at_once.model_copy(update={"learned_delay": kernel}))
    return tuple(at_once.model_copy(update={"delay": delay}) for delay in delays)


@NETWORKS.add
class Delay(Network):
    """Fully connected spiking layers that hear each source several times, with delays: for data in
    time. A weight for each delay, so that a layer learns which moments of the past it needs; or one
    weight with a delay of its own, which is learned."""

    label: ClassVar[str] = "MLP with delays"
    place: ClassVar[int] = 92
    of_images: ClassVar[bool] = False
    in_time: ClassVar[bool] = True

    name: Literal["delay"] = "delay"
    features: Annotated[tuple[Features, ...], Field(min_length=1, max_length=16)] = (128, 128)
    """Neurons of each spiking layer."""
    delays: Delays = (0, 1, 2, 4, 8)
    """Time steps after which what a layer sends arrives at the next one, each with weights of its
    own. Through delays above 0 no gradient reaches the layer below, as in OTTT, so 0 has to be one
    of them. The readout hears the last layer at once."""
    learned: bool = False
    """Whether, in place of a weight for each of `delays`, there is one without a delay and one that
    learns its delay, from 0 to the longest of them, as in DCLS."""
    kernel_width: KernelWidth = 0.5
    """Of learned delays: standard deviation, in time steps, of the kernel that spreads a weight
    around its delay."""

    def architecture(self, input_shape: Shape, classes: int) -> Architecture:
        layers, source, heard = [], INPUT, prod(input_shape)
        for number, features in enumerate(self.features, start=1):
            into: Operation = Flatten() if source == INPUT else Scale(factor=SPIKE_SCALE)
            # One weight alone cannot be standardised, see `is_without_place` for few of them.
            standardised = heard > 1 and not (source == INPUT and is_without_place(input_shape))
            operations = (into, Linear(out_features=features, standardised=standardised))
            at_once = Connection(source=source, operations=operations)
            connections = delayed(at_once, self.delays, self.learned, self.kernel_width)
            layers.append(LayerDescription(name=f"layer{number}", connections=connections))
            source, heard = f"layer{number}", features
        to_classes = (Scale(factor=SPIKE_SCALE), Linear(out_features=classes))
        readout = Connection(source=source, operations=to_classes)
        return Architecture(
            input_shape=input_shape,
            layers=tuple(layers),
            readout=LayerDescription(name="readout", connections=(readout,)),
        )
