"""The leaky integrate-and-fire neuron with soft reset: OTTT, arXiv 2210.04195, eq. (1)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from saf.config.neurons import NEURONS, Neuron

if TYPE_CHECKING:
    from saf.networks.architecture import Shape
    from saf.neurons.lif import LIF


@NEURONS.add
class LeakyIntegrateAndFire(Neuron):
    """Leaky integrate-and-fire with soft reset: u[t] = λ (u[t−1] − V s[t−1]) + input."""

    label: ClassVar[str] = "LIF"
    place: ClassVar[int] = 10
    fits_grid: ClassVar[bool] = True
    scans: ClassVar[bool] = True

    name: Literal["lif"] = "lif"

    def neurons(self, shape: Shape) -> LIF:
        from saf.neurons.lif import LIF

        return LIF(self.decay, self.threshold, self.surrogate)
