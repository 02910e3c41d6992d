"""Scaled weight standardisation of the weights of a map.

Shapes: `O` outputs, `C` channels, a kernel of `k k` pixels; n weights per output.
"""

from __future__ import annotations

import ctypes
from math import prod
from typing import Any

import torch
from torch import Tensor

from saf.kernels import native
from saf.model.operations import channels_last

EPSILON = 1e-4  # added to the sum of squares, as published with OTTT
FEWEST_WEIGHTS = 2**14  # for which C++ is called


def standardise(weight: Tensor, gain: Tensor) -> Tensor:
    """Scaled weight standardisation, per output channel: (W − mean) / sqrt(var · n + 1e-4) · gain.

    `weight` is `out, …`, `gain` `out, 1, …`; n is the number of weights that one output sees, and
    the variance is the unbiased one (divided by n − 1), as in the code published with OTTT; n > 1.
    Source: Brock et al., arXiv 2101.08692, in the form of github.com/pkuxmq/OTTT-SNN.
    """
    fan_in = prod(weight.shape[1:])
    dims = tuple(range(1, weight.dim()))
    var, mean = torch.var_mean(weight, dims, correction=1, keepdim=True)
    return (weight - mean) * (torch.rsqrt(var * fan_in + EPSILON) * gain)


def standardised(weight: Tensor, gain: Tensor, factor: float, dtype: torch.dtype) -> Tensor:
    """`factor` · `standardise(weight, gain)`, rounded once to `dtype` and with the channels last:
    the same in fewer passes over the memory, forward and backward."""
    effective: Tensor = _Standardised.apply(  # type: ignore[no-untyped-call]
        weight, gain, factor, dtype
    )
    return effective


class _Standardised(torch.autograd.Function):
    """Forward f (W − m) r g with the constant f, the mean m, r = 1 / sqrt(var · n + 1e-4) and the
    gain g. Backward, with the gradient D of the result and S = Σ D (W − m) over an output channel:

        ∂g = f r S        ∂W = f g r (D − mean(D) − (W − m) S r² n / (n − 1))
    """

    @staticmethod
    def forward(
        ctx: Any, weight: Tensor, gain: Tensor, factor: float, dtype: torch.dtype
    ) -> Tensor:
        ctx.factor, ctx.library = factor, _library(weight, dtype)
        if ctx.library is not None:
            effective, mean, r = _forward_in_cpp(ctx.library, weight, gain, factor, dtype)
            ctx.save_for_backward(weight, gain, mean, r)
            return effective
        n = prod(weight.shape[1:])
        dims = tuple(range(1, weight.dim()))
        mean = weight.mean(dims, keepdim=True)
        centred = weight - mean
        squares = torch.linalg.vecdot(centred.flatten(1), centred.flatten(1)).view_as(mean)
        r = torch.rsqrt(squares * (n / (n - 1)) + EPSILON)
        ctx.save_for_backward(weight, gain, mean, r)
        return channels_last(centred.mul_(factor * r * gain)).to(dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None, None]:
        weight, gain, mean, r = ctx.saved_tensors
        if ctx.library is not None:
            given = (grads[0], weight, gain, mean, r, ctx.factor)
            return *_backward_in_cpp(ctx.library, *given), None, None
        n = prod(weight.shape[1:])
        D = grads[0].to(weight.dtype).contiguous()
        of_mean = D.mean(tuple(range(1, weight.dim())), keepdim=True)
        products = torch.linalg.vecdot(D.flatten(1), weight.flatten(1)).view_as(mean)
        S = products - n * of_mean * mean
        scale = ctx.factor * r * gain
        slope = scale * S * r**2 * (n / (n - 1))
        of_weight = torch.addcmul(slope * mean - scale * of_mean, D, scale)
        of_weight.addcmul_(weight, slope, value=-1)
        return of_weight, ctx.factor * r * S, None, None


def _library(weight: Tensor, dtype: torch.dtype) -> ctypes.CDLL | None:
    """C++ functions for `weight` (O C k k), where they are allowed, possible and faster."""
    if not native.is_allowed() or weight.device.type != "cpu" or weight.dim() != 4:
        return None
    if weight.dtype != torch.float32 or dtype not in (torch.float32, torch.bfloat16):
        return None
    if weight.numel() < FEWEST_WEIGHTS or not weight.is_contiguous():
        return None
    return native.library("standardise")


def _forward_in_cpp(
    library: ctypes.CDLL, weight: Tensor, gain: Tensor, factor: float, dtype: torch.dtype
) -> tuple[Tensor, Tensor, Tensor]:
    out, channels, height, width = weight.shape
    effective = weight.new_empty(out, height, width, channels, dtype=dtype)
    mean, r = weight.new_empty(2, out)
    native.call(
        library[f"forward_{native.type_of(effective)}"],
        *(weight, gain.contiguous(), out, channels, height * width, float(factor), EPSILON),
        *(effective, mean, r),
    )
    return effective.permute(0, 3, 1, 2), mean, r


def _backward_in_cpp(
    library: ctypes.CDLL,
    grad: Tensor,
    weight: Tensor,
    gain: Tensor,
    mean: Tensor,
    r: Tensor,
    factor: float,
) -> tuple[Tensor, Tensor]:
    out, channels, height, width = weight.shape
    of_weight, of_gain = torch.empty_like(weight), torch.empty_like(gain)
    last = grad.permute(0, 2, 3, 1).contiguous()
    native.call(
        library[f"backward_{native.type_of(last)}"],
        *(last, weight, gain.contiguous(), mean, r, out, channels, height * width, float(factor)),
        *(of_weight, of_gain),
    )
    return of_weight, of_gain
