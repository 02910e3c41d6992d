"""Many image files as arrays, one for each split, filled row by row.

Shapes: N images, C channels (1 or 3), H × W pixels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from saf.data.dataset import SPLITS, Decision
from saf.data.images.decode import Background, Pixels, decode
from saf.data.images.sheet import spread
from saf.data.images.survey import Read, Survey, size_for, survey
from saf.data.images.values import Range, check_dark, range_for, tables_for
from saf.data.sources.limits import Budget, LimitError, Limits
from saf.data.sources.source import Source
from saf.errors import DataError

NAMED = 40
"""Damaged files that a refusal names."""
_LOOKED_AT = 64  # transparent images that the background is chosen by


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What the owner of image files says about reading them; None leaves it to the rules here."""

    size: tuple[int, int] | None = None
    """Width × height."""
    value_range: Range | None = None
    background: Background | None = None
    on_damaged: Literal["refuse", "skip"] | None = None


@dataclass(frozen=True)
class Stacks:
    """Images as arrays, and what was decided about them."""

    x: dict[str, Pixels]
    """`N C H W` by split."""
    kept: dict[str, NDArray[np.bool_]]
    """Which of the planned rows are there, by split: all but those of skipped files."""
    decisions: tuple[Decision, ...]
    skipped: tuple[str, ...]


def stacked(
    source: Source,
    read: Read,
    places: Mapping[str, tuple[str, int]],
    rules: Rules,
    limits: Limits,
) -> Stacks:
    """All images at their places, each a split and a row; rows count from 0 without gaps.

    Sizes, channels and kinds are looked at first. Raises DataError that names all damaged files,
    unless they are skipped, and NeedsChoiceError where sizes or values leave open how to read them.
    """
    found = survey(read, places.keys())
    _check_damage(found, len(places), rules)
    size, sized = size_for(found, rules.size, read, limits)
    split_of = {name: split for name, (split, _) in places.items()}
    value_range, ranged = range_for(found, rules.value_range, split_of, read, limits)
    background, laid = _background(found, rules.background, size, read, limits)
    width, height = size or next(iter(found.sizes))
    shape = (found.channels, height, width)
    counts = {split: 0 for split, _ in places.values()}
    for split, _ in places.values():
        counts[split] += 1
    _check_memory(source, len(places), shape, limits)
    x: dict[str, Pixels] = {
        split: source.allocate(f"x_{split}", (count, *shape), np.uint8)
        for split, count in counts.items()
    }
    kept = {split: np.zeros(count, np.bool_) for split, count in counts.items()}
    tables = tables_for(found, rules.value_range)
    brightest, brightest_deep = dict.fromkeys(x, 0), 0
    for name, load in read([name for name in places if name not in found.damaged]):
        try:
            image = decode(
                name,
                load(),
                size=size,
                background=background,
                value_range=value_range,
                limits=limits,
            )
        except LimitError as error:
            if error.limit != "max_image_pixels":
                raise
            found.damaged[name] = str(error)
            continue
        except DataError as error:
            found.damaged[name] = str(error)
            continue
        kind = found.headers[name].kind
        if kind in tables:
            image = tables[kind][image]
        split, row = places[name]
        most = int(image.max())
        brightest[split] = max(brightest[split], most)
        brightest_deep = max(brightest_deep, most if kind == "deep colour" else 0)
        x[split][row], kept[split][row] = image, True
    _check_damage(found, len(places), rules)
    if rules.value_range is None:
        check_dark(found, brightest, brightest_deep, read)
    for split in x:
        x[split] = _compact(x[split], kept[split])
        if not len(x[split]):
            raise DataError(
                f"of the {SPLITS[split]} images none can be read", hint="Replace the files."
            )
    skipped = tuple(found.damaged[name] for name in sorted(found.damaged))
    return Stacks(x, kept, (*sized, *ranged, *laid, *_told(found)), skipped)


