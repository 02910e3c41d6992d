"""Accumulations over time, and what their sources sent: x̂[t] = λ x̂[t−1] + x[t].

Shapes: `K` time steps, `B` samples, `…` the shape of a layer; `K · B` is time steps and samples
merged.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def accumulate(sent: Tensor, carry: Tensor | None, steps: int, decay: float) -> Tensor:
    """x̂[t] = λ x̂[t−1] + x[t] over K time steps, K · B …."""
    accumulated = sent.clone()
    for now in accumulated.chunk(steps):
        if carry is not None:
            now.add_(carry, alpha=decay)
        carry = now
    return accumulated


def difference(
    accumulation: Tensor, before: Tensor | None, steps: int, decay: float, *, spiking: bool
) -> Tensor:
    """Output at each time step, x[t] = x̂[t] − λ x̂[t−1], with the gradient of x̂[t]."""
    sent: Tensor = _Sent.apply(  # type: ignore[no-untyped-call]
        accumulation, before, steps, decay, spiking
    )
    return sent


class _Sent(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        accumulation: Tensor,
        before: Tensor | None,
        steps: int,
        decay: float,
        spiking: bool,
    ) -> Tensor:
        sent = accumulation.clone()
        past = accumulation.chunk(steps)[:-1]
        for now, last in zip(sent.chunk(steps), (before, *past), strict=True):
            if last is not None:
                now.sub_(last, alpha=decay)
        return sent.ge_(0.5) if spiking else sent  # 0 and 1 but for rounding

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None, None]:
        return grads[0], None, None, None, None


class _WithGradientOf(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, value: Tensor) -> Tensor:
        return value.view_as(value)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return grads[0], None


def with_gradient_of(x: Tensor, value: Tensor) -> Tensor:
    """`value` with the gradient of `x`: the past of an accumulation is detached."""
    found: Tensor = _WithGradientOf.apply(x, value)  # type: ignore[no-untyped-call]
    return found
