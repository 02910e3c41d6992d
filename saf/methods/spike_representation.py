"""The Spike Representation (DSR): the gradient of rates."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from saf.config.methods import METHODS, AtTheFinalStep
from saf.config.neurons import Form

if TYPE_CHECKING:
    from saf.model.batch import Batch, Rule
    from saf.model.forward.saf_forward import Gates
    from saf.model.network import SpikingNetwork
    from saf.model.outcome import Outcome


@METHODS.add
class SpikeRepresentation(AtTheFinalStep):
    """DSR: forward with spikes, backward through the clamp that the weighted rate approximates."""

    label: ClassVar[str] = "Spike Representation"
    place: ClassVar[int] = 50
    scans: ClassVar[bool] = True

    name: Literal["spike-representation"] = "spike-representation"

    def rule(self) -> Rule:
        return spike_representation

    @property
    def asks_for(self) -> Form | None:
        return "rate_gate"

    @property
    def takes_steps_at_once(self) -> bool:
        return True

    def kept(self, timesteps: int, at_once: int) -> int:
        return 5 + 2 * at_once


def spike_representation(network: SpikingNetwork, batch: Batch) -> Outcome:
    """DSR: forward as `saf_f`, backward through a = clamp(m / V, 0, 1) of the rates.

    m = Û[T] / c[T] and a = â[T] / c[T], so ∂â/∂Û = ∂a/∂m = 1/V where 0 < m < V, else 0. In rates
    there is no trace to leave off.
    """
    from saf.model.final_step import learn_at_the_final_step

    def gate_at(t: int) -> Gates:
        return lambda neuron: neuron.rate_gate(t)

    return learn_at_the_final_step(network, batch, True, gate_at)
