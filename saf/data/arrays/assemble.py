"""Arrays by name to a data set: what all formats of arrays share.

First everything is decided or asked, from names, shapes and one pass over the values; then the
samples are written, in a second pass, to where they stay. Whatever was decided is told.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from saf.data.arrays.axes import Axes, Open, Smooth, axes_of, check_alike, said
from saf.data.arrays.classes import BaseError, Classes, classes_of
from saf.data.arrays.lengths import Ragged, lengths_of, placed
from saf.data.arrays.names import ALL, Roles, roles_of
from saf.data.arrays.placing import Convert, Rows, Target, place, sample_shape
from saf.data.arrays.questions import Part, allocated, ask, values_of
from saf.data.arrays.splits import listed, named, splits
from saf.data.arrays.stored.array import Stored
from saf.data.arrays.survey import Survey, survey
from saf.data.arrays.values import (
    FEATURES,
    OpenRange,
    Range,
    check_features,
    range_of,
    range_of_features,
    said_range,
)
from saf.data.dataset import COUNTS, PIXELS, Array, Dataset, Decision
from saf.data.formats.format import Candidate, Format, NeedsChoiceError, Question
from saf.data.formats.settings import LabelsFrom, Layout, Size, Split, ValueRange
from saf.data.formats.spelling import Case, ClassCase
from saf.data.sources.source import Source
from saf.errors import DataError

_MAX_LABEL_BYTES = 2**30
_ALIKE = 0.5  # correlation of neighbours from which values run smoothly
_ORDER = ("train", "val", "test")


class ArrayFormat(Format):
    """A format of arrays: the settings that all of them have."""

    layout: Layout = None
    value_range: ValueRange = None
    size: Size = None
    labels_from: LabelsFrom = None
    first_class: Annotated[
        int | None, Field(ge=0, le=1, description="0 or 1, what labels count classes from")
    ] = None
    class_case: ClassCase = None
    split: Split = None


def assemble(
    arrays: Sequence[Stored] | Roles,
    settings: ArrayFormat,
    source: Source,
    *,
    layout: str | None = None,
    by_columns: bool = False,
    class_names: tuple[str, ...] | None = None,
    first_class: int | None = None,
    first_sample: int = 0,
    decisions: Sequence[Decision] = (),
    skipped: Sequence[str] = (),
) -> Dataset:
    """The data set in arrays by name, or by their roles where the format knows those. `layout`,
    `class_names` and `first_class` (by which number labels mean the first name) are what the format
    knows; the settings win. Lists of samples count from `first_sample`. `by_columns` says that rows
    of pixels may hold images column by column. Raises DataError, and NeedsChoiceError with what
    only the owner knows."""
    roles = arrays
    if not isinstance(roles, Roles):
        roles = roles_of(roles, source.label, settings.labels_from)
    if settings.split not in (None, "holdout") and (roles.split is None or roles.lists):
        raise _no_such_split(settings.split)
    _check_kinds(roles)
    base = first_class if settings.first_class is None else settings.first_class
    if base is None and class_names is not None:
        base = 0
    classes = _classes(roles, source, class_names, base, settings.class_case)
    parts = {
        split: Part(roles.samples[split], survey(roles.samples[split]), classes.labels[split])
        for split in (*_ORDER, ALL)
        if split in roles.samples
    }
    ragged = [p.stored.layout for p in parts.values() if isinstance(p.stored, Ragged)]
    layout = settings.layout or (ragged[0] if ragged else layout)
    axes = _axes(parts, layout, by_columns=by_columns)
    ranges = _ranges(parts, axes, settings.value_range)
    ask(parts, axes, ranges, settings.size, source)
    assert isinstance(axes, Axes)
    assert not isinstance(ranges, OpenRange)
    if ranges is not None and axes.order in FEATURES:
        check_features((part.stored for part in parts.values()), axes.order, ranges)
    told = [*decisions, *_told(roles, axes, ranges, classes)]
    given = {split: part.labels for split, part in parts.items()}
    by_name = None
    if roles.split is not None and settings.split != "holdout" and not roles.lists:
        each = roles.split.whole(source.limits)
        by_name = named(roles.split.name, each, settings.split, source.label)
        if by_name is None:
            told.append(Decision("", f"left out: {roles.split.name}", "its values are no splits"))
            if settings.split is not None:
                raise _no_such_split(settings.split)
    if by_name is not None:
        goals, of_splits = by_name
    elif roles.lists and settings.split is None:
        lists = {array.name: (s, array.whole(source.limits)) for s, array in roles.lists.items()}
        goals, of_splits = listed(lists, len(given[ALL]), first_sample)
    else:
        goals, of_splits = splits(given, len(classes.names), said=settings.split is not None)
    told += of_splits
    lengths = lengths_of(roles, axes, source.limits, told)
    samples, labels = _write(parts, axes, ranges, settings, source, goals)
    fields: dict[str, Any] = {f"x_{split}": x for split, x in samples.items()}
    fields |= {f"y_{split}": y for split, y in labels.items()}
    if lengths:
        fields |= {f"lengths_{split}": own for split, own in placed(lengths, goals).items()}
    return Dataset(
        **fields,
        class_names=classes.names,
        decisions=tuple(told),
        skipped=tuple(skipped),
        unit=COUNTS if axes.is_temporal else PIXELS,
    )


def _no_such_split(said: str | None) -> DataError:
    return DataError(
        f"the split of arrays cannot be {said!r}",
        hint="Say holdout, or name the arrays x_train and x_test.",
    )


def _check_kinds(roles: Roles) -> None:
    for split, x in roles.samples.items():
        y = roles.labels[split]
        if len(x.shape) <= 1 and len(y.shape) >= 2:
            raise DataError(
                f"{x.name} has the shape {x.shape}, as labels have, and {y.name} {y.shape}",
                hint="Swap the two: x is for samples, y for labels.",
            )
        if x.dtype.kind not in "biuf":
            raise DataError(
                f"{x.name} is {x.dtype}, not numbers",
                hint="Save samples as numbers with numpy.savez(path, x_train=…, y_train=…).",
            )
        if len(y.shape) > 2 and max(y.shape) != y.size:
            raise DataError(
                f"{y.name} has the shape {y.shape}; one label per sample is expected",
                hint="Give one class number per sample.",
            )


def _classes(
    roles: Roles,
    source: Source,
    known: tuple[str, ...] | None,
    base: int | None,
    case: Case | None,
) -> Classes:
    limits = source.limits
    for y in roles.labels.values():
        if y.size * y.dtype.itemsize > _MAX_LABEL_BYTES:
            raise DataError(
                f"{y.name} has the shape {y.shape}, too large for labels",
                hint="Give one class number per sample.",
            )
    names = roles.class_names.whole(limits) if roles.class_names is not None else None
    labels = {split: y.whole(limits) for split, y in roles.labels.items()}
    titles = {split: y.name for split, y in roles.labels.items()}
    try:
        return classes_of(
            labels, names, known=known, titles=titles, base=base, label=source.label, case=case
        )
    except BaseError as error:
        ways = tuple(
            Candidate(str(first), f"the label {error.lowest} is {name!r}")
            for first, name in enumerate(error.ways)
        )
        asks = str(error)[:1].upper() + str(error)[1:]
        raise NeedsChoiceError(source.label, (Question("first_class", asks, ways),)) from error


def _axes(parts: Mapping[str, Part], layout: str | None, *, by_columns: bool) -> Axes | Open:
    shapes = {split: part.stored.shape for split, part in parts.items()}
    counts = {split: len(part.labels) for split, part in parts.items()}
    if layout is not None:
        return said(layout, shapes, counts)
    first = next(iter(parts.values()))
    return axes_of(
        shapes, counts, values_of(parts), lambda: _smooth(first.stored), by_columns=by_columns
    )


def _ranges(
    parts: Mapping[str, Part], axes: Axes | Open, value: str | None
) -> dict[str, Range] | OpenRange | None:
    """None where values are taken as they are."""
    surveys = {split: part.values for split, part in parts.items()}
    if value is not None:
        return said_range(value, surveys)
    if isinstance(axes, Open):
        square = axes.candidates[0] == "N H W"  # likely images
        if not square and any("T" in order.split() for order in axes.candidates):
            return None
        return range_of(surveys)
    if axes.is_temporal:
        return None
    found = range_of(surveys)
    if isinstance(found, OpenRange) and axes.order in FEATURES:
        # Each feature is normalised by its own mean and deviation: no range is a wrong one.
        return dict.fromkeys(surveys, range_of_features(surveys))
    return found


def _told(
    roles: Roles, axes: Axes, ranges: dict[str, Range] | None, classes: Classes
) -> list[Decision]:
    told = []
    if roles.by_shape:
        given = [f"x_{s} = {a.name}" for s, a in roles.samples.items()]
        given += [f"y_{s} = {a.name}" for s, a in roles.labels.items()]
        told.append(
            Decision("", ", ".join(given), "the names say nothing, the shapes told them apart")
        )
    if axes.why:
        told.append(Decision("layout", axes.order, axes.why))
    for one in dict.fromkeys((ranges or {}).values()):
        if one.why:
            told.append(Decision("value_range", str(one), one.why))
    if classes.why:
        listed = ", ".join(classes.names[:8]) + (", …" if len(classes.names) > 8 else "")
        told.append(Decision("", f"the classes {listed}", classes.why))
    told += classes.told
    if roles.left:
        listed = ", ".join(roles.left[:20]) + (", …" if len(roles.left) > 20 else "")
        told.append(Decision("", f"left out: {listed}", "neither samples nor labels of a split"))
    return told


def _write(
    parts: Mapping[str, Part],
    axes: Axes,
    ranges: Mapping[str, Range] | None,
    settings: ArrayFormat,
    source: Source,
    goals: Mapping[str, Mapping[str, Rows]],
) -> tuple[dict[str, Array], dict[str, NDArray[np.int64]]]:
    """Samples and labels by split."""
    dtype, converts = _conversions(parts, axes, ranges)
    shapes = {split: sample_shape(p.stored, axes, settings.size) for split, p in parts.items()}
    check_alike(shapes)
    shape = next(iter(shapes.values()))
    counts: dict[str, int] = {}
    for targets in goals.values():
        for split, rows in targets.items():
            counts[split] = max(counts.get(split, 0), int(rows.max(initial=-1)) + 1)
    samples = {
        split: allocated(source, f"x_{split}", (count, *shape), dtype)
        for split, count in counts.items()
    }
    labels = {split: np.zeros(count, np.int64) for split, count in counts.items()}
    with np.errstate(over="ignore"):  # too large for float32: infinite, refused as such
        for name, targets in goals.items():
            part = parts[name]
            for split, rows in targets.items():
                labels[split][rows[rows >= 0]] = part.labels[rows >= 0]
            into = [Target(samples[split], rows) for split, rows in targets.items()]
            place(part.stored, axes, settings.size, into, converts[name])
    return samples, labels


def _conversions(
    parts: Mapping[str, Part], axes: Axes, ranges: Mapping[str, Range] | None
) -> tuple[np.dtype[Any], dict[str, Convert]]:
    """The type of all samples, and how the values of each split become it."""
    if ranges is None:
        # Integers of a byte are bytes, whatever their type; floats stay what they are.
        if all(
            part.values.is_integer and 0 <= part.values.lowest <= part.values.highest <= 255
            for part in parts.values()
        ):
            return np.dtype(np.uint8), dict.fromkeys(parts, _to_bytes(0, 1))
        return np.dtype(np.float32), dict.fromkeys(parts, _as_floats)
    factors = {name: _factor(parts[name].values, one) for name, one in ranges.items()}
    if not axes.is_temporal and all(factors.values()):
        return np.dtype(np.uint8), {
            name: _to_bytes(int(ranges[name].low), factor) for name, factor in factors.items()
        }
    return np.dtype(np.float32), {name: one.scaled for name, one in ranges.items()}


def _factor(values: Survey, one: Range) -> int:
    """By what whole values of a range are multiplied to be bytes that mean the same; 0 where
    there is no such number."""
    width = one.high - one.low
    if not values.whole or one.low != int(one.low) or width != int(width) or width > 255:
        return 0
    if values.kind == "f" and (one.low, one.high) == (0, 1):
        return 0  # floats in [0, 1] stay what they are
    return 255 // int(width) if 255 % int(width) == 0 else 0


def _to_bytes(low: int, factor: int) -> Convert:
    def convert(block: Array) -> Array:
        if low == 0 and factor == 1:
            return block.astype(np.uint8, copy=False)
        return ((block.astype(np.int64) - low) * factor).astype(np.uint8)

    return convert


def _as_floats(block: Array) -> Array:
    return block.astype(np.float32, copy=False)


def _smooth(stored: Stored) -> Smooth:
    """Neighbours are alike whose values correlate, seen in the first block; of blocks that hold no
    whole samples nothing is known, and both axes are said to be smooth."""
    if stored.fortran or len(stored.shape) != 3:
        return Smooth(True, True)
    for _, block in stored.blocks():
        if block.shape[1:] != stored.shape[1:]:
            break
        x = block[:64].astype(np.float64)
        x = x - x.mean()
        power = float((x * x).mean())
        if power == 0:
            break
        second = float((x[:, :-1] * x[:, 1:]).mean()) / power
        last = float((x[:, :, :-1] * x[:, :, 1:]).mean()) / power
        return Smooth(second > _ALIKE and second > last - 0.1, last > _ALIKE)
    return Smooth(True, True)
