"""Which values mean black and white, where image files leave it open.

Integers of more than 8 bits rarely fill them: cameras and scanners have 10, 12 or 14. Images of 8
bits that hold 0 and 1, or numbers of classes, are all but black as they are.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from saf.data.dataset import Decision
from saf.data.formats.format import Candidate, NeedsChoiceError, Question
from saf.data.images.decode import Pixels, decode, header_of, values_of
from saf.data.images.sheet import COLUMNS, sheet, spread
from saf.data.images.survey import Read, Survey
from saf.data.sources.limits import LimitError, Limits
from saf.errors import DataError

Range = tuple[float, float]

BITS = (8, 10, 12, 14, 16)
DARK = 31
"""Of images of 8 bits, the largest value of all up to which they are taken for something else."""


def range_for(
    found: Survey, asked: Range | None, read: Read, limits: Limits
) -> tuple[Range | None, tuple[Decision, ...]]:
    """The range of images of more than 8 bits and of floats; None where there are none.

    Looks at all of them: b bits are taken where the largest value lies in the upper half of b bits,
    b among `BITS`; 0 to 1 where floats stay within. Raises NeedsChoiceError for anything else.
    """
    deep, floats = found.where(kind="deep"), found.where(kind="float")
    if asked is not None:
        told = Decision("value_range", said(asked), "the range that was asked for")
        return asked, (told,)
    if not deep and not floats:
        return None, ()
    names = [*deep, *floats]
    low, high = np.inf, -np.inf
    for name, load in read(frozenset(names)):
        try:
            values = values_of(name, load(), limits)
            if not np.isfinite(values).all():
                raise DataError(f"{name} holds NaN or infinite values")
        except LimitError as error:
            if error.limit != "max_image_pixels":
                raise
            found.damaged[name] = str(error)
        except DataError as error:
            found.damaged[name] = str(error)
        else:
            low, high = min(low, float(values.min())), max(high, float(values.max()))
    if not low <= high:
        return None, ()
    spans = f"values from {low:g} to {high:g}"
    if floats:
        if not deep and low >= 0 and high <= 1:
            why = f"{len(floats):,} images hold floats, {spans}"
            return (0, 1), (Decision("value_range", "0..1", why),)
        ranges: list[Range] = [(0, 255)] if high > 1 and high <= 255 and low >= 0 else []
        ranges.append((low, high) if low < high else (low, low + 1))
    else:
        for bits in BITS:
            if low >= 0 and 2 ** (bits - 1) <= high < 2**bits:
                why = (
                    f"{len(deep):,} images hold integers of more than 8 bits, {spans}: {bits} bits"
                )
                return (0, 2**bits - 1), (Decision("value_range", f"0..{2**bits - 1}", why),)
        whole = next((b for b in BITS if high < 2**b), 0)
        depths = sorted({b for b in (whole, 16) if b and high < 2**b})
        ranges = [(0, 2**b - 1) for b in depths] if low >= 0 else []
        ranges.append((low if low < 0 else 0, high) if high > min(low, 0) else (low, low + 1))
    raise _question(
        f"Which values are black and white? {len(names):,} images hold {spans}.",
        list(dict.fromkeys(ranges)),
        names,
        lambda name, blob, each: decode(name, blob, value_range=each, limits=limits),
        read,
    )


def check_dark(found: Survey, brightest: int, brightest_deep: int, read: Read) -> None:
    """Raise where bytes of images are all but black: NeedsChoiceError with what they may mean.

    `brightest` is the largest byte of all images, `brightest_deep` that of the images that have
    colours of 16 bits, of which the upper 8 were read.
    """
    deep = found.where(kind="deep colour")
    if deep and 0 < brightest_deep < 128:
        raise DataError(
            f"{len(deep):,} images, such as {deep[0]}, have colours of 16 bits and use the lower "
            f"{brightest_deep.bit_length() + 8} of them alone; of such images the upper 8 bits are "
            "read, which are all but black",
            hint="Scale their values so that white is 65535, or save them with 8 bits per channel.",
        )
    if not 0 < brightest <= DARK:
        return

    def look(name: str, blob: bytes, each: Range) -> Pixels:
        return table_for(each)[decode(name, blob)]

    names = sorted(found.headers)
    raise _question(
        f"Which values are black and white? All pixels of all images are from 0 to {brightest}, "
        "which of 0…255 is all but black.",
        [(0, brightest), (0, 255)],
        names,
        look,
        read,
    )


def table_for(each: Range) -> Pixels:
    """What each of the bytes 0…255 becomes where a range is said for images of 8 bits."""
    low, high = each
    scaled = (np.arange(256) - low) * (255 / (high - low))
    table: Pixels = np.clip(np.rint(scaled), 0, 255).astype(np.uint8)
    return table


def said(each: Range) -> str:
    """A range as the setting has it."""
    low, high = (str(int(x)) if float(x).is_integer() else repr(float(x)) for x in each)
    return f"{low}..{high}"


def _question(
    asks: str,
    ranges: list[Range],
    names: list[str],
    look: Callable[[str, bytes, Range], Pixels],
    read: Read,
) -> NeedsChoiceError:
    blobs = {}
    for name, load in read(frozenset(spread(names, COLUMNS))):
        try:
            blobs[name] = load()
            header_of(name, blobs[name])
        except DataError:
            blobs.pop(name, None)
    candidates = tuple(
        Candidate(
            said(each),
            f"{each[0]:g} is black, {each[1]:g} is white",
            sheet([(said(each), [look(name, blobs[name], each) for name in sorted(blobs)])]),
        )
        for each in ranges
    )
    return NeedsChoiceError("The images", (Question("value_range", asks, candidates),))
