"""Connections between layers: chains of linear operations, and two ways to differentiate them.

Shapes: `N` samples (the `K` time steps of a chunk and the `B` samples of a batch merged, N = K ·
B), `C H W` channels, height, width, `F` features.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from saf.kernels import winograd
from saf.kernels.precision import products_in
from saf.kernels.transfer import constants
from saf.model.forward.replay import Replay
from saf.networks.architecture import (
    AveragePool,
    Conv,
    Conv1d,
    Flatten,
    InARow,
    Linear,
    Operation,
    Scale,
    Sides,
    SumPool,
    Upsample,
)


def channels_last(x: Tensor) -> Tensor:
    """`x` with the channels last in memory where it has height and width: the layout in which
    convolutions need no copies."""
    match x.dim():
        case 4:
            return x.contiguous(memory_format=torch.channels_last)
        case 5:
            return x.permute(0, 1, 3, 4, 2).contiguous().permute(0, 1, 4, 2, 3)
    return x.contiguous()


def without_scales(operations: Sequence[Operation]) -> tuple[tuple[Operation, ...], float]:
    """`operations` without their constant factors, and the product of these, which can be folded
    into a weight since maps are linear."""
    factors = [o.factor for o in operations if isinstance(o, Scale)]
    return tuple(o for o in operations if not isinstance(o, Scale)), prod(factors)


Evaluate = Callable[[Tensor, Tensor, Tensor | None, Replay | None], Tensor]
"""(x, weight, trace, replay) → what a convolution or a linear map makes of x: `mapped` of it."""


def mapped(
    operation: Conv | Linear,
    x: Tensor,
    weight: Tensor,
    trace: Tensor | None = None,
    replay: Replay | None = None,
) -> Tensor:
    """Convolution or linear map of `x` (N …); with `trace` the gradient of the weight is taken
    there. `replay` stores the result, or has it already."""
    if isinstance(operation, Conv):
        return _convolved(operation, weight, x, trace, replay)
    return _linear(weight, x, trace, replay)


def apply(
    operations: Sequence[Operation],
    weights: Sequence[Tensor],
    x: Tensor,
    replay: Replay | None = None,
    maps: Sequence[Evaluate] | None = None,
) -> Tensor:
    """Apply `operations` to `x` (N …) in order, with the effective weights of the convolutions
    and linear maps. The gradient is the ordinary one. `replay` stores the results of the maps,
    or has them already. `maps` are modules that replace `mapped`, so that hooks see inputs and
    outputs."""
    left = list(weights)
    evaluate = None if maps is None else iter(maps)
    for operation in operations:
        if not isinstance(operation, Conv | Linear):
            x = _fixed(operation, x)
        elif evaluate is None:
            x = mapped(operation, x, left.pop(0), None, replay)
        else:
            x = next(evaluate)(x, left.pop(0), None, replay)
    return x


def apply_traced(
    operations: Sequence[Operation],
    weights: Sequence[Tensor],
    x: Tensor,
    trace: Tensor,
    replay: Replay | None = None,
    maps: Sequence[Evaluate] | None = None,
) -> Tensor:
    """As `apply` on `x`, but with the gradient of each weight taken at `trace` instead of `x`.

    With spikes as `x` and their accumulation as `trace` this is the gradient of OTTT, ∇W = g âᵀ,
    from one evaluation of every map; the gradient of `x` is the ordinary one. `trace` gets no
    gradient. `x` and `trace` have one shape (N …).
    """
    trace = trace.detach()
    left = list(weights)
    evaluate = None if maps is None else iter(maps)
    for operation in operations:
        if not isinstance(operation, Conv | Linear):
            x = _fixed(operation, x)
            trace = _fixed(operation, trace) if left else trace
            continue
        weight = left.pop(0)
        if evaluate is None:
            x = mapped(operation, x, weight, trace, replay)
        else:
            x = next(evaluate)(x, weight, trace, replay)
        if left:
            with torch.no_grad():
                trace = mapped(operation, trace, weight)
    return x


def scale_over_time(
    constant: Tensor, forward: Sequence[float], backward: Sequence[float]
) -> Tensor:
    """Multiply `constant` (1 … or B …) by `forward[k]` at each of K time steps: K 1 … or K B …; its
    gradient is multiplied by `backward[k]`.

    With c[t] for both, this is the accumulation of a constant input; with 1 for `backward`, its
    gradient without a trace.
    """
    scaled: Tensor = _ScaleOverTime.apply(  # type: ignore[no-untyped-call]
        constant, tuple(forward), tuple(backward)
    )
    return scaled


def _convolved(
    operation: Conv,
    weight: Tensor,
    x: Tensor,
    trace: Tensor | None = None,
    replay: Replay | None = None,
) -> Tensor:
    """The convolution of `x`; with `trace` its gradient to the weight is taken there."""
    if operation.kernel == 1 and operation.padding == 0 and operation.stride > 1:
        # Nobody reads the pixels between. oneDNN's weight gradient of a strided convolution with a
        # few channels, last in memory, writes beyond its own (torch 2.13.0, AVX2).
        high, wide = operation.strides
        x = channels_last(x[:, :, ::high, ::wide])
        trace = None if trace is None else channels_last(trace[:, :, ::high, ::wide])
        operation = operation.model_copy(update={"stride": 1})
    x, trace = _dense(x), None if trace is None else _dense(trace)
    geometry = _geometry(operation)
    known = replay.take() if replay is not None and replay.again else None
    if not isinstance(operation, Conv1d) and winograd.chosen(
        x, weight, operation.stride, operation.padding, 1, operation.groups
    ):
        result = winograd.convolution(x, weight, trace, known)
    elif products_in(x) is x.dtype and trace is None and known is None:
        result = F.conv2d(x, weight, None, *geometry)
    else:
        result = _TracedConv.apply(  # type: ignore[no-untyped-call]
            x, x if trace is None else trace, weight, known, *geometry
        )
    return result if replay is None or replay.again else replay.keep(result)


def _dense(x: Tensor) -> Tensor:
    """`x`, N C H W, with the strides that a new tensor of its shape and layout has.

    An axis with one entry may have any stride, and views leave odd ones. torch's weight gradient
    of grouped convolutions in float64 is wrong for these (torch 2.13.0): a batch of one sample
    would learn something else.
    """
    _, c, h, w = x.shape
    if x.stride() in ((h * w * c, 1, w * c, c), (c * h * w, h * w, w, 1)):
        return x
    if x.is_contiguous(memory_format=torch.channels_last):
        rows = x.permute(0, 2, 3, 1)
        return rows.reshape(-1).view(rows.shape).permute(0, 3, 1, 2)
    return x.reshape(-1).view(x.shape) if x.is_contiguous() else x


def _linear(
    weight: Tensor, x: Tensor, trace: Tensor | None = None, replay: Replay | None = None
) -> Tensor:
    """The linear map of `x`; with `trace` its gradient to the weight is taken there."""
    known = replay.take() if replay is not None and replay.again else None
    if products_in(x) is x.dtype and trace is None and known is None:
        result = F.linear(x, weight)
    else:
        result = _TracedLinear.apply(  # type: ignore[no-untyped-call]
            x, x if trace is None else trace, weight, known
        )
    return result if replay is None or replay.again else replay.keep(result)


def _geometry(operation: Conv) -> tuple[Sides, Sides, Sides, int]:
    """Stride, padding, dilation and groups, as torch's convolution wants them."""
    return operation.strides, operation.paddings, (1, 1), operation.groups


