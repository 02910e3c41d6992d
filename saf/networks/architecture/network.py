"""A whole network: its layers in their order, the shapes that arrive, the numbers that it has."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import Annotated

from pydantic import Field, model_validator

from saf.networks.architecture.connections import (
    INPUT,
    MOST_NUMBERS,
    Connection,
    LayerDescription,
)
from saf.networks.architecture.operations import Conv, Description, Linear, Shape, Size


class Architecture(Description):
    """A spiking network: layers in the order in which they are computed, and the readout.

    `layers` includes relays; `spiking` are the layers with neurons. Raises ValueError (pydantic's
    ValidationError) when a shape does not fit or a name is unknown.
    """

    input_shape: Annotated[tuple[Size, ...], Field(min_length=1, max_length=3)]
    layers: Annotated[tuple[LayerDescription, ...], Field(min_length=1, max_length=512)]
    readout: LayerDescription

    @model_validator(mode="after")
    def _fits(self) -> Architecture:
        self.shapes()
        if not self.spiking:
            raise ValueError("no layer of the network spikes")
        if any(connection.taps != (0,) for connection in self.readout.connections):
            raise ValueError("the readout hears its sources without a delay")
        relays = {layer.name for layer in self.layers if layer.relay}
        known = {INPUT}
        for layer in self.layers:
            known.add(layer.name)
            for source in (c.source for c in layer.connections):
                if source in relays and (source not in known or source == layer.name):
                    raise ValueError(
                        f"layer {layer.name} gets feedback from {source}, which is a relay "
                        "and remembers nothing; let the feedback come from spiking layers"
                    )
            for connection in layer.connections:
                is_feedback = connection.source not in known or connection.source == layer.name
                if is_feedback and connection.learned_delay and not connection.delay:
                    raise ValueError("learned delays of feedback begin at a delay of 1")
        return self

    @property
    def spiking(self) -> tuple[LayerDescription, ...]:
        """The layers that have neurons, in order."""
        return tuple(layer for layer in self.layers if not layer.relay)

    def shapes(self) -> dict[str, Shape]:
        """Shape of one sample of the input, of every layer and of the readout, by name."""
        shapes: dict[str, Shape] = {INPUT: self.input_shape}
        sent = 0
        for layer in (*self.layers, self.readout):
            if layer.name in shapes:
                raise ValueError(f"two layers are named {layer.name}")
            arriving = {
                c.output_shape(shapes[c.source]) for c in layer.connections if c.source in shapes
            }
            if len(arriving) != 1:
                raise ValueError(f"layer {layer.name} gets inputs of shapes {sorted(arriving)}")
            shapes[layer.name] = arriving.pop()
            sent += prod(shapes[layer.name])
            if sent > MOST_NUMBERS:
                raise ValueError(
                    f"the layers have {sent:.3g} neurons; at most {MOST_NUMBERS:.3g} are computed"
                )
        for layer in (*self.layers, self.readout):
            for connection in layer.connections:
                if connection.source not in shapes or connection.source == self.readout.name:
                    raise ValueError(
                        f"layer {layer.name} listens to {connection.source}, "
                        "which is no layer before the readout"
                    )
                if connection.output_shape(shapes[connection.source]) != shapes[layer.name]:
                    raise ValueError(f"the feedback to {layer.name} has another shape")
        return shapes

    @property
    def classes(self) -> int:
        return self.shapes()[self.readout.name][0]

    @property
    def has_feedback(self) -> bool:
        """Whether a connection leads to a layer from itself or from a later one."""
        known = {INPUT}
        for layer in self.layers:
            if any(c.source not in known for c in layer.connections):
                return True
            known.add(layer.name)
        return False

    @property
    def delays(self) -> dict[str, int]:
        """The longest delay with which the output of a layer, or the input, is read: by its name,
        of those that are read with one."""
        longest: dict[str, int] = {}
        for connection in (c for layer in self.layers for c in layer.connections):
            if last := connection.taps[-1]:
                longest[connection.source] = max(longest.get(connection.source, 0), last)
        return longest

    def at_each_tap(self) -> Architecture:
        """The architecture with a connection for each tap of learned delays."""
        layers = tuple(
            layer.model_copy(
                update={
                    "connections": tuple(c for of in layer.connections for c in of.at_each_tap())
                }
            )
            for layer in self.layers
        )
        return self.model_copy(update={"layers": layers})

    @property
    def neurons(self) -> int:
        """Spiking neurons, all layers together."""
        shapes = self.shapes()
        return sum(prod(shapes[p.name]) for p in self.spiking)

    @property
    def relayed(self) -> int:
        """Size of the outputs of all relays together, for one sample and time step."""
        shapes = self.shapes()
        return sum(prod(shapes[p.name]) for p in self.layers if p.relay)

    def weight_shapes(self) -> Iterator[Shape]:
        """Shape of every weight, in the order of the network's parameters."""
        shapes = self.shapes()
        for layer in (*self.layers, self.readout):
            for connection in layer.connections:
                for operation, before in connection.shapes(shapes[connection.source]):
                    if isinstance(operation, Conv | Linear):
                        yield operation.weight_shape(before)

    @property
    def parameters(self) -> int:
        """Trainable numbers: weights, their centres in time, gains (of channels and of branches)
        and biases."""
        shapes = self.shapes()
        count = sum(prod(shape) for shape in self.weight_shapes())
        for layer in (*self.layers, self.readout):
            count += shapes[layer.name][0]
            for connection in layer.connections:
                if connection.learned_delay is not None:
                    count += self._delayed(connection, shapes)
                for operation in connection.operations:
                    if isinstance(operation, Conv | Linear):
                        count += operation.outputs if operation.standardised else 0
                        count += operation.residual_gain is not None
        return count

    @staticmethod
    def _delayed(connection: Connection, shapes: dict[str, Shape]) -> int:
        """Weights of a connection that have a delay of their own."""
        of_maps = [
            operation.weight_shape(before)
            for operation, before in connection.shapes(shapes[connection.source])
            if isinstance(operation, Conv | Linear)
        ]
        return prod(of_maps[-1])

    @property
    def tap_weights(self) -> int:
        """Numbers that the weights of learned delays become at all taps together."""
        shapes = self.shapes()
        return sum(
            len(connection.taps) * self._delayed(connection, shapes)
            for layer in self.layers
            for connection in layer.connections
            if connection.learned_delay is not None
        )
