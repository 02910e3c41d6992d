"""Adaptive LIF: a threshold that rises with each spike and decays; arXiv 1803.09574."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from saf.config.neurons import NEURONS, Form, Neuron, accumulated

if TYPE_CHECKING:
    from saf.networks.architecture import Shape
    from saf.neurons.extended import ExtendedLIF


@NEURONS.add
class AdaptiveLIF(Neuron):
    """LIF with the threshold V + β p[t], where p[t] = ρ p[t−1] + s[t−1]; the reset subtracts V."""

    label: ClassVar[str] = "Adaptive threshold"
    place: ClassVar[int] = 40
    fits_grid: ClassVar[bool] = True
    powers: ClassVar[tuple[str, ...]] = ("decay", "adaptation_decay")
    multiples: ClassVar[tuple[str, ...]] = ("adaptation",)
    kept: ClassVar[int] = 5
    updates: ClassVar[int] = 3
    lacks: ClassVar[frozenset[Form]] = frozenset({"rate_gate", "accumulated_step"})

    name: Literal["alif"] = "alif"
    adaptation: Annotated[float, Field(gt=0, le=1000)] = 0.2
    """β: what a spike adds to the threshold."""
    adaptation_decay: Annotated[float, Field(ge=0, le=1)] = 0.9
    """ρ: how much of that is left after a step."""

    def most_accumulated(self, timesteps: int) -> float:
        return accumulated(timesteps, max(self.largest_decay, self.adaptation_decay))

    def neurons(self, shape: Shape) -> ExtendedLIF:
        from saf.neurons.extended import ExtendedLIF

        return ExtendedLIF(
            self.decay,
            self.threshold,
            self.surrogate,
            adaptation=self.adaptation,
            adaptation_decay=self.adaptation_decay,
            folded=self,
        )
