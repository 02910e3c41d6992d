"""Mean and deviation of each channel, as a network normalises by them, and the values that would
rule them alone.

Event counts in floats have no largest value. A single broken sample or pixel with counts far above
the others makes up nearly all of the variance of its channel, and everything else is then scaled
down to nothing. Such values are found by a rule and left out:

- they are more than 128 times the median of the positive values of the channel,
- they make up 99 % or more of its sum of squares,
- and they lie in a few places: in at most 5 % of the samples, of the time steps or of the pixels,
  or in a single one.

Where they lie all over, they are what there is to see. Images, whose values end at 1, and counts in
bytes are never changed by it; of float images such values are found and left in.

Shapes: N samples, T time steps (1 for images), C channels, H × W pixels (1 × 1 of series).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from math import log2
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from saf.data.blocks import blocks, bounds

Array = NDArray[Any]
Axis = Literal["sample", "time step", "pixel"]

TIMES_THE_MEDIAN = 2**7
SHARE_OF_SQUARES = 0.99
FEW = 0.05  # of all samples, time steps or pixels
LEAST_DEVIATION = 1e-6
ROUNDING = 2.0**-23
"""Of the mean: a deviation of values in a unit of their own, up to which they are constant but for
their last bits."""
FLAT_CHANNEL = 1e-4
"""A deviation of brightness or counts below which a channel says nothing and is not blown up."""
CANCELLED = 1e-9
"""Variance over squared mean, below which the difference of two sums has too few digits left."""
_EXPONENTS = 256
NAMED = 5  # samples, steps or pixels that a message names

logger = logging.getLogger(__name__)


class Statistics(NamedTuple):
    """Of the values as a network sees them."""

    mean: NDArray[np.float32]  # C
    deviation: NDArray[np.float32]
    """C; at least `LEAST_DEVIATION`, which of series and features those channels alone have that
    are constant: a signal may be in volts or in teslas."""


class Extremes(NamedTuple):
    """Values of a channel that make up nearly all of its sum of squares, in a few places."""

    channel: int
    above: float
    """Larger values are extreme."""
    largest: float
    share: float
    """Of the sum of squares of the channel."""
    axis: Axis
    """What they are in a few of."""
    places: tuple[int, ...]
    """Which samples, steps, or pixels (counted row by row)."""
    size: int
    """Samples, steps or pixels that there are."""

    @property
    def message(self) -> str:
        """What was found, in words."""
        named = ", ".join(map(str, self.places[:NAMED])) + (", …" * (len(self.places) > NAMED))
        return (
            f"in channel {self.channel}, values of up to {self.largest:g} in {len(self.places)} of "
            f"{self.size} {self.axis}s ({named}) make up {100 * self.share:.4g} % of the sum of "
            f"squares; half of the positive values are below {self.above / TIMES_THE_MEDIAN:.3g}"
        )


def frames_of(x: Array) -> Array:
    """`x` with all axes, a view: series N T C become N T C 1 1; the others are what they are."""
    return x[..., None, None] if x.ndim == 3 else x


def channel_statistics(x: Array, unit: int = 255, lengths: Array | None = None) -> Statistics:
    """Of `x`, N C H W, N T C H W or N T C; uint8 counts as value / unit. Of padded samples
    `lengths` (N) time steps are their own, and the others do not count. Memory stays bounded.

    Extreme values of event frames in floats are left out; see the module.
    """
    left_out = extremes(x) if x.ndim == 5 else []
    in_own_unit = x.ndim == 3 or (x.ndim == 4 and x.shape[2:] == (1, 1))  # series, features
    x = frames_of(x)
    channels = x.shape[-3]
    total, squares, count = _sums(x, np.zeros(channels), lengths=lengths)
    for _, message in told(left_out):
        logger.warning("left out of the normalisation: %s", message)
    above = None
    if left_out:
        above = np.full(channels, np.inf)
        for found in left_out:
            above[found.channel] = found.above
        total, squares, count = _sums(x, np.zeros(channels), above, lengths)
    mean = total / count
    variance = np.maximum(squares / count - mean**2, 0.0)
    if (variance < CANCELLED * mean**2).any():
        _, around, _ = _sums(x, mean, above, lengths)
        variance = np.where(variance < CANCELLED * mean**2, around / count, variance)
    divisor = float(unit) if x.dtype == np.uint8 else 1.0
    deviation = np.sqrt(variance) / divisor
    if in_own_unit:
        flat = deviation <= ROUNDING * np.abs(mean) / divisor
        constant = np.float32(LEAST_DEVIATION)
        # One that varies by just as much is not to be taken for one that does not.
        deviation = np.where(deviation.astype(np.float32) == constant, 1.001 * constant, deviation)
        deviation = np.where(flat, constant, deviation)
    else:
        deviation = np.maximum(deviation, LEAST_DEVIATION)
    return Statistics((mean / divisor).astype(np.float32), deviation.astype(np.float32))


def divisors(deviation: Sequence[float], shape: Sequence[int]) -> list[float]:
    """What a network divides the values of each channel by, for samples of `shape` (C H W): the
    deviation, or 1 where the channel says nothing. Values without a place, as those of series, may
    be of any size, and then say nothing where they are constant."""
    least = float(np.float32(LEAST_DEVIATION))
    if tuple(shape[1:]) == (1, 1):
        return [1.0 if own == least else own for own in deviation]
    return [own if own > FLAT_CHANNEL else 1.0 for own in deviation]


def extremes(x: Array) -> list[Extremes]:
    """The extreme values of each channel of `x` that has some; [] for bytes."""
    if x.dtype == np.uint8:
        return []
    bounds, shares = _bounds(x)
    if not np.isfinite(bounds).any():
        return []
    frames = x if x.ndim == 5 else x[:, None]
    return [
        found
        for channel in np.flatnonzero(np.isfinite(bounds))
        if (found := _in_few_places(frames, int(channel), bounds[channel], shares[channel]))
    ]


def told(found: Sequence[Extremes]) -> list[tuple[Axis, str]]:
    """What was found, in words, once for each axis: of the first channel, with the number of the
    others."""
    by_axis: dict[Axis, list[Extremes]] = {}
    for extreme in found:
        by_axis.setdefault(extreme.axis, []).append(extreme)
    return [
        (axis, own[0].message + (f"; {len(own) - 1} further channels" if len(own) > 1 else ""))
        for axis, own in by_axis.items()
    ]


def _sums(
    x: Array, around: Array, above: Array | None = None, lengths: Array | None = None
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Sum, sum of squares of the differences from `around` (C), and number of the values of each
    channel; without those larger than `above` (C), and those behind the end of a sample."""
    channels = x.shape[-3]
    total, squares, count = (np.zeros(channels, np.float64) for _ in range(3))
    for start, stop in bounds(x):
        chunk = x[start:stop]
        by_channel = np.moveaxis(chunk, -3, 0).reshape(channels, -1).astype(np.float64)
        kept = None if above is None else by_channel <= above[:, None]
        if lengths is not None:
            own = np.arange(x.shape[1]) < lengths[start:stop, None]
            own = np.broadcast_to(own[:, :, None, None], (*own.shape, *x.shape[-2:])).reshape(-1)
            kept = np.broadcast_to(own, by_channel.shape) if kept is None else kept & own
        if kept is not None:
            count += kept.sum(axis=1)
            by_channel = np.where(kept, by_channel, around[:, None])
            total += (by_channel * kept).sum(axis=1)
        else:
            count += by_channel.shape[1]
            total += by_channel.sum(axis=1)
        if around.any():
            by_channel = by_channel - around[:, None]
        squares += np.einsum("cn,cn->c", by_channel, by_channel)
    return total, squares, count


