"""Leaky integrate-and-fire neurons with soft reset; λ and V are constants of a layer."""

from __future__ import annotations

from torch import Tensor

from saf.config import Surrogate
from saf.kernels.lif_scan import LIFState, lif_scan
from saf.kernels.saf_scan import Constant, Gate, scan, spike_scan
from saf.neurons.base import Accumulated, Fire, Neuron
from saf.neurons.dynamics import heaviside, lif_step, saf_step_of_current
from saf.neurons.fire import derivative
from saf.neurons.gates import clamped_rate_gate, surrogate_gate
from saf.neurons.models.lif import LeakyIntegrateAndFire


class LIF(Neuron):
    """LIF neurons with soft reset, eq. (1) of OTTT; as SAF neurons, arXiv 2310.02772.

    u[t] = λ (u[t−1] − V s[t−1]) + current[t]             s[t] = H(u[t] − V)
    u[t] = Û[t] − V λ â[t−1]                              â[t] = λ â[t−1] + s[t]
    """

    def __init__(self, decay: float, threshold: float, surrogate: Surrogate | None = None) -> None:
        """λ in (0, 1], V > 0 and the surrogate of the gradient (None: that of a job by default)."""
        super().__init__()
        self._decay, self._threshold = decay, threshold
        self.surrogate = surrogate or Surrogate()

    @property
    def decay(self) -> float:
        return self._decay

    @property
    def threshold(self) -> float:
        return self._threshold

    def init_state(self, zeros: Tensor) -> LIFState:
        return LIFState(u=zeros, s=zeros)

    def step(
        self, current: Tensor, state: LIFState, *, fire: Fire = heaviside
    ) -> tuple[Tensor, LIFState]:
        before = LIFState(state.u, state.s.detach())
        return lif_step(current, before, self._decay, self._threshold, fire=fire)

    def steps(
        self,
        current: Tensor,
        state: LIFState,
        *,
        bias: Tensor | None = None,
        potentials: Tensor | None = None,
    ) -> tuple[Tensor, LIFState]:
        return lif_scan(
            current, state, self._decay, self._threshold, bias=bias, potentials=potentials
        )

    def accumulate(
        self,
        current: Tensor | None,
        constant: Constant,
        before: Tensor | None,
        gate: Gate | None = None,
        *,
        carried: tuple[Tensor, ...] = (),
        potentials: bool = False,
    ) -> Accumulated:
        if not potentials:
            return Accumulated(
                *spike_scan(current, constant, before, self._decay, self._threshold, gate)
            )
        found = scan(current, constant, before, self._decay, self._threshold, lambda u, _: u)
        return Accumulated(found.accumulation, found.fired, found.derivative)

    def accumulated_step(
        self, current: Tensor, state: LIFState, accumulation: Tensor, *, fire: Fire = heaviside
    ) -> tuple[Tensor, LIFState]:
        return saf_step_of_current(
            current, state, accumulation, self._decay, self._threshold, fire=fire
        )

    def derivative(self, x: Tensor) -> Tensor:
        return derivative(self.surrogate)(x)

    def surrogate_gate(self) -> Gate:
        return surrogate_gate(self.surrogate, self._threshold)

    def rate_gate(self, timesteps: int) -> Gate:
        return clamped_rate_gate(self._decay, self._threshold, timesteps)

    def fold(self) -> LeakyIntegrateAndFire:
        return LeakyIntegrateAndFire(decay=self._decay, threshold=self._threshold)

    def extra_repr(self) -> str:
        return f"λ={self._decay:g}, V={self._threshold:g}, {self.surrogate.name}"
