"""Spikes through which a gradient passes as a surrogate derivative σ', at x = u − V."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor

from saf.config.neurons import Derivative, Surrogate


@cache
def derivative(surrogate: Surrogate) -> Derivative:
    """σ' of `surrogate`: elementwise, same shape and type as its argument. Equal surrogates give
    one function, which is compiled once."""
    return surrogate.derivative()


class _Fire(torch.autograd.Function):
    """H(x) forward, σ'(x) backward."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, sigma: Derivative) -> Tensor:
        if ctx.needs_input_grad[0]:
            ctx.save_for_backward(sigma(x))
        return (x >= 0).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (slope,) = ctx.saved_tensors
        return grads[0] * slope, None


def fire(x: Tensor, sigma: Derivative) -> Tensor:
    """Spikes H(x) at x = u − V, through which a gradient passes as σ'(x); x keeps its shape."""
    spikes: Tensor = _Fire.apply(x, sigma)  # type: ignore[no-untyped-call]
    return spikes
