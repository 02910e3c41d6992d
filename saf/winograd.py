"""3 × 3 convolutions with a quarter of the multiplications, for CPUs: Winograd's F(4×4, 3×3).

A tile of 4 × 4 results is a product in the 36 values of a Toom–Cook transform of the 6 × 6 inputs
that it sees: 36 multiplications per pair of channels instead of 144. Summed over channels, these
are 36 matrix products. Lavin and Gray, arXiv 1509.09308; the points 0, ±2/3, ±3/2, ∞ in place of
0, ±1, ±2, ∞ halve the rounding errors (Alam et al., arXiv 2201.10369, on the choice of points).

Shapes: `N` images of `H W`, `C` channels in and `O` out; `n` images of a block with `h w` tiles
each, `t = n h w` tiles. All tensors have the channels last in memory.

The rounding errors are larger than those of the convolution itself: of the size of the result
1e-6 instead of 3e-7 in float32, 1.3e-2 instead of 2e-3 in bfloat16. So it serves training and quick
evaluations; certificates and the LIF networks themselves use plain convolutions.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

_allowed: ContextVar[bool] = ContextVar("winograd", default=False)

TILE, SEEN = 4, 6  # results of a tile along one side, and inputs that they see
POINTS = (0.0, 2 / 3, -2 / 3, 3 / 2, -3 / 2)  # and infinity
FEWEST_CHANNELS = 96  # with fewer, the transforms cost more than the products save
FEWEST_TILES = 64  # with fewer, the transform of the weights does
MOST_WASTE = 1.5  # results computed to those wanted, where the sides are no multiples of 4
MOST_TILES = 384  # of a block, which should stay in the cache


@contextmanager
def allowed(yes: bool = True) -> Iterator[None]:
    """Inside, the maps of a network are evaluated by `convolution` where that pays, or never."""
    before = _allowed.set(yes)
    try:
        yield
    finally:
        _allowed.reset(before)


def chosen(
    x: Tensor, weight: Tensor, stride: int, padding: int, dilation: int, groups: int
) -> bool:
    """Whether `convolution` is allowed and expected to be faster than torch's; the shapes alone
    decide, so that a training that is resumed computes the same."""
    if not _allowed.get() or (stride, padding, dilation, groups) != (1, 1, 1, 1):
        return False
    if x.device.type != "cpu" or x.dtype not in (torch.float32, torch.bfloat16):
        return False
    out, channels, *kernel = weight.shape
    samples, _, height, width = x.shape
    high, wide = -(-height // TILE), -(-width // TILE)
    return (
        kernel == [3, 3]
        and min(out, channels) >= FEWEST_CHANNELS
        and samples * high * wide >= FEWEST_TILES
        and high * wide * TILE * TILE <= MOST_WASTE * height * width
    )


def convolution(x: Tensor, weight: Tensor, trace: Tensor | None = None) -> Tensor:
    """`x` (N C H W) convolved with `weight` (O C 3 3), stride 1 and padding 1: N O H W.

    With `trace` (N C H W) the gradient of the weight is taken there instead of at `x`.
    """
    result: Tensor = _Convolution.apply(x, weight, trace)  # type: ignore[no-untyped-call]
    return result


class _Matrices(NamedTuple):
    """What transforms a tile, both sides at once."""

    of_input: Tensor  # 36 36
    of_weight: Tensor  # 36 9
    of_result: Tensor  # 16 36


@cache
def _matrices(dtype: torch.dtype) -> _Matrices:
    """Toom–Cook: a polynomial product is the product at enough points; the correlation that a
    convolution layer computes is its transpose."""

    def powers(count: int) -> Tensor:
        rows = [[point**k for k in range(count)] for point in POINTS]
        return torch.tensor([*rows, [0.0] * (count - 1) + [1.0]], dtype=torch.float64)

    of_input = torch.linalg.inv(powers(SEEN)).T
    of_weight, of_result = powers(SEEN - TILE + 1), powers(TILE).T
    scale = torch.linalg.vector_norm(of_input, dim=1)  # so that no value of a tile dominates
    of_input, of_weight = of_input / scale[:, None], of_weight * scale[:, None]
    return _Matrices(*(torch.kron(m, m).to(dtype) for m in (of_input, of_weight, of_result)))


class _Grid(NamedTuple):
    """How images are cut into tiles, a block of images at a time."""

    samples: int
    height: int
    width: int
    h: int
    w: int
    n: int

    @staticmethod
    def of(x: Tensor) -> _Grid:
        samples, _, height, width = x.shape
        h, w = -(-height // TILE), -(-width // TILE)
        return _Grid(samples, height, width, h, w, max(1, min(samples, MOST_TILES // (h * w))))

    def blocks(self) -> list[slice]:
        return [slice(i, min(i + self.n, self.samples)) for i in range(0, self.samples, self.n)]

    def seen(self, padded: Tensor) -> Tensor:
        """6 6 n h w C: the overlapping inputs of the tiles, a view of n, 4h + 2, 4w + 2, C."""
        image, row, column, channel = padded.stride()
        shape = (SEEN, SEEN, len(padded), self.h, self.w, padded.shape[3])
        return padded.as_strided(shape, (row, column, image, TILE * row, TILE * column, channel))

    def results(self, images: Tensor) -> Tensor:
        """4 4 n h w O: the tiles, a view of n, 4h, 4w, O."""
        n, _, _, channels = images.shape
        return images.view(n, self.h, TILE, self.w, TILE, channels).permute(2, 4, 0, 1, 3, 5)

    def whole(self) -> bool:
        return self.height == TILE * self.h and self.width == TILE * self.w


def _of_weights(weight: Tensor) -> Tensor:
    """36 O C."""
    out, channels = weight.shape[:2]
    nine = weight.permute(0, 2, 3, 1).reshape(out, 9, channels)
    transformed = torch.matmul(_matrices(weight.dtype).of_weight, nine).permute(1, 0, 2)
    # In float32 matrix products take any distance between rows, in bfloat16 they would copy.
    return transformed if weight.dtype == torch.float32 else transformed.contiguous()


class _Inputs:
    """The transformed inputs of one block after the other."""

    def __init__(self, x: Tensor, grid: _Grid) -> None:
        self.images, self.grid, channels = x.permute(0, 2, 3, 1), grid, x.shape[1]
        self.padded = x.new_zeros(grid.n, TILE * grid.h + 2, TILE * grid.w + 2, channels)
        self.tiles = x.new_empty(SEEN * SEEN, grid.n * grid.h * grid.w * channels)
        self.transformed = torch.empty_like(self.tiles)

    def of(self, block: slice) -> Tensor:
        """36 t C; the next call overwrites it."""
        images, grid = self.images[block], self.grid
        n, _, _, channels = images.shape
        padded = self.padded[:n]
        padded[:, 1 : grid.height + 1, 1 : grid.width + 1].copy_(images)
        size = n * grid.h * grid.w * channels
        tiles, transformed = (
            held.view(-1)[: SEEN * SEEN * size].view(SEEN * SEEN, size)
            for held in (self.tiles, self.transformed)
        )
        seen = grid.seen(padded)
        tiles.view(seen.shape).copy_(seen)
        torch.mm(_matrices(padded.dtype).of_input, tiles, out=transformed)
        return transformed.view(SEEN * SEEN, -1, channels)


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, trace: Tensor | None) -> Tensor:
        of_x, of_weight, _ = ctx.needs_input_grad
        learnt_at = x if trace is None else trace
        ctx.save_for_backward(weight if of_x else None, learnt_at if of_weight else None)
        grid, out = _Grid.of(x), len(weight)
        result = x.new_empty(grid.samples, TILE * grid.h, TILE * grid.w, out)
        inputs, weights = _Inputs(x, grid), _of_weights(weight).transpose(1, 2)
        for block in grid.blocks():
            product = torch.bmm(inputs.of(block), weights)  # 36 t O
            tiles = _matrices(x.dtype).of_result @ product.view(len(product), -1)
            results = grid.results(result[block])
            results.copy_(tiles.view(results.shape))
        result = result[:, : grid.height, : grid.width].contiguous()
        return result.permute(0, 3, 1, 2)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        weight, learnt_at = ctx.saved_tensors
        (grad,) = grads
        grid, matrices = _Grid.of(grad), _matrices(grad.dtype)
        of_x = weights = inputs = of_weights = None
        if weight is not None:
            weights = _of_weights(weight)
            of_x = grad.new_empty(grid.samples, grid.height, grid.width, weight.shape[1])
        if learnt_at is not None:
            inputs = _Inputs(learnt_at, grid)
        for block in grid.blocks():
            images = grad[block].permute(0, 2, 3, 1)
            if not grid.whole():
                spare = (0, 0, 0, TILE * grid.w - grid.width, 0, TILE * grid.h - grid.height)
                images = torch.nn.functional.pad(images, spare)
            tiles = grid.results(images.contiguous())
            of_product = matrices.of_result.T @ tiles.reshape(TILE * TILE, -1)
            of_product = of_product.view(SEEN * SEEN, -1, grad.shape[1])  # 36 t O
            if inputs is not None:
                share = torch.bmm(of_product.transpose(1, 2), inputs.of(block))  # 36 O C
                share = share.to(torch.promote_types(share.dtype, torch.float32))
                of_weights = share if of_weights is None else of_weights.add_(share)
            if weights is not None and of_x is not None:
                of_seen = torch.bmm(of_product, weights)  # 36 t C
                of_tiles = matrices.of_input.T @ of_seen.view(SEEN * SEEN, -1)
                of_x[block] = _overlapped(of_tiles, grid, len(images))
        of_weight = None
        if of_weights is not None:
            out, channels = of_weights.shape[1:]
            nine = _matrices(of_weights.dtype).of_weight.T @ of_weights.flatten(1)
            of_weight = nine.to(grad.dtype).view(3, 3, out, channels).permute(2, 3, 0, 1)
        return None if of_x is None else of_x.permute(0, 3, 1, 2), of_weight, None


def _overlapped(tiles: Tensor, grid: _Grid, n: int) -> Tensor:
    """The tiles, 36 × t · C, put back where they were seen, added where they overlap: n H W C."""
    tiles = tiles.view(SEEN, SEEN, n, grid.h, grid.w, -1)
    padded = tiles.new_zeros(n, TILE * (grid.h + 1), TILE * (grid.w + 1), tiles.shape[5])
    inside = padded.view(n, grid.h + 1, TILE, grid.w + 1, TILE, -1).permute(2, 4, 0, 1, 3, 5)
    inside[:, :, :, :-1, :-1] = tiles[:TILE, :TILE]
    over = SEEN - TILE
    inside[:over, :, :, 1:, :-1] += tiles[TILE:, :TILE]
    inside[:, :over, :, :-1, 1:] += tiles[:TILE, TILE:]
    inside[:over, :over, :, 1:, 1:] += tiles[TILE:, TILE:]
    return padded[:, 1 : grid.height + 1, 1 : grid.width + 1]
