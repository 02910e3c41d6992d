"""Which values mean black and white, where image files leave it open.

Integers of more than 8 bits rarely fill them: cameras and scanners have 10, 12 or 14. Images of 8
bits that hold 0 and 1, or numbers of classes, are all but black as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from saf.data.dataset import SPLITS, Decision
from saf.data.formats.format import Candidate, NeedsChoiceError, Question
from saf.data.images.decode import Pixels, decode, header_of, values_of
from saf.data.images.sheet import COLUMNS, sheet, spread
from saf.data.images.survey import Read, Survey
from saf.data.sources.limits import LimitError, Limits
from saf.errors import DataError

Range = tuple[float, float]

BITS = (8, 10, 12, 14, 16)
_BEYOND = 16  # floats beyond are no shares of 1
DARK = 31
"""Of images of 8 bits, the largest value of all up to which they are taken for something else."""


def range_for(
    found: Survey,
    asked: Range | None,
    split_of: Mapping[str, str],
    read: Read,
    limits: Limits,
) -> tuple[Range | None, tuple[Decision, ...]]:
    """The range of images of more than 8 bits and of floats; None where there are none.

    Looks at all of them: b bits are taken where the largest value lies in the upper half of b bits,
    b among `BITS`; 0 to 1 where floats stay within. Raises NeedsChoiceError for anything else, and
    DataError where the splits, by the name of an image in `split_of`, have different ranges.
    """
    deep, floats = found.where(kind="deep"), found.where(kind="float")
    why = "" if asked is None else _asked(found, asked)
    if not deep and not floats:
        return asked, () if asked is None else (Decision("value_range", said(asked), why),)
    names = [*deep, *floats]
    low, high = np.inf, -np.inf
    tops: dict[str, float] = {}
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
            if values.size:
                least, most = float(values.min()), float(values.max())
                low, high, split = min(low, least), max(high, most), split_of[name]
                tops[split] = max(tops.get(split, 0), most, -least)
    _check_alike(tops, said_so=asked is not None, floats=bool(floats))
    spans = f"values from {low:g} to {high:g}"
    if asked is not None:
        if low < asked[0] or high > asked[1]:
            why += f"; they hold {spans}, and those outside are cut off"
        return asked, (Decision("value_range", said(asked), why),)
    if not low <= high:
        return None, ()
    if floats:
        if not deep and low >= 0 and (DARK / 255 < high <= 1 or high == 0):
            why = f"{len(floats):,} images hold floats, {spans}"
            return (0, 1), (Decision("value_range", "0..1", why),)
        ranges: list[Range] = [(0, 255)] if high > 1 and high <= 255 and low >= 0 else []
        if low >= 0 and high <= 1:
            ranges = [(0, high), (0, 1)]
        elif low < high:
            ranges.append((low, high))
        else:
            ranges.append((low, low + 1))
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


def _check_alike(tops: Mapping[str, float], *, said_so: bool, floats: bool) -> None:
    """Raise DataError where splits were scaled differently. `tops` are the largest values of each;
    where a range is said, it is wrong where floats of one split fill [0, 1] alone."""
    lowest, highest = min(tops.values(), default=0), max(tops.values(), default=0)
    if said_so:
        apart = floats and lowest <= 1 and highest >= _BEYOND
    else:
        apart = lowest * 255 <= DARK * highest and highest > 0
    if apart:
        raise _apart(
            " and ".join(f"the {SPLITS[s]} images up to {tops[s]:g}" for s in SPLITS if s in tops),
            "Scale the images of all splits alike.",
        )


def _apart(ranges: str, hint: str) -> DataError:
    return DataError(f"the splits hold values of different ranges: {ranges}", hint=hint)


def _asked(found: Survey, asked: Range) -> str:
    """Why a range that was asked for is taken, and of which images. Raises DataError where it is of
    other images than there are."""
    deep = [*found.where(kind="deep"), *found.where(kind="float")]
    colour, plain = found.where(kind="deep colour"), found.where(kind="bytes")
    low, high = asked
    if not deep and not colour and plain and (low < 0 or high > 255):
        raise DataError(
            f"value_range: all images have 8 bits, so that their values are from 0 to 255, and not "
            f"from {low:g} to {high:g}",
            hint="Leave value_range out, or say one within '0..255'.",
        )
    if colour and not found.where(kind="float") and not (low >= 0 and 2**15 <= high - low < 2**16):
        raise DataError(
            f"value_range: {len(colour):,} images, such as {colour[0]}, have colours of 16 bits, "
            f"of which the upper 8 bits are read: from {low:g} to {high:g} next to nothing is left",
            hint="Scale their values so that white is 65535, or save them with 8 bits per channel.",
        )
    if (deep or colour) and plain:
        return (
            f"the range that was asked for, of {len(deep) + len(colour):,} images of more than 8 "
            f"bits; {len(plain):,} of 8 bits are from 0 to 255"
        )
    return "the range that was asked for"


def tables_for(found: Survey, asked: Range | None) -> dict[str, Pixels]:
    """What each of the bytes 0…255 becomes where a range is said, by kind of image: of images of 8
    bits, if there are no deeper ones, and of colours of 16 bits, of which the upper 8 are read."""
    if asked is None or found.where(kind="float"):
        return {}
    if found.where(kind="deep colour"):
        return {"deep colour": table_for((asked[0] / 257, asked[1] / 257))}
    return {} if found.where(kind="deep") else {"bytes": table_for(asked)}


def check_dark(
    found: Survey, brightest: Mapping[str, int], brightest_deep: int, read: Read
) -> None:
    """Raise where bytes of images are all but black: NeedsChoiceError with what they may mean.

    `brightest` is the largest byte of the images of each split, `brightest_deep` that of the images
    that have colours of 16 bits, of which the upper 8 were read.
    """
    deep = found.where(kind="deep colour")
    if deep and brightest_deep < 128:
        lower = "8" if brightest_deep == 0 else f"{brightest_deep.bit_length() + 8}"
        raise DataError(
            f"{len(deep):,} images, such as {deep[0]}, have colours of 16 bits and use the lower "
            f"{lower} of them alone; of such images the upper 8 bits are "
            f"read, which are {'black' if brightest_deep == 0 else 'all but black'}",
            hint="Scale their values so that white is 65535, or save them with 8 bits per channel.",
        )
    most = max(brightest.values(), default=0)
    if most > DARK:
        for split, own in brightest.items():
            if 0 < own <= DARK:
                bright = next(other for other, top in brightest.items() if top > DARK)
                raise _apart(
                    f"the {SPLITS[split]} images from 0 to {own}, the {SPLITS[bright]} images to "
                    f"{brightest[bright]}",
                    "Save the images of both with values from 0 to 255.",
                )
    if not 0 < most <= DARK:
        return

    def look(name: str, blob: bytes, each: Range) -> Pixels:
        return table_for(each)[decode(name, blob)]

    names = sorted(found.headers)
    raise _question(
        f"Which values are black and white? All pixels of all images are from 0 to {most}, "
        "which of 0…255 is all but black.",
        [(0, most), (0, 255)],
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
