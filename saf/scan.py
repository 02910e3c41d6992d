"""The scan of a layer of SAF neurons over a chunk of time.

Shapes: `K` steps, `B` samples, `…` the shape of the population.

`scan` is the plain torch form, in any floating-point type; other back ends have its signature and
are checked against it. `spike_scan` is the scan with its gradient: only â crosses from step to
step, as a constant, so the backward pass is one product per neuron and step,

    ∂L/∂Û[t] = (∂L/∂â[t] + ∂L/∂s[t]) · σ'[t],

and σ' is all that is saved.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from saf.neuron import saf_step

Gate = Callable[[Tensor, Tensor], Tensor]
"""∂â[t]/∂Û[t] of Û[t] and x = u[t] − V, elementwise."""


class Scanned(NamedTuple):
    """What `scan` returns."""

    accumulation: Tensor  # K B …: â[t]
    spikes: Tensor  # K B …: s[t]
    carry: Tensor  # B …: â of the last step
    derivative: Tensor | None  # K B …: the gate; None where none is asked for


def scan(
    potential: Tensor, carry: Tensor, decay: float, threshold: float, gate: Gate | None
) -> Scanned:
    """Run SAF neurons over the K steps of `potential` Û (K B …), from `carry` â[t−1] (B …).

        x[t] = Û[t] − V (λ â[t−1] + 1)    s[t] = H(x[t])    â[t] = λ â[t−1] + s[t]

    Arithmetic is in the type of `potential`. Source: SAF, arXiv 2310.02772.
    """
    accumulation = torch.empty_like(potential)
    spikes = torch.empty_like(potential)
    derivative = None if gate is None else torch.empty_like(potential)
    for k in range(len(potential)):
        spikes[k], accumulation[k] = saf_step(potential[k], carry, decay, threshold)
        if derivative is not None and gate is not None:
            derivative[k] = gate(potential[k], potential[k] - threshold * (decay * carry + 1.0))
        carry = accumulation[k]
    return Scanned(accumulation, spikes, carry, derivative)


class _SpikeScan(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, potential: Tensor, carry: Tensor, decay: float, threshold: float, gate: Gate
    ) -> tuple[Tensor, Tensor]:
        scanned = scan(potential, carry, decay, threshold, gate)
        assert scanned.derivative is not None
        ctx.save_for_backward(scanned.derivative)
        ctx.set_materialize_grads(False)
        return scanned.accumulation, scanned.spikes

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, None, None, None, None]:
        (derivative,) = ctx.saved_tensors
        of_accumulation, of_spikes = grads
        if of_accumulation is None or of_spikes is None:
            grad = of_spikes if of_accumulation is None else of_accumulation
        else:
            grad = of_accumulation + of_spikes
        return None if grad is None else grad * derivative, None, None, None, None


def spike_scan(
    potential: Tensor, carry: Tensor, decay: float, threshold: float, gate: Gate | None
) -> tuple[Tensor, Tensor, Tensor]:
    """`scan` through which a gradient passes: â (K B …), s (K B …) and the carry (B …, constant).

    Without `gate`, or where no gradient is recorded, nothing is saved.
    """
    if gate is None or not (torch.is_grad_enabled() and potential.requires_grad):
        scanned = scan(potential.detach(), carry, decay, threshold, None)
        return scanned.accumulation, scanned.spikes, scanned.carry
    accumulation, spikes = _SpikeScan.apply(  # type: ignore[no-untyped-call]
        potential, carry.detach(), decay, threshold, gate
    )
    return accumulation, spikes, accumulation[-1].detach()
