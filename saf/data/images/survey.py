"""What image files say of themselves, looked at before any is decoded: sizes, kinds, damage."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field

import numpy as np

from saf.data.dataset import Decision
from saf.data.formats.format import Candidate, NeedsChoiceError, Question
from saf.data.images.decode import Header, decode, header_of
from saf.data.images.sheet import COLUMNS, sheet, spread
from saf.data.sources.limits import LimitError, Limits
from saf.errors import DataError

Load = Callable[[], bytes]
Read = Callable[[Collection[str]], Iterator[tuple[str, Load]]]
"""Yields the wanted files by name, in the order that costs least; each is loaded before the next
is asked for. Loading raises DataError where one file alone is damaged."""

USUAL_SIDE = 64
"""The longest side that images of many sizes are given unless told: that of Tiny ImageNet, four
times the pixels and the work of CIFAR's. Spiking networks cost T times an ordinary one, and one
that trains at 224 × 224 does not on a CPU."""
ALIKE = 1.1  # proportions (95th by 5th percentile) up to which images have the same
LONG = 2.0  # times longer than high, or higher than long: a square keeps less than a half …
MANY_LONG = 0.25  # … and this share of them is a question


@dataclass
class Survey:
    """All images of a data set by their headers."""

    headers: dict[str, Header] = field(default_factory=dict)
    damaged: dict[str, str] = field(default_factory=dict)
    """Files that cannot be read, each with the reason."""

    def where(self, **facts: object) -> list[str]:
        """The files whose headers say so, in the order of their names."""
        return sorted(
            name
            for name, header in self.headers.items()
            if all(getattr(header, key) == value for key, value in facts.items())
        )

    @property
    def sizes(self) -> Counter[tuple[int, int]]:
        """How many files have each width and height."""
        return Counter((each.width, each.height) for each in self.headers.values())

    @property
    def channels(self) -> int:
        """3 where any image has colours, else 1."""
        return max((each.channels for each in self.headers.values()), default=1)


def survey(read: Read, names: Collection[str]) -> Survey:
    """Look at the headers of files. Raises DataError where the archive itself is damaged."""
    found = Survey()
    for name, load in read(names):
        try:
            found.headers[name] = header_of(name, load())
        except LimitError:
            raise
        except DataError as error:
            found.damaged[name] = str(error)
    return found


def size_for(
    found: Survey, asked: tuple[int, int] | None, read: Read, limits: Limits
) -> tuple[tuple[int, int] | None, tuple[Decision, ...]]:
    """Width and height that all images are brought to, None where they are left as they are.

    Images of one size are left alone. Others cover a size and are cropped to it in the middle:
    that which was asked for; else, where all have nearly the same proportions, the median of the
    shorter sides in these proportions; else a square of the median of the shorter sides; at most
    `USUAL_SIDE` pixels on a side. Raises NeedsChoiceError where a square would keep less than half
    of many images.
    """
    sizes = found.sizes
    if not sizes:
        return asked, ()
    only = next(iter(sizes)) if len(sizes) == 1 else None
    fits = only is not None and max(only) <= limits.max_image_side
    if (asked is None and fits) or (asked is not None and only == asked):
        return None, ()
    chosen = asked or _usual(found, read, limits)
    if max(chosen) > limits.max_image_side:
        raise LimitError(
            f"size {chosen[0]}x{chosen[1]} is more than {limits.max_image_side} pixels on a side",
            limit="max_image_side",
            hint="Say a smaller size.",
        )
    smallest, largest = min(sizes, key=_area), max(sizes, key=_area)
    seen = (
        f"all images have {only[0]} × {only[1]} pixels"
        if only
        else f"the images have {len(sizes):,} sizes, from {smallest[0]} × {smallest[1]} to "
        f"{largest[0]} × {largest[1]} pixels"
    )
    rule = (
        "the size that was asked for"
        if asked
        else f"the median of the shorter sides, at most {USUAL_SIDE} pixels on a side"
    )
    why = (
        f"{seen}; each is scaled until it covers {chosen[0]} × {chosen[1]} and cropped to that in "
        f"the middle, {rule}"
    )
    return chosen, (Decision("size", f"{chosen[0]}x{chosen[1]}", why),)


def _area(size: tuple[int, int]) -> int:
    return size[0] * size[1]


def _usual(found: Survey, read: Read, limits: Limits) -> tuple[int, int]:
    widths, heights = np.array([(h.width, h.height) for h in found.headers.values()], float).T
    side = max(1, int(np.median(np.minimum(widths, heights))))
    proportions = widths / heights
    low, middle, high = np.percentile(proportions, (5, 50, 95))
    as_they_are = _within(side, float(middle))
    if high / low <= ALIKE:
        return as_they_are
    square = (min(side, USUAL_SIDE),) * 2
    long = np.maximum(proportions, 1 / proportions) > LONG
    if long.mean() <= MANY_LONG or as_they_are == square:
        return square
    candidates = tuple(
        Candidate(
            f"{width}x{height}",
            f"every image scaled until it covers {width} × {height} pixels, and cropped to that",
            _picture(found, (width, height), read, limits),
        )
        for width, height in (square, as_they_are)
    )
    asks = (
        f"To which size are the images to be brought? {long.sum():,} of {len(long):,} are more "
        "than twice as long as high, or as high as long, so that a square keeps less than half."
    )
    raise NeedsChoiceError("The images", (Question("size", asks, candidates),))


def _within(side: int, proportion: float) -> tuple[int, int]:
    """Width and height in a proportion, the shorter side as given or the longer `USUAL_SIDE`."""
    longer = min(side * max(proportion, 1 / proportion), USUAL_SIDE)
    shorter = longer / max(proportion, 1 / proportion)
    sides = max(1, round(longer)), max(1, round(shorter))
    return sides if proportion >= 1 else sides[::-1]


def _picture(found: Survey, size: tuple[int, int], read: Read, limits: Limits) -> bytes:
    shown = []
    for name, load in read(spread(sorted(found.headers), COLUMNS)):
        try:
            shown.append(decode(name, load(), size=size, limits=limits))
        except DataError:
            continue  # told later, with all others
    return sheet([(f"{size[0]} x {size[1]}", shown)])
