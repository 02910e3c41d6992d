"""Values from where they lie to where samples are: axes put in order, values converted, block by
block, so that memory stays bounded.

Samples are `N C H W`, with time steps `N T C H W`, series `N T C`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from saf.data.arrays.axes import Axes, folded
from saf.data.arrays.stored.array import Stored
from saf.data.dataset import Array

Rows = NDArray[np.int64]
"""For each stored sample its row in a target, or -1."""
Convert = Callable[[Array], Array]


@dataclass(frozen=True)
class Target:
    """An array of samples, and which stored samples become which of its rows."""

    samples: Array
    rows: Rows


def sample_shape(stored: Stored, axes: Axes, size: str | None) -> tuple[int, ...]:
    """C H W, T C H W or T C of the samples in an array. Raises DataError where rows do not fold."""
    sizes = _sizes(stored, axes, size)
    return tuple(sizes.get(letter, 1) for letter in final_letters(axes))


def final_letters(axes: Axes) -> str:
    """The axes of a sample."""
    if not axes.is_temporal:
        return "CHW"
    return "TCHW" if {"H", "W"} & set(axes.order.split()) else "TC"


def place(
    stored: Stored, axes: Axes, size: str | None, targets: Sequence[Target], convert: Convert
) -> None:
    """Write the samples of an array into the targets, each of `sample_shape`."""
    letters = axes.order.split()
    if len(letters) > len(stored.shape):
        _place_rows(stored, axes, size, targets, convert)
        return
    if stored.fortran:
        letters = letters[::-1]
    n = letters.index("N")
    others = [letter for letter in letters if letter != "N"]
    views = [_view(target.samples, others, final_letters(axes)) for target in targets]
    last = [_last(target.rows) for target in targets]
    for index, block in stored.blocks():
        here = slice(index[n].start, index[n].stop)
        if n == 0 and here.start > max(last):
            return
        rest = tuple(part for axis, part in enumerate(index) if axis != n)
        values: Array | None = None
        for target, view in zip(targets, views, strict=True):
            rows = target.rows[here]
            kept = rows >= 0
            if not kept.any():
                continue
            if values is None:
                values = convert(np.moveaxis(block, n, 0))
            part = values if kept.all() else values[kept]
            view[(_run(rows[kept]), *rest)] = part


def _place_rows(
    stored: Stored, axes: Axes, size: str | None, targets: Sequence[Target], convert: Convert
) -> None:
    """The same of rows that are to be folded, or of columns."""
    sizes = _sizes(stored, axes, size)
    final = [letter for letter in final_letters(axes) if letter in sizes]
    order = [letter for letter in axes.order.split() if letter != "N"]
    positions = np.arange(np.prod([sizes[letter] for letter in final], dtype=np.int64))
    positions = positions.reshape([sizes[letter] for letter in final])
    places = positions.transpose([final.index(letter) for letter in order]).reshape(-1)
    straight = bool((places == np.arange(len(places))).all())
    flat = [target.samples.reshape(len(target.samples), -1) for target in targets]
    n = 0 if axes.order.split()[0] == "N" else 1
    n = 1 - n if stored.fortran else n
    last = [_last(target.rows) for target in targets]
    for index, block in stored.blocks():
        here, columns = index[n], index[1 - n]
        if n == 0 and here.start > max(last):
            return
        values: Array | None = None
        for target, view in zip(targets, flat, strict=True):
            rows = target.rows[here]
            kept = rows >= 0
            if not kept.any():
                continue
            if values is None:
                values = convert(block.T if n else block)
            part = values if kept.all() else values[kept]
            to = _run(rows[kept])
            if straight:
                view[to, columns] = part
            elif isinstance(to, slice):
                view[to, places[columns]] = part
            else:
                view[np.ix_(to, places[columns])] = part


def _sizes(stored: Stored, axes: Axes, size: str | None) -> dict[str, int]:
    letters = axes.order.split()
    if len(letters) == len(stored.shape):
        return dict(zip(letters, stored.shape, strict=True))
    length = stored.shape[1 if letters[0] == "N" else 0]
    return folded(length, axes.order, size, stored.name)


def _view(samples: Array, letters: Sequence[str], final: str) -> Array:
    """The samples with their axes after the first in the order of `letters`; others are 1 long."""
    missing = tuple(axis + 1 for axis, letter in enumerate(final) if letter not in letters)
    view = np.squeeze(samples, axis=missing) if missing else samples
    left = [letter for letter in final if letter in letters]
    return view.transpose(0, *(left.index(letter) + 1 for letter in letters))


def _last(rows: Rows) -> int:
    kept = np.flatnonzero(rows >= 0)
    return int(kept[-1]) if len(kept) else -1


def _run(rows: Rows) -> slice | Rows:
    """Consecutive rows as a slice, which is written faster."""
    start, stop = int(rows[0]), int(rows[-1]) + 1
    if stop - start == len(rows) and (np.diff(rows) == 1).all():
        return slice(start, stop)
    return rows
