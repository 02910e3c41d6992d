"""3 × 3 convolutions with a quarter of the multiplications, for CPUs: Winograd's F(4×4, 3×3).

A tile of 4 × 4 results is a product in the values that the 6 × 6 inputs it sees have at 36 points:
36 multiplications per pair of channels instead of 144. Summed over channels, these are 36 matrix
products. Lavin and Gray, arXiv 1509.09308; `saf.kernels.winograd_transforms` has the transforms, in
torch, and in C++ for those inside `saf.kernels.native.allowed`.

Shapes: `N` images of `H W`, `C` channels in and `O` out; `t` tiles of the images of a block, `g`
points of a group. All tensors have the channels last in memory.

The rounding errors are larger than those of the convolution itself: of the size of the result about
1e-6 instead of 1.3e-7 in float32, 1.8e-2 instead of 1.7e-3 in bfloat16. So it serves training and
quick evaluations, inside `allowed`; certificates, proofs and LIF networks on a grid keep away.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor

from saf.kernels import native
from saf.kernels.precision import products_in
from saf.kernels.winograd_transforms import ROWS, SEEN, TILE, Plain, Transforms, compiled, tiles_of


class Permission:
    """Whether `convolution` may be chosen, and whether it has been."""

    def __init__(self, given: bool) -> None:
        self.given = given
        self.used = False


_allowed: ContextVar[Permission] = ContextVar("winograd", default=Permission(False))  # noqa: B039

_PLAIN = Plain()
MOST_WASTE = 1.5  # results computed to those wanted, where the sides are no multiples of 4
BLOCK_BYTES = 12 * 2**20  # of the transformed tiles of a block, which should stay in the cache
WEIGHT_BYTES = 20 * 2**20  # of transformed weights at a time, to keep the memory small
TRANSPOSED_FROM = 512  # tiles: products with weights the other way round gain more than it takes


@contextmanager
def allowed(yes: bool = True) -> Iterator[Permission]:
    """Inside, the maps of a network are evaluated by `convolution` where that pays, or never."""
    permission = Permission(yes)
    before = _allowed.set(permission)
    try:
        yield permission
    finally:
        _allowed.reset(before)


def chosen(
    x: Tensor, weight: Tensor, stride: int, padding: int, dilation: int, groups: int
) -> bool:
    """Whether `convolution` is allowed and expected to be faster than torch's; the shapes and the
    transforms alone decide, so that a training that is resumed computes the same."""
    permission = _allowed.get()
    if not permission.given or (stride, padding, dilation, groups) != (1, 1, 1, 1):
        return False
    if x.device.type != "cpu" or x.dtype not in (torch.float32, torch.bfloat16):
        return False
    out, channels, *kernel = weight.shape
    samples, _, height, width = x.shape
    high, wide = -(-height // TILE), -(-width // TILE)
    if kernel != [3, 3] or high * wide * TILE * TILE > MOST_WASTE * height * width:
        return False
    by = transforms()
    pays = min(out, channels) >= by.fewest_channels and samples * high * wide >= by.fewest_tiles
    permission.used |= pays
    return pays


def convolution(
    x: Tensor, weight: Tensor, trace: Tensor | None = None, known: Tensor | None = None
) -> Tensor:
    """`x` (N C H W) convolved with `weight` (O C 3 3), stride 1 and padding 1: N O H W.

    With `trace` (N C H W) the gradient of the weight is taken there instead of at `x`. A result
    that is `known` is not computed again.
    """
    result: Tensor = _Convolution.apply(x, weight, trace, known)  # type: ignore[no-untyped-call]
    return result


def transforms() -> Transforms:
    """The transforms in C++ where they are allowed and compiled, else those in torch."""
    found = compiled() if native.is_allowed() else None
    return _PLAIN if found is None else found


def _blocks(images: Tensor, points: int, channels: int, dtype: torch.dtype) -> list[slice]:
    """A few images at a time, of which up to `channels` go to so many `points` in `dtype`."""
    n, h, w = tiles_of(images)
    at_once = BLOCK_BYTES // (points * channels * dtype.itemsize * h * w)
    at_once = max(1, min(n, at_once))
    return [slice(i, min(i + at_once, n)) for i in range(0, n, at_once)]


def _groups(weights: Tensor, dtype: torch.dtype) -> list[range]:
    """Rows of points at a time; those of the weights are in `dtype`."""
    whole = SEEN * SEEN * weights.numel() // 9 * dtype.itemsize
    size = next(size for size in (6, 3, 2, 1) if size == 1 or whole * size <= ROWS * WEIGHT_BYTES)
    return [range(i, i + size) for i in range(0, ROWS, size)]


def _convolved(by: Transforms, images: Tensor, weights: Tensor, *, back: bool) -> Tensor:
    """`images`, N H W C, with `weights`, O 3 3 C: N H W O. With `back`, of N H W O, the gradient of
    that: the convolution with the weights turned around, N H W C."""
    out, _, _, channels = weights.shape
    wide = products_in(images)
    groups = _groups(weights, wide)
    result = images.new_empty(
        *images.shape[:3],
        channels if back else out,
        dtype=images.dtype if len(groups) == 1 else wide,  # sums are not to be rounded every time
    )
    blocks = _blocks(images, SEEN * len(groups[0]), max(out, channels), wide)
    n, h, w = tiles_of(images)
    transposed = not back and n * h * w >= TRANSPOSED_FROM
    if transposed:
        weights = weights.permute(3, 1, 2, 0).contiguous()  # C 3 3 O
    for rows in groups:
        at_points = by.of_weights(weights, rows, wide, turned=back)  # g C O if transposed, or g O C
        if not back and not transposed:
            at_points = at_points.transpose(1, 2)
        for block in blocks:
            product = torch.bmm(by.of_inputs(images[block], rows, wide), at_points)
            by.to_results(product, rows, result[block])
    return result.to(images.dtype)


def _of_weights(by: Transforms, images: Tensor, grads: Tensor, like: Tensor) -> Tensor:
    """The gradient of weights that met `images`, N H W C, from that of the results, N H W O: as
    `like`, O 3 3 C, summed in float32 at least."""
    out, _, _, channels = like.shape
    wide = products_in(images)
    total = torch.empty(like.shape, dtype=torch.promote_types(like.dtype, torch.float32))
    groups = _groups(like, wide)
    blocks = _blocks(images, SEEN * len(groups[0]), max(out, channels), wide)
    for rows in groups:
        summed = None
        for block in blocks:
            left = by.of_results(grads[block], rows, wide).transpose(1, 2)  # g O t
            right = by.of_inputs(images[block], rows, wide)  # g t C
            summed = _summed(summed, left, right)
            del left, right
        assert summed is not None
        by.to_weights(summed, rows, total)
    return total.to(like.dtype)


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, trace: Tensor | None, known: Tensor | None
    ) -> Tensor:
        of_x, of_weight = ctx.needs_input_grad[:2]
        learnt_at = x if trace is None else trace
        ctx.save_for_backward(weight, learnt_at if of_weight else None)
        ctx.of_x, ctx.by = of_x, transforms()
        if known is not None:
            return known
        images, weights = x.permute(0, 2, 3, 1), weight.permute(0, 2, 3, 1)
        return _convolved(ctx.by, images, weights, back=False).permute(0, 3, 1, 2)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        weight, learnt_at = ctx.saved_tensors
        weights, of_results = weight.permute(0, 2, 3, 1), grads[0].permute(0, 2, 3, 1)
        of_x = of_weight = None
        if learnt_at is not None:
            images = learnt_at.permute(0, 2, 3, 1)
            of_weight = _of_weights(ctx.by, images, of_results, weights).permute(0, 3, 1, 2)
        if ctx.of_x:
            of_x = _convolved(ctx.by, of_results, weights, back=True).permute(0, 3, 1, 2)
        return of_x, of_weight, None, None


def _summed(before: Tensor | None, left: Tensor, right: Tensor) -> Tensor:
    """`before` plus the batched matrix product, in float32 at least."""
    if left.dtype == torch.bfloat16:
        product = torch.bmm(left, right).float()
        return product if before is None else before.add_(product)
    return torch.bmm(left, right) if before is None else before.baddbmm_(left, right)
