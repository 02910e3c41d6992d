"""Parametric LIF, arXiv 2007.05785: a decay for each layer that is learned with the weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from saf.config.neurons import NEURONS, Form, Neuron

if TYPE_CHECKING:
    from saf.networks.architecture import Shape
    from saf.neurons.extended import ExtendedLIF


@NEURONS.add
class ParametricLIF(Neuron):
    """LIF whose λ is learned, one for each layer; `decay` is what it starts at. It is delivered as
    LIF with the λ that was learned."""

    label: ClassVar[str] = "PLIF (learned λ)"
    place: ClassVar[int] = 20
    fits_grid: ClassVar[bool] = True
    learns_decay: ClassVar[bool] = True
    kept: ClassVar[int] = 6
    lacks: ClassVar[frozenset[Form]] = frozenset({"rate_gate", "accumulated_step"})

    name: Literal["plif"] = "plif"
    decay: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """λ at the start, in (0, 1)."""
    decays: Annotated[tuple[Annotated[float, Field(gt=0, lt=1)], ...], Field(max_length=512)] = ()
    """λ at the start of each spiking layer, from the first on, in place of `decay`."""

    @property
    def largest_decay(self) -> float:
        return 1.0

    def neurons(self, shape: Shape) -> ExtendedLIF:
        from saf.neurons.extended import ExtendedLIF
        from saf.neurons.models.lif import LeakyIntegrateAndFire

        folded = LeakyIntegrateAndFire(decay=self.decay, threshold=self.threshold)
        return ExtendedLIF(
            self.decay, self.threshold, self.surrogate, learned_decay=True, folded=folded
        )
