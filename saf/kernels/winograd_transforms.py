"""The transforms of Winograd's F(4×4, 3×3): tiles of images and weights to their values at 36
points and back, in plain torch, and in C++ where that is to be had.

A tile of 4 × 4 results is a product in the values of a Toom–Cook transform of the 6 × 6 inputs that
it sees; the points 0, ±2/3, ±3/2, ∞ in place of 0, ±1, ±2, ∞ halve the rounding errors (Alam et
al., arXiv 2201.10369, on the choice of points). Both sides of a tile are transformed, so there are
36 points; they come in rows of six, `rows` of them at a time.

Shapes: `n` images of `H W` with `h w` tiles each, t = n h w; `C` channels in and `O` out; `g` = six
points a row. Images are n H W C and weights O 3 3 C, dense in memory; points may be of a wider
type. In bfloat16 the C++ computes in float32 and rounds its results.
"""

from __future__ import annotations

import ctypes
import logging
from functools import cache
from typing import NamedTuple, Protocol

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from saf.kernels import native

TILE, SEEN = 4, 6  # results of a tile along one side, and inputs that they see
ROWS = SEEN  # of points
POINTS = (0.0, 2 / 3, -2 / 3, 3 / 2, -3 / 2)  # and infinity
LINE = 16  # numbers of a line of a cache

logger = logging.getLogger(__name__)


class Transforms(Protocol):
    """Protocol of the transforms: `Plain` and `Compiled` implement it."""

    fewest_channels: int
    """With fewer, in or out, the transforms cost more than the products save."""
    fewest_tiles: int
    """With fewer, the transform of the weights does."""

    def of_inputs(self, images: Tensor, rows: range, dtype: torch.dtype) -> Tensor:
        """Tiles of `images`, n H W C, transformed to the points: g, t, C in `dtype`."""

    def of_results(self, images: Tensor, rows: range, dtype: torch.dtype) -> Tensor:
        """The transpose of `to_results`: g, t, O in `dtype`, of `images`, n H W O."""

    def to_results(self, points: Tensor, rows: range, images: Tensor) -> None:
        """Put what `points` (g, t, O) are worth into `images`, n H W O: the first rows overwrite
        what is there, later ones are added."""

    def of_weights(
        self, weights: Tensor, rows: range, dtype: torch.dtype, *, turned: bool
    ) -> Tensor:
        """g, O, C in `dtype`, of `weights` (O 3 3 C); `turned` by half a turn for the gradient to
        inputs."""

    def to_weights(self, points: Tensor, rows: range, weights: Tensor) -> None:
        """The transpose of `of_weights`, into `weights` (O 3 3 C) as `to_results` does it."""


class Matrices(NamedTuple):
    """Matrices that transform one side of a tile."""

    of_input: Tensor  # 6 6
    of_result: Tensor  # 6 4
    of_weight: Tensor  # 6 3


@cache
def matrices() -> Matrices:
    """Toom–Cook, in float64: a polynomial product is the product at enough points; the correlation
    that a convolution layer computes is its transpose."""

    def powers(count: int) -> Tensor:
        rows = [[point**k for k in range(count)] for point in POINTS]
        return torch.tensor([*rows, [0.0] * (count - 1) + [1.0]], dtype=torch.float64)

    of_input = torch.linalg.inv(powers(SEEN)).T
    of_input[of_input.abs() < 1e-12] = 0.0  # what is left of zeros
    scale = torch.linalg.vector_norm(of_input, dim=1, keepdim=True)  # no value of a tile dominates
    return Matrices(of_input / scale, powers(TILE), powers(SEEN - TILE + 1) * scale)


