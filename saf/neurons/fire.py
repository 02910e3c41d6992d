"""Spikes with a surrogate derivative σ' at x = u − V."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor

from saf.config.neurons import Derivative, Surrogate


@cache
def derivative(surrogate: Surrogate) -> Derivative:
    """Surrogate derivative σ' of `surrogate`, elementwise. Equal surrogates give the same
    function object, so that it is compiled once."""
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
    """Spikes H(x) at x = u − V with the surrogate gradient σ'(x)."""
    spikes: Tensor = _Fire.apply(x, sigma)  # type: ignore[no-untyped-call]
    return spikes
