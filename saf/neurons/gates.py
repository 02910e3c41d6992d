"""Gates ∂â/∂Û: what of a gradient passes a population of SAF neurons.

Equal arguments give one function, so that `saf.kernels.inductor_scan` compiles it once.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from torch import Tensor

from saf.config import Neuron
from saf.neurons.dynamics import accumulated_one
from saf.neurons.surrogates import derivative

Gate = Callable[[Tensor, Tensor | None], Tensor]
"""∂â[t]/∂Û[t], elementwise, of u[t] = Û[t] − V λ â[t−1] and of â[t−1], or None where that is 0."""


@cache
def surrogate_gate(neuron: Neuron) -> Gate:
    """σ'(u − V) of the neuron's surrogate: the gate of SAF-E, SAF-F and OTTT."""
    sigma, threshold = derivative(neuron.surrogate), neuron.threshold

    def gate(u: Tensor, before: Tensor | None) -> Tensor:
        return sigma(u - threshold)

    return gate


@cache
def clamped_rate_gate(neuron: Neuron, timesteps: int) -> Gate:
    """1/V where 0 < m < V for the weighted average input m = Û[T] / c[T], else 0: the gate of the
    Spike Representation, a = clamp(m / V, 0, 1); DSR, arXiv 2205.00459. T is `timesteps`."""
    threshold, decay = neuron.threshold, neuron.decay
    largest = accumulated_one(timesteps, decay) * threshold

    def gate(u: Tensor, before: Tensor | None) -> Tensor:
        potential = u if before is None else u + threshold * decay * before
        inside = (potential > 0) & (potential < largest)
        return inside.to(potential.dtype) / threshold

    return gate