def tiles_of(images: Tensor) -> tuple[int, int, int]:
    """n h w of `images`, n H W C."""
    n, height, width, _ = images.shape
    return n, -(-height // TILE), -(-width // TILE)


class Plain:
    """The transforms in torch: matrix products over the 36 values of a tile, in any type."""

    fewest_channels = 96
    fewest_tiles = 96

    def of_inputs(self, images: Tensor, rows: range, dtype: torch.dtype) -> Tensor:
        images = images.to(dtype)
        n, h, w = tiles_of(images)
        _, height, width, channels = images.shape
        padded = images.new_zeros(n, TILE * h + 2, TILE * w + 2, channels)
        padded[:, 1 : height + 1, 1 : width + 1].copy_(images)
        image, row, column, channel = padded.stride()
        shape = (SEEN, SEEN, n, h, w, channels)
        tiles = padded.as_strided(shape, (row, column, image, TILE * row, TILE * column, channel))
        seen = tiles.reshape(SEEN * SEEN, -1)
        points = _both_sides(images.dtype).of_input[_points(rows)] @ seen
        return points.view(len(points), n * h * w, channels)

    def of_results(self, images: Tensor, rows: range, dtype: torch.dtype) -> Tensor:
        images = images.to(dtype)
        n, h, w = tiles_of(images)
        _, height, width, channels = images.shape
        if (height, width) != (TILE * h, TILE * w):
            images = F.pad(images, (0, 0, 0, TILE * w - width, 0, TILE * h - height))
        tiles = _tiled(images).reshape(TILE * TILE, -1)
        points = _both_sides(images.dtype).of_result[_points(rows)] @ tiles
        return points.view(len(points), n * h * w, channels)

    def to_results(self, points: Tensor, rows: range, images: Tensor) -> None:
        n, h, w = tiles_of(images)
        _, height, width, channels = images.shape
        tiles = _both_sides(points.dtype).of_result[_points(rows)].T @ points.flatten(1)
        whole = images
        if (height, width) != (TILE * h, TILE * w):
            whole = images.new_empty(n, TILE * h, TILE * w, channels)
        into = _tiled(whole)
        if rows.start == 0 or whole is not images:
            into.copy_(tiles.view(into.shape))
        else:
            into.add_(tiles.view(into.shape))
        if whole is not images:
            part = whole[:, :height, :width]
            images.copy_(part) if rows.start == 0 else images.add_(part)

    def of_weights(
        self, weights: Tensor, rows: range, dtype: torch.dtype, *, turned: bool
    ) -> Tensor:
        nine = weights.to(dtype).flatten(1, 2)  # O 9 C
        matrix = _both_sides(dtype).of_weight[_points(rows)]
        matrix = matrix.flip(1) if turned else matrix
        points = torch.matmul(matrix, nine).permute(1, 0, 2)
        # In float32 matrix products take any distance between rows, in bfloat16 they would copy.
        return points.contiguous() if dtype == torch.bfloat16 else points

    def to_weights(self, points: Tensor, rows: range, weights: Tensor) -> None:
        of_rows = _both_sides(points.dtype).of_weight[_points(rows)].T @ points.flatten(1)
        nine = of_rows.view(3, 3, *points.shape[1:]).permute(2, 0, 1, 3)
        weights.copy_(nine) if rows.start == 0 else weights.add_(nine)


class Compiled:
    """The transforms in C++, `saf/kernels/cpp/winograd.cpp`, in float32 and bfloat16: one pass
    over the memory."""

    fewest_channels = 48
    fewest_tiles = 16

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library

    def of_inputs(self, images: Tensor, rows: range, dtype: torch.dtype) -> Tensor:
        return self._of_images("of_inputs", images, rows, dtype)

    def of_results(self, images: Tensor, rows: range, dtype: torch.dtype) -> Tensor:
        return self._of_images("of_results", images, rows, dtype)

    def _of_images(self, name: str, images: Tensor, rows: range, dtype: torch.dtype) -> Tensor:
        n, h, w = tiles_of(images)
        tiles, channels, g = n * h * w, images.shape[3], SEEN * len(rows)
        # What lies a power of two apart has few places in a cache: an odd number of tiles, the last
        # of them perhaps without a meaning, and some space between the points.
        odd = tiles + 1 - tiles % 2
        point = odd * channels + LINE
        points = images.new_empty(g * point, dtype=dtype).as_strided(
            (g, odd, channels), (point, channels, 1)
        )
        points[:, tiles:].zero_()
        self._call(name, images.contiguous(), points, point, rows.start, rows.stop)
        return points

    def to_results(self, points: Tensor, rows: range, images: Tensor) -> None:
        assert images.is_contiguous()
        points = points.contiguous()
        self._call("to_results", images, points, points.stride(0), rows.start, rows.stop)

    def of_weights(
        self, weights: Tensor, rows: range, dtype: torch.dtype, *, turned: bool
    ) -> Tensor:
        out, _, _, channels = weights.shape
        points = weights.new_empty(SEEN * len(rows), out, channels, dtype=dtype)
        self._call("of_weights", weights.contiguous(), points, rows.start, rows.stop, turned)
        return points

    def to_weights(self, points: Tensor, rows: range, weights: Tensor) -> None:
        assert weights.is_contiguous()
        self._call("to_weights", weights, points.contiguous(), rows.start, rows.stop)

    def _call(self, name: str, outside: Tensor, points: Tensor, *more: int) -> None:
        """Call a function for images, N H W C, or weights, O 3 3 C, and their points."""
        n, height, width, channels = outside.shape
        shape = (n, channels) if name.endswith("weights") else (n, height, width, channels)
        function = self._library[f"{name}_{native.type_of(outside)}_{native.type_of(points)}"]
        native.call(function, outside, *shape, points, *more)


@cache
def compiled() -> Compiled | None:
    """`Compiled`, or None where there is no C++ to be had."""
    library = native.library("winograd", _as_cpp(matrices()))
    return None if library is None else Compiled(library)


def _as_cpp(of: Matrices) -> str:
    lines = []
    for name, matrix in (
        ("INPUT", of.of_input),
        ("RESULT", of.of_result),
        ("WEIGHT", of.of_weight),
    ):
        rows = ", ".join(
            "{" + ", ".join(float.hex(v) for v in row) + "}" for row in matrix.tolist()
        )
        lines.append(f"constexpr double {name}[6][{matrix.shape[1]}] = {{{rows}}};\n")
    return "".join(lines)


@cache
def _both_sides(dtype: torch.dtype) -> Matrices:
    """Matrix for both sides of a tile at once: 36 rows for the points, 36, 16 or 9 columns."""
    return Matrices(*(torch.kron(m, m).to(dtype) for m in matrices()))


def _points(rows: range) -> slice:
    return slice(SEEN * rows.start, SEEN * rows.stop)


def _tiled(images: Tensor) -> Tensor:
    """4 4 n h w O: the tiles of `images`, n 4h 4w O; a view."""
    n, height, width, channels = images.shape
    tiles = images.view(n, height // TILE, TILE, width // TILE, TILE, channels)
    return tiles.permute(2, 4, 0, 1, 3, 5)
