"""Layers and what they hear: connections, with their delays."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import Annotated, Any

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from saf.networks.architecture.operations import (
    Conv,
    Description,
    Linear,
    Operation,
    Scale,
    Shape,
)

INPUT = "input"
MOST_OPERATIONS, MOST_CONNECTIONS = 64, 512  # of a connection, and of a layer
MOST_DELAY = 1000  # time steps
MOST_TAPS = 64  # further ones of a learned delay
MOST_NUMBERS = 2**30  # of one sample: of a map's output, and of the outputs of all layers


class LearnedDelay(Description):
    """A delay of each weight of a map that is learned with it: at centre c, which is a parameter,
    the weight w is spread over the taps d = 0 … `span` as w exp(−(d − c)² / 2 width²) / Σ, which
    adds up to w; a narrow kernel, as in DCLS (Hammouamri et al., arXiv 2306.17670)."""

    span: Annotated[int, Field(ge=1, le=MOST_TAPS)]
    """The last tap, in time steps behind the delay of the connection."""
    width: Annotated[float, Field(ge=0.1, le=64)] = 0.5
    """Standard deviation of the kernel, in time steps."""


class Connection(Description):
    """Linear operations on the output of `source` (`input` or the name of a layer)."""

    source: str
    operations: Annotated[tuple[Operation, ...], Field(max_length=MOST_OPERATIONS)] = ()
    delay: Annotated[int, Field(ge=0, le=MOST_DELAY)] = 0
    """Time steps after which what the source sends arrives. Feedback takes one step at least: 0 and
    1 mean the same there."""
    learned_delay: LearnedDelay | None = None
    """What the weights of the last map have beside that; null: nothing."""

    @model_serializer(mode="wrap")
    def _without_no_delay(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without a delay that is none, so that files of networks without delays stay what they
        were."""
        written: dict[str, Any] = handler(self)
        for name in ("delay", "learned_delay"):
            if not written.get(name):
                written.pop(name, None)
        return written

    @model_validator(mode="after")
    def _has_weights_to_delay(self) -> Connection:
        if self.learned_delay is not None and not weighted(self):
            raise ValueError("a connection without weights has no delays to learn")
        return self

    @property
    def taps(self) -> tuple[int, ...]:
        """Delays with which the source is heard."""
        span = 0 if self.learned_delay is None else self.learned_delay.span
        return tuple(range(self.delay, self.delay + span + 1))

    @property
    def factor_after_maps(self) -> float:
        """The product of the scales that come after the last map."""
        factor = 1.0
        for operation in reversed(self.operations):
            if isinstance(operation, Conv | Linear):
                break
            if isinstance(operation, Scale):
                factor *= operation.factor
        return factor

    def at_each_tap(self) -> tuple[Connection, ...]:
        """The connections with one delay each that it becomes once its delays are learned."""
        if self.learned_delay is None:
            return (self,)
        return tuple(
            self.model_copy(update={"delay": delay, "learned_delay": None}) for delay in self.taps
        )

    def shapes(self, shape: Shape) -> Iterator[tuple[Operation, Shape]]:
        """Each operation with the shape that enters it; ValueError where one does not fit."""
        for operation in self.operations:
            yield operation, shape
            shape = operation.output_shape(shape)
            if prod(shape) > MOST_NUMBERS:
                raise ValueError(
                    f"a {operation.kind} gives {prod(shape):.3g} numbers for a sample; at most "
                    f"{MOST_NUMBERS:.3g} are computed"
                )

    def output_shape(self, shape: Shape) -> Shape:
        for operation, before in self.shapes(shape):
            shape = operation.output_shape(before)
        return shape


class LayerDescription(Description):
    """A layer: neurons with the same connections, and one bias per channel (or feature)."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
    connections: Annotated[tuple[Connection, ...], Field(min_length=1, max_length=MOST_CONNECTIONS)]
    relay: bool = False
    """Whether the output is the sum itself, without spikes. A relay has no state, so no feedback
    comes from it."""

    @property
    def reads_input(self) -> bool:
        """Whether one of its connections comes from the input."""
        return any(connection.source == INPUT for connection in self.connections)


def weighted(connection: Connection) -> list[Conv | Linear]:
    """The operations of `connection` that have weights, in order."""
    return [op for op in connection.operations if isinstance(op, Conv | Linear)]
