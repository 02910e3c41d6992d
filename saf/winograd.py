"""3 × 3 convolutions with a quarter of the multiplications, for CPUs: Winograd's F(4×4, 3×3).

A tile of 4 × 4 results is a product in the 36 values of a Toom–Cook transform of the 6 × 6 inputs
that it sees: 36 multiplications per pair of channels instead of 144. Summed over channels, these
are 36 matrix products. Lavin and Gray, arXiv 1509.09308; the points 0, ±2/3, ±3/2, ∞ in place of
0, ±1, ±2, ∞ halve the rounding errors (Alam et al., arXiv 2201.10369, on the choice of points).

Shapes: `N` images of `H W`, `C` channels in and `O` out; `n` images of a block with `h w` tiles
each, `t = n h w` tiles. All tensors have the channels last in memory.

The rounding errors are larger than those of the convolution itself: of the size of the result about
1e-6 instead of 1.3e-7 in float32, 1.8e-2 instead of 1.7e-3 in bfloat16. So it serves training and
quick evaluations, inside `allowed`; certificates, proofs and LIF networks on a grid keep away.
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
FEWEST_TILES = 96  # with fewer, the transform of the weights does
MOST_WASTE = 1.5  # results computed to those wanted, where the sides are no multiples of 4
BLOCK_BYTES = 12 * 2**20  # of the transformed tiles of a block, which should stay in the cache
WEIGHT_BYTES = 10 * 2**20  # of transformed weights at a time, to keep the memory small


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


def convolution(
    x: Tensor, weight: Tensor, trace: Tensor | None = None, known: Tensor | None = None
) -> Tensor:
    """`x` (N C H W) convolved with `weight` (O C 3 3), stride 1 and padding 1: N O H W.

    With `trace` (N C H W) the gradient of the weight is taken there instead of at `x`. A result
    that is `known` is not computed again.
    """
    result: Tensor = _Convolution.apply(x, weight, trace, known)  # type: ignore[no-untyped-call]
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
    """How images are cut into tiles, a block of images at a time, and the 36 values of a tile into
    groups."""

    samples: int
    height: int
    width: int
    h: int
    w: int
    blocks: tuple[slice, ...]
    groups: tuple[slice, ...]

    @staticmethod
    def of(x: Tensor, channels: int, out: int) -> _Grid:
        samples, _, height, width = x.shape
        h, w = -(-height // TILE), -(-width // TILE)
        tiles = BLOCK_BYTES // (SEEN * SEEN * max(channels, out) * x.element_size())
        n = max(1, min(samples, tiles // (h * w)))
        whole = SEEN * SEEN * channels * out * x.element_size()
        size = next(
            size for size in (36, 18, 12, 9, 6) if size == 6 or whole * size <= 36 * WEIGHT_BYTES
        )
        return _Grid(
            samples,
            height,
            width,
            h,
            w,
            tuple(slice(i, min(i + n, samples)) for i in range(0, samples, n)),
            tuple(slice(i, i + size) for i in range(0, SEEN * SEEN, size)),
        )

    @property
    def whole(self) -> bool:
        return self.height == TILE * self.h and self.width == TILE * self.w

    def seen(self, images: Tensor) -> Tensor:
        """36, t C: what the tiles see of `images`, n H W C."""
        n, _, _, channels = images.shape
        padded = images.new_zeros(n, TILE * self.h + 2, TILE * self.w + 2, channels)
        padded[:, 1 : self.height + 1, 1 : self.width + 1].copy_(images)
        image, row, column, channel = padded.stride()
        shape = (SEEN, SEEN, n, self.h, self.w, channels)
        tiles = padded.as_strided(shape, (row, column, image, TILE * row, TILE * column, channel))
        return tiles.reshape(SEEN * SEEN, -1)

    def unseen(self, tiles: Tensor, n: int) -> Tensor:
        """The transpose of `seen`: values added up where tiles overlap, n H W C."""
        tiles = tiles.view(SEEN, SEEN, n, self.h, self.w, -1)
        padded = tiles.new_zeros(n, TILE * (self.h + 1), TILE * (self.w + 1), tiles.shape[5])
        inside = padded.view(n, self.h + 1, TILE, self.w + 1, TILE, -1).permute(2, 4, 0, 1, 3, 5)
        inside[:, :, :, :-1, :-1] = tiles[:TILE, :TILE]
        over = SEEN - TILE
        inside[:over, :, :, 1:, :-1] += tiles[TILE:, :TILE]
        inside[:, :over, :, :-1, 1:] += tiles[:TILE, TILE:]
        inside[:over, :over, :, 1:, 1:] += tiles[TILE:, TILE:]
        return padded[:, 1 : self.height + 1, 1 : self.width + 1]

    def results(self, images: Tensor) -> Tensor:
        """4 4 n h w O: the tiles of `images`, n 4h 4w O; a view."""
        n, _, _, channels = images.shape
        return images.view(n, self.h, TILE, self.w, TILE, channels).permute(2, 4, 0, 1, 3, 5)


def _of_weights(weight: Tensor, group: slice) -> Tensor:
    """The values of a group, g O C."""
    out, channels = weight.shape[:2]
    nine = weight.permute(0, 2, 3, 1).reshape(out, 9, channels)
    transformed = torch.matmul(_matrices(weight.dtype).of_weight[group], nine).permute(1, 0, 2)
    # In float32 matrix products take any distance between rows, in bfloat16 they would copy.
    return transformed if weight.dtype == torch.float32 else transformed.contiguous()


def _added(sums: dict[int, Tensor], block: slice, left: Tensor, right: Tensor) -> None:
    """Add the matrix product to what the groups before brought the block."""
    before = sums.get(block.start)
    sums[block.start] = left @ right if before is None else before.addmm_(left, right)


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, trace: Tensor | None, known: Tensor | None
    ) -> Tensor:
        of_x, of_weight = ctx.needs_input_grad[:2]
        learnt_at = x if trace is None else trace
        ctx.save_for_backward(weight if of_x else None, learnt_at if of_weight else None)
        ctx.weight_shape = weight.shape
        if known is not None:
            return known
        out, channels = weight.shape[:2]
        grid, matrices = _Grid.of(x, channels, out), _matrices(x.dtype)
        images = x.permute(0, 2, 3, 1)
        result = x.new_empty(grid.samples, TILE * grid.h, TILE * grid.w, out)
        tiles: dict[int, Tensor] = {}
        for group in grid.groups:
            weights = _of_weights(weight, group).transpose(1, 2)
            for block in grid.blocks:
                inputs = matrices.of_input[group] @ grid.seen(images[block])
                product = torch.bmm(inputs.view(len(weights), -1, channels), weights)  # g t O
                _added(tiles, block, matrices.of_result[:, group], product.view(len(weights), -1))
                if group is grid.groups[-1]:
                    of_block = grid.results(result[block])
                    of_block.copy_(tiles.pop(block.start).view(of_block.shape))
        result = result[:, : grid.height, : grid.width].contiguous()
        return result.permute(0, 3, 1, 2)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        weight, learnt_at = ctx.saved_tensors
        images = grads[0].permute(0, 2, 3, 1)
        out, channels = ctx.weight_shape[:2]
        grid, matrices = _Grid.of(grads[0], channels, out), _matrices(images.dtype)
        of_x = of_weight = None
        if weight is not None:
            of_x = images.new_empty(grid.samples, grid.height, grid.width, channels)
        if not grid.whole:
            spare = (0, 0, 0, TILE * grid.w - grid.width, 0, TILE * grid.h - grid.height)
            images = torch.nn.functional.pad(images, spare)
        images = images.contiguous()
        seen: dict[int, Tensor] = {}
        for group in grid.groups:
            weights = None if weight is None else _of_weights(weight, group)
            of_weights = None
            for block in grid.blocks:
                tiles = grid.results(images[block]).reshape(TILE * TILE, -1)
                product = matrices.of_result[:, group].T @ tiles
                product = product.view(len(product), -1, out)  # g t O
                if learnt_at is not None:
                    inputs = grid.seen(learnt_at[block].permute(0, 2, 3, 1))
                    inputs = matrices.of_input[group] @ inputs
                    pair = product.transpose(1, 2), inputs.view(len(product), -1, channels)
                    of_weights = _summed(of_weights, *pair)  # g O C
                    del inputs, pair
                if weights is not None and of_x is not None:
                    inputs = torch.bmm(product, weights).view(len(product), -1)  # g, t C
                    _added(seen, block, matrices.of_input[group].T, inputs)
                    del inputs
                    if group is grid.groups[-1]:
                        of_x[block] = grid.unseen(seen.pop(block.start), len(images[block]))
            if of_weights is not None:
                back = _matrices(of_weights.dtype).of_weight[group].T
                of_weights = of_weights.flatten(1)
                of_weight = (
                    back @ of_weights if of_weight is None else of_weight.addmm_(back, of_weights)
                )
        if of_weight is not None:
            of_weight = of_weight.to(images.dtype).view(3, 3, out, channels).permute(2, 3, 0, 1)
        return None if of_x is None else of_x.permute(0, 3, 1, 2), of_weight, None, None


def _summed(before: Tensor | None, left: Tensor, right: Tensor) -> Tensor:
    """`before` plus the batched matrix product, in float32 at least."""
    if left.dtype == torch.bfloat16:
        product = torch.bmm(left, right).float()
        return product if before is None else before.add_(product)
    return torch.bmm(left, right) if before is None else before.baddbmm_(left, right)
