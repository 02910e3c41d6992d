"""Inputs of a network: images that stay for all time steps, event frames, and series."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import isclose
from typing import NamedTuple

import torch
from torch import Tensor

from saf.estimate.chunking import MADE_AT_ONCE
from saf.model.operations import channels_last

FLAT_CHANNEL = 1e-4  # a deviation below which a channel says nothing and is not blown up
NO_DEVIATION = 1e-6  # what data sets say of channels that do not vary


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


Made = Callable[[int, int, Tensor | None], tuple[Tensor, Tensor | None]]
"""(first time step, number of them K, memory of those before) → the frames, K B C H W, and the
memory for the next."""


class Frames:
    """What the network gets at each of T time steps, made when it is asked for: of long sequences
    nothing but the samples themselves grows with T.

    The time steps that were made last are kept, with `behind` of those before for connections that
    read them later. Who asks for earlier ones begins again. Equal values come out whichever parts
    are asked for.
    """

    def __init__(self, made: Made, timesteps: int, behind: int = 0) -> None:
        self._made, self._timesteps, self._behind = made, timesteps, behind
        self._begin()
        assert self._kept is not None
        self.one = self._kept[0].clone()
        """B C H W: that of the first time step."""

    def __len__(self) -> int:
        return self._timesteps

    def __getitem__(self, t: int) -> Tensor:
        """B C H W: that of time step t, from 0."""
        return self.between(t, t + 1)[0]

    def between(self, first: int, end: int) -> Tensor:
        """K B C H W: those of the time steps from `first` up to and without `end`."""
        if first < self._first:
            self._begin()
        while self._end < end:
            self._go_on(min(max(end - self._end, MADE_AT_ONCE), self._timesteps - self._end), first)
        assert self._kept is not None
        return self._kept[first - self._first : end - self._first]

    def _begin(self) -> None:
        self._first = self._end = 0
        self._kept: Tensor | None = None
        self._memory: Tensor | None = None
        self._go_on(min(MADE_AT_ONCE, self._timesteps), 0)

    def _go_on(self, steps: int, wanted: int) -> None:
        """Make so many further time steps, and forget those that nobody will ask for: neither
        those from `wanted` on, nor as many before as connections read later."""
        made, self._memory = self._made(self._end, steps, self._memory)
        self._end += steps
        if self._kept is None:
            self._kept = made
            return
        first = max(self._first, min(wanted, self._end - steps) - self._behind)
        before = self._kept[first - self._first :]
        self._kept = channels_last(torch.cat([before, made])) if len(before) else made
        self._first = first


class Stimulus(NamedTuple):
    """A normalised input: an image that stays for T time steps, or a frame for each of them."""

    image: Tensor | None  # B C H W
    frames: Frames | None  # T B C H W

    @property
    def one(self) -> Tensor:
        """B C H W: the input of one time step."""
        if self.image is not None:
            return self.image
        assert self.frames is not None
        return self.frames.one

    def channels_last(self) -> Stimulus:
        """The same in the layout in which convolutions need no copies, which frames have."""
        return Stimulus(None if self.image is None else channels_last(self.image), self.frames)

    def zeros(self, shape: tuple[int, ...]) -> Tensor:
        """B `shape`, in the type, the layout and on the device of the stimulus."""
        one = self.one
        last = len(shape) == 3 and one.dim() == 4
        last = last and one.is_contiguous(memory_format=torch.channels_last)
        return torch.zeros((len(one), *shape), dtype=one.dtype, device=one.device).contiguous(
            memory_format=torch.channels_last if last else torch.contiguous_format
        )


def divisors(deviations: Sequence[float]) -> list[float]:
    """What each input channel is divided by: its deviation, or 1 where that is next to nothing.

    Where it is so in all channels, the samples are in a small unit, such as the volts of an EEG,
    and those channels are flat that are so beside the one that varies most.
    """
    varying = [own for own in deviations if not isclose(own, NO_DEVIATION, rel_tol=1e-6)]
    largest = max(varying, default=0.0)
    flat = FLAT_CHANNEL * (1.0 if largest > FLAT_CHANNEL else largest)
    return [own if own in varying and own > flat else 1.0 for own in deviations]
