"""Current-based LIF: input arrives through a synapse that decays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from saf.config.neurons import NEURONS, Form, Neuron, accumulated

if TYPE_CHECKING:
    from saf.networks.architecture import Shape
    from saf.neurons.extended import ExtendedLIF


@NEURONS.add
class CurrentBasedLIF(Neuron):
    """LIF with a synaptic current: I[t] = α I[t−1] + input[t], and the membrane integrates I."""

    label: ClassVar[str] = "Current-based LIF"
    place: ClassVar[int] = 30
    fits_grid: ClassVar[bool] = True
    powers: ClassVar[tuple[str, ...]] = ("decay", "synaptic_decay")
    kept: ClassVar[int] = 4
    updates: ClassVar[int] = 2
    lacks: ClassVar[frozenset[Form]] = frozenset({"rate_gate", "accumulated_step"})

    name: Literal["cuba"] = "cuba"
    synaptic_decay: Annotated[float, Field(ge=0, le=1)] = 0.5
    """α: how much of the synaptic current is left after a step; 0 is the LIF neuron."""

    def most_accumulated(self, timesteps: int) -> float:
        return accumulated(timesteps, self.synaptic_decay, self.largest_decay)

    def neurons(self, shape: Shape) -> ExtendedLIF:
        from saf.neurons.extended import ExtendedLIF

        return ExtendedLIF(
            self.decay,
            self.threshold,
            self.surrogate,
            synaptic_decay=self.synaptic_decay,
            folded=self,
        )