def _check_memory(source: Source, count: int, shape: tuple[int, ...], limits: Limits) -> None:
    """Bound what all images take as pixels, whatever they are packed in."""
    try:
        size = limits.check_array("all images", (count, *shape), 1)
        Budget(limits, source.packed_bytes, source.label).expect(size, "all images")
    except LimitError as error:
        if error.limit not in ("max_unpacked_bytes", "max_ratio"):
            raise
        raise LimitError(
            str(error),
            limit=error.limit,
            hint="Send fewer or smaller images, or say a smaller size, such as size: '64x64'.",
        ) from error


def _check_damage(found: Survey, count: int, rules: Rules) -> None:
    """Raise the refusal that names all damaged files, unless they are to be skipped."""
    damaged = [found.damaged[name] for name in sorted(found.damaged)]
    if not damaged or (rules.on_damaged == "skip" and len(damaged) < count):
        return
    hint = "Replace or remove the files, or go on without them: on_damaged: 'skip'."
    if len(damaged) == 1:
        raise DataError(damaged[0], hint=hint)
    names = sorted(found.damaged)
    listed, length = [], 0
    for name in names[:NAMED]:
        length += len(name) + 2
        if length > 1200:
            break
        listed.append(name)
    more = f" and {len(names) - len(listed):,} more" if len(listed) < len(names) else ""
    raise DataError(
        f"{len(names):,} of {count:,} images cannot be read: {', '.join(listed)}{more}; "
        f"the first: {damaged[0][:300]}",
        hint=hint,
    )


def _compact(x: Pixels, kept: NDArray[np.bool_]) -> Pixels:
    """The rows that are kept, moved together in place."""
    if kept.all():
        return x
    rows = np.flatnonzero(kept)
    for to, row in enumerate(rows):
        if to != row:
            x[to] = x[row]
    return x[: len(rows)]


def _background(
    found: Survey,
    asked: Background | None,
    size: tuple[int, int] | None,
    read: Read,
    limits: Limits,
) -> tuple[Background, tuple[Decision, ...]]:
    """White, unless more than half of the transparent images vanish on it and show on black."""
    names = found.where(transparent=True)
    if not names:
        return asked or "white", ()
    chosen: Background = asked or "white"
    why = f"{len(names):,} images are transparent in parts; they are laid on {chosen}"
    if asked is None:
        looked_at = blank_on_white = shows_on_black = 0
        for name, load in read(frozenset(spread(names, _LOOKED_AT))):
            try:
                blob = load()
                on_white = decode(name, blob, size=size, limits=limits)
                blank = int(on_white.max()) - int(on_white.min()) <= 1
                looked_at += 1
                blank_on_white += blank
                if blank:
                    on_black = decode(name, blob, size=size, background="black", limits=limits)
                    shows_on_black += int(on_black.max()) - int(on_black.min()) > 1
            except DataError:
                continue  # told later, with all others
        if min(blank_on_white, shows_on_black) * 2 > looked_at:
            chosen = "black"
            why = (
                f"{len(names):,} images are transparent in parts; they are laid on black, for on "
                "white most of them cannot be seen"
            )
    return chosen, (Decision("background", chosen, why),)


def _told(found: Survey) -> tuple[Decision, ...]:
    """What else was done to images on the way."""
    told = []
    count = len(found.headers)
    if turned := len(found.where(turned=True)):
        told.append(
            Decision("", "upright", f"{turned:,} of {count:,} images are turned as their EXIF says")
        )
    if frames := found.where(frames=True):
        told.append(
            Decision(
                "",
                "first frame",
                f"{len(frames):,} of {count:,} files, such as {frames[0]}, hold several frames or "
                "pages; the first is taken",
            )
        )
    gray = len(found.where(channels=1))
    if found.channels == 3 and gray:
        told.append(Decision("", "RGB", f"{gray:,} of {count:,} images are gray and became RGB"))
    return tuple(told)
