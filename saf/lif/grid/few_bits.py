"""Weights of few bits: integers times a power of two, which chips multiply by shifting.

Shapes: `O` outputs of a map.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import floor, log2
from typing import Literal

import torch
from torch import Tensor

from saf.config import MOST_GRID_BITS
from saf.model.network import SpikingNetwork

Scale = Literal["layer", "channel"]
"""What shares a scale: the weights of a map, or those of each of its outputs."""


AROUND = range(-1, 5)  # halvings of the scale beyond the finest at which nothing is clipped
LEAST_EXPONENT = -100  # of weights up to 2^100, beyond which float32 has no room for sums of them


def largest_integer(bits: int) -> int:
    """The largest of the integers of so many `bits`, which are symmetric: 7 of 4 bits."""
    return (1 << (bits - 1)) - 1


def exponents(weight: Tensor, bits: int, scale: Scale, most: int = MOST_GRID_BITS) -> Tensor:
    """The exponent g of each output of `weight`, O 1 …, in float64: a weight of `bits` becomes
    n · 2^−g with an integer n. Of the finest g at which no weight is clipped and those around it,
    that with the smallest squared error; at most `most`. Negative ones are those of weights beyond
    the integers: of 2 bits, which are −1, 0 and 1, a weight of 3 becomes 4 = 1 · 2^2."""
    rows = weight.detach().double().flatten(1)
    rows = rows if scale == "channel" else rows.view(1, -1)
    largest = largest_integer(bits)
    found = []
    for row in rows:
        magnitude = float(row.abs().max())
        fitting = most if magnitude == 0.0 else floor(log2(largest) - log2(magnitude))
        tried = sorted({min(max(fitting + n, LEAST_EXPONENT), most) for n in AROUND})
        errors = [float((row - _quantised(row, 2.0**g, largest)).square().sum()) for g in tried]
        found.append(float(tried[errors.index(min(errors))]))
    own = torch.tensor(found, dtype=torch.float64, device=weight.device)
    return own.expand(len(weight)).reshape(-1, *(1,) * (weight.dim() - 1))


def quantised(weight: Tensor, exponent: Tensor, bits: int) -> Tensor:
    """`weight` at the nearest integers of `bits` times 2^−`exponent`, clipped to the largest."""
    return _quantised(weight, (2.0**exponent).to(weight.dtype), largest_integer(bits))


def _quantised(weight: Tensor, per_unit: Tensor | float, largest: int) -> Tensor:
    return torch.round(weight * per_unit).clamp(-largest, largest) / per_unit


def exponents_of(
    network: SpikingNetwork, bits: int, scale: Scale, most: int = MOST_GRID_BITS
) -> dict[str, Tensor]:
    """The exponents of every weight of `network`, which is one of plain weights, by its name."""
    return {
        name: exponents(weight, bits, scale, most)
        for name, weight in network.named_parameters()
        if name.endswith(".weight")
    }


def grid_of(exponents: Mapping[str, Tensor]) -> int:
    """k: all weights with these exponents are multiples of 2^−k; at least 1."""
    return max(1, *(int(each.max()) for each in exponents.values()))


@torch.no_grad()
def put_quantised(
    network: SpikingNetwork,
    values: Mapping[str, Tensor],
    exponents: Mapping[str, Tensor],
    bits: int,
) -> None:
    """Give `network` the `values` of its parameters, by name: weights with few `bits`, biases at
    the nearest multiples of 2^−k of all weights together."""
    k = grid_of(exponents)
    for name, parameter in network.named_parameters():
        value = values[name]
        if name in exponents:
            parameter.copy_(quantised(value, exponents[name], bits))
        else:
            parameter.copy_(torch.round(value * 2.0**k) / 2.0**k)
