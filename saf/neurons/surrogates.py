"""Surrogate derivatives σ' of the Heaviside step, at x = u − V.

Every one has unit area, as the Dirac impulse that it stands in for, and its largest value at 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor

from saf.config import Surrogate

Derivative = Callable[[Tensor], Tensor]


@cache
def derivative(surrogate: Surrogate) -> Derivative:
    """σ' with the slope k of `surrogate`: elementwise, same shape and type as its argument.

    Equal surrogates give one function, which is compiled once.

    | name      | σ'(x)                            | σ'(0) | source                              |
    |-----------|----------------------------------|-------|-------------------------------------|
    | sigmoid   | k s (1 − s), s = 1 / (1 + e^−kx) | k / 4 | OTTT, arXiv 2210.04195 (k = 4)      |
    | triangle  | k max(0, 1 − k abs(x))           | k     | Esser et al., PNAS 2016;            |
    |           |                                  |       | Bellec et al., arXiv 1803.09574     |
    | rectangle | k where abs(x) < 1 / (2k)        | k     | STBP, Wu et al., Front. Neurosci.   |
    |           |                                  |       | 2018 (its width a is 1 / k)         |
    | arctan    | k / 2 / (1 + (π k x / 2)²)       | k / 2 | Fang et al., arXiv 2007.05785 (k=2) |
    """
    k = surrogate.slope

    def sigmoid(x: Tensor) -> Tensor:
        s = (k * x).sigmoid_()
        return torch.addcmul(s, s, s, value=-1.0).mul_(k)

    def triangle(x: Tensor) -> Tensor:
        return k * (1.0 - k * x.abs()).clamp(min=0.0)

    def rectangle(x: Tensor) -> Tensor:
        return k * (x.abs() < 0.5 / k).to(x.dtype)

    def arctan(x: Tensor) -> Tensor:
        return 0.5 * k / (1.0 + (0.5 * math.pi * k * x) ** 2)

    return {
        "sigmoid": sigmoid,
        "triangle": triangle,
        "rectangle": rectangle,
        "arctan": arctan,
    }[surrogate.name]


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
