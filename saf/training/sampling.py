"""Pixels of samples at other places, along one side.

Shapes: `N` samples, `T` steps, `C H W` channels, height, width.
"""

from __future__ import annotations

import torch
from torch import Tensor

from saf.kernels.transfer import sent


def stretched(x: Tensor, start: Tensor, length: Tensor, dim: int) -> Tensor:
    """`x` along `dim`, with the part from `start` (N) of `length` (N) stretched over all of it."""
    count = x.shape[dim]
    start, length = start[:, None], length[:, None]
    place = (torch.arange(count) + 0.5) * length / count - 0.5  # N count, in the part
    place = torch.minimum(place.clamp(min=0), length - 1)
    below = place.floor()
    above = torch.minimum(below + 1, length - 1)
    inner = (1,) * (x.dim() - 3)
    sides = (count, 1) if dim == -2 else (1, count)
    share = sent(place - below, x.device).to(x.dtype).view(-1, *inner, *sides)
    return torch.lerp(taken(x, start + below, dim), taken(x, start + above, dim), share)


def taken(x: Tensor, places: Tensor, dim: int) -> Tensor:
    """`x` at `places` (N count) along `dim`, the same ones in all steps and channels."""
    inner = (1,) * (x.dim() - 3)
    sides = (places.shape[1], 1) if dim == -2 else (1, places.shape[1])
    index = sent(places.long(), x.device).view(-1, *inner, *sides)
    shape = list(x.shape)
    shape[dim] = places.shape[1]
    return x.gather(dim, index.expand(shape))