def _bounds(x: Array) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Above which values of each channel are extreme, infinity where they are not, and their share
    of the sum of squares."""
    channels = x.shape[-3]
    counts = np.zeros((channels, _EXPONENTS), np.int64)
    squares = np.zeros((channels, _EXPONENTS), np.float64)
    for chunk in blocks(x):
        by_channel = np.ascontiguousarray(np.moveaxis(chunk, -3, 0)).reshape(channels, -1)
        for channel, values in enumerate(by_channel):
            positive = values[values > 0]
            exponents = positive.view(np.uint32) >> 23
            counts[channel] += np.bincount(exponents, minlength=_EXPONENTS)
            wide = positive.astype(np.float64)
            squares[channel] += np.bincount(exponents, wide * wide, minlength=_EXPONENTS)
    counts[:, 0] = squares[:, 0] = 0  # numbers so small that they are as good as zero
    bounds, shares = np.full(channels, np.inf), np.zeros(channels)
    for channel in np.flatnonzero(counts.any(axis=1)).tolist():
        up_to = np.cumsum(counts[channel])
        median = int(np.searchsorted(up_to, (up_to[-1] + 1) // 2))  # its power of two
        first = median + 1 + int(log2(TIMES_THE_MEDIAN))
        share = squares[channel, first:].sum() / squares[channel].sum()
        if share >= SHARE_OF_SQUARES:
            bounds[channel] = np.nextafter(np.float32(2.0 ** (first - 127)), np.float32(0))
            shares[channel] = share
    return bounds, shares


def _in_few_places(frames: Array, channel: int, above: float, share: float) -> Extremes | None:
    """Where the values of a channel above a bound lie; None where that is nowhere in particular."""
    samples, steps, _, height, width = frames.shape
    places: dict[Axis, NDArray[np.bool_]] = {
        "sample": np.zeros(samples, np.bool_),
        "time step": np.zeros(steps, np.bool_),
        "pixel": np.zeros(height * width, np.bool_),
    }
    largest, start = 0.0, 0
    for chunk in blocks(frames):
        own = chunk[:, :, channel].reshape(len(chunk), steps, height * width)
        extreme = own > above
        places["sample"][start : start + len(chunk)] = extreme.any(axis=(1, 2))
        places["time step"] |= extreme.any(axis=(0, 2))
        places["pixel"] |= extreme.any(axis=(0, 1))
        largest = max(largest, float(own.max()))
        start += len(chunk)
    for axis, hit in places.items():
        if len(hit) > 1 and hit.sum() <= max(1, int(FEW * len(hit))):
            where = tuple(np.flatnonzero(hit).tolist())
            return Extremes(channel, above, largest, float(share), axis, where, len(hit))
    return None
