"""Inputs of a network: images that stay for all time steps, event frames, and series."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from saf.model.operations import channels_last


def floats(x: Tensor, dtype: torch.dtype, unit: int = 255) -> Tensor:
    """`x` in `dtype`; bytes are divided by `unit`: 255, or 1 where they are counts."""
    is_scaled = x.dtype == torch.uint8 and unit != 1
    return x.to(dtype).div_(unit) if is_scaled else x.to(dtype)


def with_pixels(x: Tensor, shape: Sequence[int], axes: int) -> Tensor:
    """`x` as a network for samples of `shape`, C H W, takes it: series come as `B T C`, a step of
    them as `B C`, and get the two axes of one pixel, a view. Nothing else has so few axes; `axes`
    are those of the samples."""
    is_without = len(shape) == 3 and tuple(shape[1:]) == (1, 1) and x.dim() == axes - 2
    return x[..., None, None] if is_without and x.shape[-1] == shape[0] else x


class Stimulus(NamedTuple):
    """A normalised input: an image that stays for T time steps, or a frame for each of them."""

    image: Tensor | None  # B C H W
    frames: Tensor | None  # T B C H W

    @property
    def one(self) -> Tensor:
        """B C H W: the input of one time step."""
        if self.image is not None:
            return self.image
        assert self.frames is not None
        return self.frames[0]

    def channels_last(self) -> Stimulus:
        """The same in the layout in which convolutions need no copies."""
        return Stimulus(
            None if self.image is None else channels_last(self.image),
            None if self.frames is None else channels_last(self.frames),
        )

    def zeros(self, shape: tuple[int, ...]) -> Tensor:
        """B `shape`, in the type, the layout and on the device of the stimulus."""
        one = self.one
        last = len(shape) == 3 and one.dim() == 4
        last = last and one.is_contiguous(memory_format=torch.channels_last)
        return torch.zeros((len(one), *shape), dtype=one.dtype, device=one.device).contiguous(
            memory_format=torch.channels_last if last else torch.contiguous_format
        )
