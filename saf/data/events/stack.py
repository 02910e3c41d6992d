"""Frames of many recordings, placed row by row into arrays of the final size.

Counts are kept in bytes as long as each of them fits into one, else in float32.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from saf.data import blocks
from saf.data.dataset import COUNTS, SPLITS, Dataset, Decision
from saf.data.events.folders import Plan
from saf.data.sources.limits import Budget, LimitError
from saf.data.sources.source import Source
from saf.errors import DataError

Counts = NDArray[Any]
Load = Callable[[], Counts]
"""The frames of a recording. Raises DataError where it is damaged."""
Read = Callable[[Collection[str]], Iterator[tuple[str, Load]]]
"""The recordings of these names, in any order."""
NAMED = 20  # damaged recordings that a message names


@dataclass
class Stack:
    """The arrays of all splits."""

    source: Source
    rows: dict[str, int]
    """How many samples each split has."""
    shape: tuple[int, ...]
    """T C H W."""
    dtype: DTypeLike = np.uint8
    """Of the arrays until a count needs floats."""
    x: dict[str, Counts] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._allocate(np.dtype(self.dtype))

    def put(self, split: str, row: int, frames: Counts) -> None:
        """Place the frames of one recording; whole numbers of at least 0."""
        array = self.x[split]
        if array.dtype == np.uint8 and (frames.max() > 255 or frames.dtype.kind == "f"):
            self._become_floats()
            array = self.x[split]
        array[row] = frames

    def _become_floats(self) -> None:
        before = self.x
        self._allocate(np.dtype(np.float32))
        for split, array in before.items():
            blocks.copy(array, self.x[split])

    def _allocate(self, dtype: np.dtype[Any]) -> None:
        count = sum(self.rows.values())
        what = "all frames"
        try:
            size = self.source.limits.check_array(what, (count, *self.shape), dtype.itemsize)
            Budget(self.source.limits, self.source.packed_bytes, self.source.label).expect(
                size, what
            )
        except LimitError as error:
            hint = "Say fewer frames (timesteps) or smaller ones (size: '64x64')."
            raise LimitError(str(error), limit=error.limit, hint=hint) from error
        self.x = {
            split: self.source.allocate(f"x_{split}", (rows, *self.shape), dtype)
            for split, rows in self.rows.items()
        }


def stacked(
    source: Source,
    read: Read,
    plan: Plan,
    shape: tuple[int, ...],
    *,
    skip: bool,
    decisions: tuple[Decision, ...] = (),
    dtype: DTypeLike = np.uint8,
) -> Dataset:
    """The data set of all recordings of a plan, of `dtype` where that holds all counts; with `skip`
    without those that are damaged. Raises DataError, which names all damaged ones."""
    rows_of = {split: len(labels) for split, labels in plan.labels.items()}
    stack = Stack(source, rows_of, shape, dtype)
    kept = {split: np.zeros(rows, np.bool_) for split, rows in stack.rows.items()}
    damaged: dict[str, DataError] = {}
    for name, load in read(plan.places.keys()):
        split, row = plan.places[name]
        try:
            frames = load()
            if frames.shape != shape:
                raise DataError(
                    f"{name} holds frames of shape {frames.shape}, the first recording {shape}",
                    hint="Bring all recordings to one shape.",
                )
        except LimitError:
            raise
        except DataError as error:
            damaged[name] = error
            continue
        stack.put(split, row, frames)
        kept[split][row] = True
    if damaged and (not skip or len(damaged) == len(plan.places)):
        raise _refusal(damaged, len(plan.places))
    x = {split: _compact(stack.x[split], kept[split]) for split in stack.x}
    for split, rows in x.items():
        if not len(rows):
            raise DataError(
                f"of the {SPLITS[split]} recordings none can be read", hint="Replace the files."
            )
    y = {split: labels[kept[split]] for split, labels in plan.labels.items()}
    kept_as = Decision("", x["train"].dtype.name, _why(x["train"].dtype, np.dtype(dtype)))
    return Dataset(
        x_train=x["train"],
        y_train=y["train"],
        x_test=x["test"],
        y_test=y["test"],
        class_names=plan.class_names,
        x_val=x.get("val"),
        y_val=y.get("val"),
        decisions=(*decisions, kept_as, *plan.decisions),
        skipped=tuple(str(damaged[name]) for name in sorted(damaged)),
        unit=COUNTS,
    )


def file_by_file(source: Source, decode: Callable[[bytes, str], Counts], most: int) -> Read:
    """Recordings that are a file each, decoded as a whole, at most `most` bytes long."""

    def read(names: Collection[str]) -> Iterator[tuple[str, Load]]:
        for content in source.contents(names):
            yield content.name, partial(_decoded, content, decode, most)

    return read


def _decoded(content: Any, decode: Callable[[bytes, str], Counts], most: int) -> Counts:
    return decode(content.read_whole(most), content.name)


def _why(dtype: np.dtype[Any], wanted: np.dtype[Any]) -> str:
    if dtype == wanted != np.uint8:
        return "as the files hold them"
    if dtype == np.uint8:
        return "no frame counts more than 255 events at a pixel, so bytes hold the counts"
    return "some counts are no whole numbers of up to 255, so all are kept in float32"


def _compact(x: Counts, kept: NDArray[np.bool_]) -> Counts:
    """The rows that are kept, moved together in place."""
    if kept.all():
        return x
    rows = np.flatnonzero(kept)
    for to, row in enumerate(rows):
        if to != row:
            x[to] = x[row]
    return x[: len(rows)]


def _refusal(damaged: dict[str, DataError], count: int) -> DataError:
    hint = "Replace or remove the files, or go on without them: on_damaged: 'skip'."
    names = sorted(damaged)
    if len(damaged) == count:
        hint = f"{damaged[names[0]].hint} None of the files can be read as this format has them."
    if len(damaged) == count == 1:
        return damaged[names[0]]
    if len(names) == 1:
        first = damaged[names[0]]
        return DataError(str(first), hint=f"{first.hint} {hint}")
    listed = ", ".join(names[:NAMED]) + (", …" if len(names) > NAMED else "")
    return DataError(
        f"{len(names):,} of {count:,} recordings cannot be read: {listed[:1500]}; the first: "
        f"{str(damaged[names[0]])[:300]}",
        hint=hint,
    )
