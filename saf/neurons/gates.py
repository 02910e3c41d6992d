"""Gates: the gradient ∂â/∂Û of a layer of SAF neurons, elementwise.

Equal arguments give the same function object, so that `saf.kernels.inductor_scan` compiles it once.
"""

from __future__ import annotations

from functools import cache

from torch import Tensor

from saf.config import Surrogate
from saf.kernels.saf_scan import Gate
from saf.neurons.dynamics import accumulated_one
from saf.neurons.fire import derivative


@cache
def surrogate_gate(surrogate: Surrogate, threshold: float) -> Gate:
    """Surrogate gradient σ'(u − V), for SAF-E, SAF-F and OTTT."""
    sigma = derivative(surrogate)

    def gate(u: Tensor, before: Tensor | None) -> Tensor:
        return sigma(u - threshold)

    return gate


@cache
def clamped_rate_gate(decay: float, threshold: float, timesteps: int) -> Gate:
    """1/V where 0 < m < V for the weighted average input m = Û[T] / c[T], else 0: the gate of the
    Spike Representation, a = clamp(m / V, 0, 1); DSR, arXiv 2205.00459. T is `timesteps`."""
    largest = accumulated_one(timesteps, decay) * threshold

    def gate(u: Tensor, before: Tensor | None) -> Tensor:
        potential = u if before is None else u + threshold * decay * before
        inside = (potential > 0) & (potential < largest)
        return inside.to(potential.dtype) / threshold

    return gate
