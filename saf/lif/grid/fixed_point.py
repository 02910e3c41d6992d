"""Numbers on a grid: multiples of 2^−k, on which float32 is exact as long as they stay small.

`docs/proof.md` has the argument. Shapes: `C` input channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from saf.config import MOST_GRID_BITS

LEAST_INPUT_BITS, MOST_INPUT_BITS = 8, 10
LEVELS = 256  # that a pixel can have, from 0 to 1


class Grid(BaseModel):
    """The grid of a LIF network; part of the header of `lif.safetensors`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    bits: Annotated[int, Field(ge=1, le=MOST_GRID_BITS)]
    """k: weights, biases and the currents that the input brings are multiples of 2^−k."""
    input_bits: Annotated[int, Field(ge=1, le=MOST_INPUT_BITS)]
    """Normalised pixels are multiples of 2^−input_bits."""


def rounded(x: Tensor, bits: int) -> Tensor:
    """`x` at the nearest multiples of 2^−bits, halves to the even one."""
    return torch.round(x * 2.0**bits) * 2.0**-bits


def is_on_grid(x: Tensor, bits: int) -> bool:
    """Whether all of `x` are multiples of 2^−bits."""
    return torch.equal(x, rounded(x, bits))


def fewest_bits(x: Tensor, most: int) -> int:
    """The smallest j from 0 to `most` for which all of `x`, which are multiples of 2^−most, are
    multiples of 2^−j."""
    return next((bits for bits in range(most) if is_on_grid(x, bits)), most)


def fraction_bits(x: float) -> int:
    """The smallest j ≥ 0 for which `x` is a multiple of 2^−j."""
    return x.as_integer_ratio()[1].bit_length() - 1


def pixel_values(mean: Sequence[float], std: Sequence[float], input_bits: int) -> Tensor:
    """The normalised value of each of the 256 levels of a pixel, on the grid: C 256, float64.

    A table instead of arithmetic: the same numbers wherever it is looked up.
    """
    levels = torch.arange(LEVELS, dtype=torch.float64) / (LEVELS - 1)
    rows = [(levels - m) / s for m, s in zip(mean, std, strict=True)]
    return rounded(torch.stack(rows), input_bits)


def look_up(x: Tensor, table: Tensor) -> Tensor:
    """The values that `table` (C 256) has for the pixels `x`, `N C …` in [0, 1].

    A pixel goes to the nearest level, from float32 whatever its type: a byte divided by 255 comes
    back as that byte, and float64 looks up what float32 does.
    """
    levels = torch.round(x.to(torch.float32) * (LEVELS - 1)).long()
    channels = torch.arange(len(table), device=table.device).view(-1, *(1,) * (x.dim() - 2))
    return table[channels, levels]
