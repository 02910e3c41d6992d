"""LIF and SAF neurons as pure functions of an input and a state.

Names: λ `decay`, V `threshold`, u membrane potential, s spikes, â spike accumulation, Û accumulated
potential. All tensors of a call have one shape. Recurrent state: pass it in, get the next one back.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

from torch import Tensor

from saf.kernels.lif_scan import LIFState


def heaviside(x: Tensor) -> Tensor:
    """1 where x ≥ 0 (H(0) = 1), else 0, in the type of x."""
    return (x >= 0).to(x.dtype)


def lif_step(
    current: Tensor,
    state: LIFState,
    decay: float,
    threshold: float,
    *,
    fire: Callable[[Tensor], Tensor] = heaviside,
) -> tuple[Tensor, LIFState]:
    """One step of the leaky integrate-and-fire neuron with soft reset, eq. (1) of OTTT.

        u[t] = λ (u[t−1] − V s[t−1]) + current[t]        s[t] = H(u[t] − V)

    Returns s[t] and the state after the step. `fire` stands in for H where a gradient must pass.
    """
    u = decay * (state.u - threshold * state.s) + current
    s = fire(u - threshold)
    return s, LIFState(u=u, s=s)


def saf_step(
    potential: Tensor, accumulation: Tensor, decay: float, threshold: float
) -> tuple[Tensor, Tensor]:
    """One step of the spike-accumulation neuron (SAF, arXiv 2310.02772).

        s[t] = H(Û[t] − V (λ â[t−1] + 1))        â[t] = λ â[t−1] + s[t]

    Takes Û[t] and â[t−1] (zeros before the first step), returns s[t] and â[t]. The spikes are those
    of `lif_step` where Û[t] = W â_in[t] + c[t] b is made of the same weights.
    """
    decayed = decay * accumulation
    s = heaviside(potential - threshold * (decayed + 1.0))
    return s, decayed + s


def saf_step_of_current(
    current: Tensor,
    state: LIFState,
    accumulation: Tensor,
    decay: float,
    threshold: float,
    *,
    fire: Callable[[Tensor], Tensor] = heaviside,
) -> tuple[Tensor, LIFState]:
    """One step of the spike-accumulation neuron where weights change inside the sequence.

        Û[t] = λ Û[t−1] + current[t]        s[t] = H(Û[t] − V (λ â[t−1] + 1))

    `current` is W s_in[t] + b with the weights of this step, `state.u` holds Û[t−1] and
    `accumulation` is â[t−1]. While the weights stay, Û[t] is that of `saf_step`.
    """
    potential = decay * state.u + current
    s = fire(potential - threshold * (decay * accumulation + 1.0))
    return s, LIFState(u=potential, s=s)


@lru_cache(2**16)
def accumulated_one(t: int, decay: float) -> float:
    """Accumulation of a constant 1 after t time steps: c[t] = Σ_{k<t} λ^k; c[0] = 0."""
    return sum(decay**k for k in range(t))