def _fixed(operation: Operation, x: Tensor) -> Tensor:
    match operation:
        case AveragePool():
            return _pooled(x, operation.window, None)
        case SumPool():
            return _pooled(x, operation.window, 1)
        case Upsample(factor=k):
            n, c, h, w = x.shape
            repeated = x[:, :, :, None, :, None].expand(-1, -1, -1, k, -1, k)
            # Of one pixel this would be one number seen many times, and scans write in place.
            return repeated.reshape(n, c, h * k, w * k).contiguous()
        case Scale(factor=factor):
            return x * factor
        case Flatten():
            return x.flatten(1)
        case InARow(maps=maps):
            return channels_last(x.reshape(len(x), maps, 1, -1))
    raise AssertionError(f"{operation.kind} has weights")


def _pooled(x: Tensor, kernel: Sides, divisor: int | None) -> Tensor:
    pooled: Tensor = _Pool.apply(x, kernel, divisor)  # type: ignore[no-untyped-call]
    return pooled


class _Pool(torch.autograd.Function):
    """Average pooling that keeps nothing for the backward pass; torch's keeps its input."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, kernel: Sides, divisor: int | None) -> Tensor:
        ctx.shape, ctx.kernel, ctx.divisor = x.shape, kernel, divisor
        return F.avg_pool2d(x, kernel, divisor_override=divisor)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        (grad,) = grads
        high, wide = ctx.kernel
        height, width = grad.shape[2:]
        last = grad.is_contiguous(memory_format=torch.channels_last)
        layout = torch.channels_last if last else torch.contiguous_format
        of_x = torch.empty(ctx.shape, dtype=grad.dtype, device=grad.device, memory_format=layout)
        whole = of_x[:, :, : height * high, : width * wide]
        if whole.shape != of_x.shape:
            of_x.zero_()  # what incomplete windows leave out
        windows = torch.unflatten(torch.unflatten(whole, 3, (width, wide)), 2, (height, high))
        windows.copy_((grad / (ctx.divisor or high * wide))[:, :, :, None, :, None])
        return of_x, None, None


class _TracedConv(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        trace: Tensor,
        weight: Tensor,
        known: Tensor | None,
        stride: Sides,
        padding: Sides,
        dilation: Sides,
        groups: int,
    ) -> Tensor:
        ctx.save_for_backward(trace if ctx.needs_input_grad[2] else None, weight)
        ctx.shape, ctx.geometry = x.shape, (stride, padding, dilation, groups)
        if known is not None:
            return known
        wide = products_in(x)
        return F.conv2d(x.to(wide), weight.to(wide), None, stride, padding, dilation, groups).to(
            x.dtype
        )

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        trace, weight = ctx.saved_tensors
        stride, padding, dilation, groups = ctx.geometry
        own, wide = weight.dtype, products_in(grads[0])
        weight = weight.to(wide)
        # The gradient to x does not depend on the values of x: any tensor of its shape will do.
        of_x, of_weight, _ = torch.ops.aten.convolution_backward(
            grads[0].to(wide),
            weight.new_empty(()).expand(ctx.shape) if trace is None else trace.to(wide),
            weight,
            None,
            stride,
            padding,
            dilation,
            False,
            [0, 0],
            groups,
            [ctx.needs_input_grad[0], ctx.needs_input_grad[2], False],
        )
        of_x, of_weight = (None if g is None else g.to(own) for g in (of_x, of_weight))
        return of_x, None, of_weight, None, None, None, None, None


class _TracedLinear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, trace: Tensor, weight: Tensor, known: Tensor | None) -> Tensor:
        ctx.save_for_backward(trace if ctx.needs_input_grad[2] else None, weight)
        if known is not None:
            return known
        wide = products_in(x)
        return F.linear(x.to(wide), weight.to(wide)).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        trace, weight = ctx.saved_tensors
        own, wide = weight.dtype, products_in(grads[0])
        grad = grads[0].to(wide)
        of_x = (grad @ weight.to(wide)).to(own) if ctx.needs_input_grad[0] else None
        of_weight = None if trace is None else (grad.T @ trace.to(wide)).to(own)
        return of_x, None, of_weight, None


class _ScaleOverTime(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, constant: Tensor, forward: tuple[float, ...], backward: tuple[float, ...]
    ) -> Tensor:
        ctx.backward_factors = backward
        if len(forward) == 1:
            return (constant * forward[0])[None]
        return _factors(forward, constant) * constant

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        (grad,) = grads
        if len(grad) == 1:
            return grad[0] * ctx.backward_factors[0], None, None
        return (_factors(ctx.backward_factors, grad[0]) * grad).sum(0), None, None


def _factors(values: tuple[float, ...], like: Tensor) -> Tensor:
    """K 1 1 …, to be multiplied with `like`."""
    return constants(values, like.dtype, like.device).view(-1, *(1,) * like.dim())
