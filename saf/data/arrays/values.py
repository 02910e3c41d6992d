"""The range of values that samples can have: decided where values leave one, else asked.

Images become bytes where their values are whole and in 0…255, else floats in [0, 1]. Counts of
event frames and the values of series are taken as they are.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from saf.data.arrays.stored.array import Stored
from saf.data.arrays.survey import Survey, together
from saf.data.dataset import Array
from saf.data.formats.settings import ends_of
from saf.errors import DataError

FEATURES = ("N C", "C N")
"""The axes of features."""
_DARK = 128  # integers that stay below may have another range than 0…255
_TRUTH = "truth values are black and white"
_BELOW = -0.25  # floats as low as that are of a range that has 0 in its middle
_LEVELS = 256  # values of a feature that are to be told apart
_TINY = 1 / 128  # floats that stay below may have been divided by 255 twice


@dataclass(frozen=True)
class Range:
    """The lowest and highest value that samples can have."""

    low: float
    high: float
    why: str

    def __str__(self) -> str:
        return f"{_number(self.low)}..{_number(self.high)}"

    def scaled(self, block: Array) -> Array:
        """Values as floats in [0, 1]."""
        wide = block.dtype.itemsize > 4
        values: Array = block.astype(np.float64 if wide else np.float32)
        return values if (self.low, self.high) == (0, 1) else self._shares(values)

    def _shares(self, values: Array) -> Array:
        shares: Array = np.subtract(values, self.low) / (self.high - self.low)
        return shares


@dataclass(frozen=True)
class OpenRange:
    """More than one range fits, or one that should be confirmed."""

    found: str
    candidates: tuple[tuple[str, str], ...]
    """Values of the setting, with what each means."""


def range_of(surveys: Mapping[str, Survey]) -> dict[str, Range] | OpenRange:
    """The range of the pixels of each split. Raises DataError where splits have different ones."""
    kinds = {each.is_integer for each in surveys.values()}
    if len(kinds) > 1:  # bytes here, floats there: both must be clear
        each = {split: _range(one) for split, one in surveys.items()}
        if all(isinstance(found, Range) for found in each.values()):
            return {split: found for split, found in each.items() if isinstance(found, Range)}
        _refuse(surveys)
    if _differ(surveys) or _of_different_types(surveys):
        _refuse(surveys)
    truth = any(each.kind == "b" for each in surveys.values())
    one = Range(0, 1, _TRUTH) if truth else _range(together(surveys.values()))
    return one if isinstance(one, OpenRange) else dict.fromkeys(surveys, one)


def range_of_features(surveys: Mapping[str, Survey]) -> Range:
    """From the lowest value of all features to the highest."""
    found = together(surveys.values())
    low, high = ends_of(_ends(found.lowest, max(found.highest, found.lowest + 1)))
    above = f"value + {_number(-low)}" if low < 0 else f"value - {_number(low)}"
    why = f"a network takes ({above}) / {_number(high - low)} of each feature, and "
    return Range(low, high, why + "normalises it by its own mean and deviation")


def check_features(arrays: Iterable[Stored], order: str, ranges: Mapping[str, Range]) -> None:
    """DataError where the values of a feature can hardly be told apart in float32, counted from the
    lowest of all features: a ratio beside a balance that goes below −1,000,000."""
    lowest: Array | None = None
    highest: Array | None = None
    for array in arrays:
        axes = order.split()[:: -1 if array.fortran else 1]
        channels = array.shape[order.split().index("C")]
        low, high = np.full(channels, np.inf), np.full(channels, -np.inf)
        for index, block in array.blocks():
            own = index[axes.index("C")]
            values = block.astype(np.float64).reshape([part.stop - part.start for part in index])
            low[own] = np.minimum(low[own], values.min(axis=axes.index("N")))
            high[own] = np.maximum(high[own], values.max(axis=axes.index("N")))
        lowest = low if lowest is None else np.minimum(lowest, low)
        highest = high if highest is None else np.maximum(highest, high)
    assert lowest is not None
    assert highest is not None
    widths, above = highest - lowest, highest - min(one.low for one in ranges.values())
    steps = above * float(np.finfo(np.float32).eps)  # between neighbouring numbers up there
    lost = np.flatnonzero((widths > 0) & (widths < _LEVELS * steps))
    if len(lost):
        which, widest = int(lost[0]), int(widths.argmax())
        raise DataError(
            f"{len(lost)} of {len(widths)} features would be lost beside the others in float32: "
            f"feature {which} (counted from 0) from {_number(lowest[which])} to "
            f"{_number(highest[which])}, feature {widest} from {_number(lowest[widest])} to "
            f"{_number(highest[widest])}",
            hint="Scale each feature by its own mean and deviation, those of the training samples "
            "in all splits (scikit-learn's StandardScaler), or leave out what is no feature, such "
            "as an identifier.",
        )


def said_range(value: str, surveys: Mapping[str, Survey]) -> dict[str, Range]:
    """The range that the owner said. Raises DataError where values are outside."""
    low, high = ends_of(value)
    for split, each in surveys.items():
        if each.lowest < low or each.highest > high:
            raise DataError(
                f"x_{split} holds values from {_number(each.lowest)} to {_number(each.highest)}; "
                f"the value range {value} was said",
                hint="Say a range that holds all values, such as "
                f"'{_number(min(low, each.lowest))}..{_number(max(high, each.highest))}', or clip "
                "the values.",
            )
    if _differ(surveys) or len({each.is_integer for each in surveys.values()}) > 1:
        _refuse_if_apart(surveys, low, high)
    return dict.fromkeys(surveys, Range(low, high, ""))


def _range(values: Survey) -> Range | OpenRange:
    low, high = values.lowest, values.highest
    if values.kind == "b":
        return Range(0, 1, _TRUTH)
    if values.is_integer:
        return _of_integers(values)
    found = f"floats from {_number(low)} to {_number(high)}"
    if low < 0:
        return _around_zero(found, low, high)
    if high <= 1:
        if 0 < high < _TINY:
            return OpenRange(
                found,
                (
                    (_ends(0, max(high, 1 / 255)), "they were divided by 255 twice"),
                    ("0..1", "as they are: all but black"),
                ),
            )
        return Range(0, 1, "")
    if high <= 255:
        ways = [("0..255", "divided by 255")]
    else:
        ways = [(f"0..{top}", f"values of {bits} bits") for bits, top in _BITS if high <= top]
    if not values.whole or high < _DARK:
        ways.append((_ends(0, high), "the highest value found is white"))
    return OpenRange(found, tuple(dict(ways).items()))


_BITS = ((10, 1023), (12, 4095), (14, 16383), (16, 65535))


def _of_integers(values: Survey) -> Range | OpenRange:
    low, high = int(values.lowest), int(values.highest)
    found = f"integers from {low} to {high}"
    if low < 0:
        ways = [("-128..127", "bytes with a sign")] if low >= -128 and high <= 127 else []
        ways.append(("-32768..32767", "16 bits with a sign"))
        ways.append((f"{low}..{high}", "the lowest value is black, the highest white"))
        return OpenRange(found, tuple(dict(ways).items()))
    if high == 255 or _DARK <= high < 255:
        return Range(0, 255, "" if values.itemsize == 1 else "whole numbers in 0…255 are bytes")
    if high == 0:
        return Range(0, 255, "")
    if high < _DARK:
        tops = [1, 15, 16, 31, 63, 100, 127]
        top = next(each for each in tops if high <= each)
        ways = [(f"0..{top}", f"{top} is white")]
        if top != high:
            ways.append((f"0..{high}", f"the highest value found, {high}, is white"))
        ways.append(("0..255", "bytes as they are: dark images"))
        return OpenRange(found, tuple(ways))
    exact = next((bits for bits, top in _BITS if high == top), None)
    if exact is not None:
        return Range(0, high, f"{high} is the highest value of {exact} bits")
    fitting = [(bits, top) for bits, top in _BITS if high <= top]
    if fitting and fitting[0][0] == 16:
        return Range(0, 65535, f"values up to {high} take 16 bits")
    ways = [(f"0..{top}", f"values of {bits} bits") for bits, top in (*fitting[:1], *fitting[-1:])]
    ways.append((f"0..{high}", f"the highest value found, {high}, is white"))
    return OpenRange(found, tuple(dict(ways).items()))


def _around_zero(found: str, low: float, high: float) -> OpenRange:
    ways = []
    if low >= -1 and high <= 1:
        ways.append(("-1..1", "-1 is black, 1 is white, as of x / 127.5 - 1"))
    elif low >= -0.5 and high <= 0.5:
        ways.append(("-0.5..0.5", "-0.5 is black, 0.5 is white"))
    else:
        most = math.ceil(max(-low, high))
        ways.append((f"-{most}..{most}", "standardised values, gray is 0"))
    ways.append((_ends(low, high), "the lowest value is black, the highest white"))
    return OpenRange(found, tuple(dict(ways).items()))


def _differ(surveys: Mapping[str, Survey]) -> bool:
    """Whether splits were scaled differently: one fills [0, 1], another goes far beyond; or one
    has negative values and another none."""
    tops = [max(abs(each.highest), abs(each.lowest)) for each in surveys.values()]
    tops = [top for top in tops if top > 0]  # black samples are black in any range
    if len(tops) < 2:
        return False
    if min(tops) <= 1 < 16 <= max(tops) or _differ_in_sign(surveys):
        return True
    return max(tops) > 64 * max(min(tops), 1e-12) and max(tops) > _TINY


def _differ_in_sign(surveys: Mapping[str, Survey]) -> bool:
    """Whether floats of one split lie around 0, as of x / 127.5 - 1, and of another above it."""
    lows = [each.lowest for each in surveys.values() if each.highest > 0 and not each.is_integer]
    return min(lows, default=0) <= _BELOW and max(lows, default=-1) >= 0


def _of_different_types(surveys: Mapping[str, Survey]) -> bool:
    """Whether some splits hold truth values or bytes, and others more than those can."""
    for kind, most in (("b", 1), ("u", 255)):
        if any(each.kind == kind and each.itemsize == 1 for each in surveys.values()):
            found = together(surveys.values())
            return found.lowest < 0 or found.highest > most
    return False


def _refuse(surveys: Mapping[str, Survey]) -> None:
    ranges = " and ".join(
        f"x_{split} {'integers' if each.is_integer else 'floats'} from {_number(each.lowest)} to "
        f"{_number(each.highest)}"
        for split, each in surveys.items()
    )
    raise DataError(
        f"the splits hold values of different ranges: {ranges}",
        hint="Scale all splits alike: bytes in 0…255, or floats in [0, 1].",
    )


def _refuse_if_apart(surveys: Mapping[str, Survey], low: float, high: float) -> None:
    """One range for all splits is wrong where one of them fills a small part of it."""
    if _differ_in_sign(surveys) or any(
        high > 16 and low >= 0 and 0 < each.highest <= 1 and not each.is_integer
        for each in surveys.values()
    ):
        _refuse(surveys)


def _number(value: float) -> str:
    """For messages."""
    return f"{value:.0f}" if value == int(value) and abs(value) < 1e15 else f"{value:.6g}"


def _ends(low: float, high: float) -> str:
    """A range of few digits that holds both."""
    return f"{_outwards(low, math.floor)}..{_outwards(high, math.ceil)}"


def _outwards(value: float, rounded: Callable[[float], int]) -> str:
    if value == int(value) and abs(value) < 1e15:
        return f"{value:.0f}"
    unit = 10.0 ** (math.floor(math.log10(abs(value))) - 5)
    text = f"{rounded(value / unit) * unit:.6g}"
    inside = float(text) <= value if rounded is math.floor else float(text) >= value
    return text if inside else repr(value)
