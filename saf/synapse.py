"""What connects populations: chains of linear operations, and two ways to differentiate them.

Shapes: `N` samples (the `K` steps of a chunk and the `B` samples of a batch merged, N = K · B),
`C H W` channels, height, width, `F` features.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from saf.architecture import AveragePool, Conv, Flatten, Linear, Operation, Scale, SumPool

EPSILON = 1e-4  # of the standardisation, as published with OTTT


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


def apply(operations: Sequence[Operation], weights: Sequence[Tensor], x: Tensor) -> Tensor:
    """`operations` one after the other on `x` (N …), with the effective weights of each
    convolution and linear map, in order. The gradient is the ordinary one."""
    left = iter(weights)
    for operation in operations:
        match operation:
            case Conv():
                x = F.conv2d(x, next(left), None, *_geometry(operation))
            case Linear():
                x = F.linear(x, next(left))
            case _:
                x = _fixed(operation, x)
    return x


def apply_traced(
    operations: Sequence[Operation], weights: Sequence[Tensor], x: Tensor, trace: Tensor
) -> Tensor:
    """As `apply` on `x`, but with the gradient of each weight taken at `trace` instead of `x`.

    With spikes for `x` and their accumulation for `trace` this is the gradient of OTTT,
    ∇W = g âᵀ, from one evaluation of every map; the gradient to `x` is the ordinary one.
    No gradient goes to `trace`. `x` and `trace` have one shape (N …).
    """
    trace = trace.detach()
    left = list(weights)
    for operation in operations:
        match operation:
            case Conv():
                weight = left.pop(0)
                x = _TracedConv.apply(  # type: ignore[no-untyped-call]
                    x, trace, weight, *_geometry(operation)
                )
                if left:
                    with torch.no_grad():
                        trace = F.conv2d(trace, weight, None, *_geometry(operation))
            case Linear():
                weight = left.pop(0)
                x = _TracedLinear.apply(x, trace, weight)  # type: ignore[no-untyped-call]
                if left:
                    with torch.no_grad():
                        trace = F.linear(trace, weight)
            case _:
                x = _fixed(operation, x)
                trace = _fixed(operation, trace) if left else trace
    return x


def scale_over_time(
    constant: Tensor, forward: Sequence[float], backward: Sequence[float]
) -> Tensor:
    """`constant` (1 … or B …) at K steps, K 1 … or K B …: times `forward[k]`, and its gradient
    times `backward[k]`.

    With c[t] for both it is what a constant input accumulates to; with 1 backward it is that
    without a trace in the gradient.
    """
    scaled: Tensor = _ScaleOverTime.apply(  # type: ignore[no-untyped-call]
        constant, tuple(forward), tuple(backward)
    )
    return scaled


def _geometry(operation: Conv) -> tuple[int, int, int, int]:
    """Stride, padding, dilation and groups, as torch's convolution wants them."""
    return operation.stride, operation.padding, 1, operation.groups


def _fixed(operation: Operation, x: Tensor) -> Tensor:
    match operation:
        case AveragePool(kernel=kernel):
            return F.avg_pool2d(x, kernel)
        case SumPool(kernel=kernel):
            return F.avg_pool2d(x, kernel, divisor_override=1)
        case Scale(factor=factor):
            return x * factor
        case Flatten():
            return x.flatten(1)
    raise AssertionError(f"{operation.kind} has weights")


class _TracedConv(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        trace: Tensor,
        weight: Tensor,
        stride: int,
        padding: int,
        dilation: int,
        groups: int,
    ) -> Tensor:
        ctx.save_for_backward(trace if ctx.needs_input_grad[2] else None, weight)
        ctx.shape, ctx.geometry = x.shape, (stride, padding, dilation, groups)
        return F.conv2d(x, weight, None, stride, padding, dilation, groups)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        trace, weight = ctx.saved_tensors
        stride, padding, dilation, groups = ctx.geometry
        # The gradient to x does not depend on the values of x: any tensor of its shape will do.
        of_x, of_weight, _ = torch.ops.aten.convolution_backward(
            grads[0],
            weight.new_empty(()).expand(ctx.shape) if trace is None else trace,
            weight,
            None,
            [stride, stride],
            [padding, padding],
            [dilation, dilation],
            False,
            [0, 0],
            groups,
            [ctx.needs_input_grad[0], ctx.needs_input_grad[2], False],
        )
        return of_x, None, of_weight, None, None, None, None


class _TracedLinear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, trace: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(trace if ctx.needs_input_grad[2] else None, weight)
        return F.linear(x, weight)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, None, Tensor | None]:
        trace, weight = ctx.saved_tensors
        of_x = grads[0] @ weight if ctx.needs_input_grad[0] else None
        of_weight = None if trace is None else grads[0].T @ trace
        return of_x, None, of_weight


class _ScaleOverTime(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, constant: Tensor, forward: tuple[float, ...], backward: tuple[float, ...]
    ) -> Tensor:
        ctx.backward_factors = backward
        return _factors(forward, constant) * constant

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        factors = _factors(ctx.backward_factors, grads[0][0])
        return (factors * grads[0]).sum(0), None, None


def _factors(values: tuple[float, ...], like: Tensor) -> Tensor:
    """K 1 1 …, to be multiplied with `like`."""
    return torch.tensor(values, dtype=like.dtype, device=like.device).view(-1, *(1,) * like.dim())
