"""Which samples of which array are trained on, tested on and validated on."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from saf.data.arrays.names import ALL, split_of
from saf.data.arrays.placing import Rows
from saf.data.dataset import Array, Decision
from saf.data.formats.format import Candidate, NeedsChoiceError, Question
from saf.data.labels import holdout
from saf.errors import DataError

Goals = dict[str, dict[str, Rows]]
"""For each array ("train", "test", "val" or "all") the rows of its samples in the splits that it
goes to."""
_MOST_FOLDS = 40
_WITHOUT = "say split = 'holdout' to do without the lists"


def listed(
    lists: Mapping[str, tuple[str, Array]], count: int, first: int = 0
) -> tuple[Goals, list[Decision]]:
    """The splits of `count` samples that arrays list: by name of the array the split, and numbers
    of samples or a truth value for each. Numbers count from `first`, or from 1 where one of them
    is `count` and none is 0. Where no list is of test samples, those are tested on that are in
    none, or else the listed validation samples. Raises DataError."""
    names = ", ".join(lists)
    plain = {name: _whole(values, name) for name, (_, values) in lists.items()}
    numbers = [values for values in plain.values() if not _is_mask(values, count)]
    lowest = min((int(values.min()) for values in numbers), default=first)
    highest = max((int(values.max()) for values in numbers), default=first)
    base = 1 if lowest >= 1 and (first == 1 or highest == count) else 0
    chosen = {split: _chosen(plain[name], name, count, base) for name, (split, _) in lists.items()}
    taken = np.sum(list(chosen.values()), axis=0)
    if (taken > 1).any():
        raise DataError(
            f"sample {int((taken > 1).argmax())} is in two of the splits that {names} list",
            hint=f"List each sample once, or {_WITHOUT}.",
        )
    rest = taken == 0
    why = "they list the samples" + (", counted from 1" if base and numbers else "")
    told = [Decision("split", names, why)]
    if rest.any():
        into = next((split for split in ("train", "test") if split not in chosen), None)
        what = {"train": "for training", "test": "for testing", None: "left out"}[into]
        value = f"{int(rest.sum())} other samples are {what}"
        told.append(Decision("split", value, f"{names} do not list them"))
        if into is not None:
            chosen[into] = rest
    if "test" not in chosen and "val" in chosen:
        chosen["test"] = chosen.pop("val")
        told.append(Decision("split", "val is for testing", "there is no other split to test on"))
    for split, what in (("train", "training"), ("test", "testing")):
        if split not in chosen or not chosen[split].any():
            raise DataError(
                f"{names} leave no samples for {what}",
                hint=f"List training and test samples, or {_WITHOUT}.",
            )
    goals = {
        split: np.where(own, np.cumsum(own) - 1, -1) for split, own in chosen.items() if own.any()
    }
    return {ALL: goals}, told


def named(
    name: str, values: Array, said: str | None, label: str
) -> tuple[Goals, list[Decision]] | None:
    """The splits that an array tells for each sample: by their names, or by numbers of folds, one
    of which is for testing (`said` is "fold=2"). None where it has one value or many. Raises
    NeedsChoiceError where nothing is said of folds, DataError where values are no splits."""
    values = values.reshape(-1)
    if values.dtype.kind == "S":
        values = np.char.decode(values, "utf-8", "replace")
    different = np.unique(values)
    if not 2 <= len(different) <= _MOST_FOLDS:
        return None
    if values.dtype.kind in "biuf":
        return _fold(name, values, different, said, label)
    if said is not None:
        raise DataError(
            f"the split of arrays cannot be {said!r}",
            hint=f"Say nothing, and {name} tells it, or holdout.",
        )
    masks: dict[str, tuple[str, Array]] = {}
    for text in different.tolist():
        split = split_of(str(text))
        if split == ALL:
            raise DataError(
                f"{name} names the split {str(text)[:40]!r}",
                hint=f"Use train, val and test, or {_WITHOUT}.",
            )
        before = masks.get(split, (split, np.zeros(len(values), np.bool_)))[1]
        masks[split] = split, before | (values == text)
    goals, told = listed({f"{name} = {split}": each for split, each in masks.items()}, len(values))
    return goals, told


def _fold(
    name: str, values: Array, different: Array, said: str | None, label: str
) -> tuple[Goals, list[Decision]]:
    if values.dtype.kind == "f" and (unknown := int((~np.isfinite(values)).sum())):
        raise DataError(
            f"{name} has no number for {unknown:,} of {len(values):,} samples (NaN, or infinite)",
            hint=f"Give each sample the number of a fold, leave such samples out, or {_WITHOUT}.",
        )
    ways = {f"{name}={value:.12g}": value for value in different.tolist()}
    if said is None or said not in ways:
        if said is not None:
            raise DataError(
                f"the split of arrays cannot be {said!r}",
                hint=f"Say holdout, or one of {', '.join(ways)}.",
            )
        candidates = [
            Candidate(way, f"{int((values == value).sum()):,} of {len(values):,} for testing")
            for way, value in ways.items()
        ]
        candidates.append(Candidate("holdout", "a fifth of each class, always the same"))
        asks = f"Which samples are for testing? {name} has a number for each."
        raise NeedsChoiceError(label, (Question("split", asks, tuple(candidates)),))
    goals, _ = listed({said: ("test", values == ways[said])}, len(values))
    return goals, [Decision("split", said, "these are for testing, the others for training")]


def _whole(values: Array, name: str) -> Array:
    values = values.reshape(-1)
    if values.dtype.kind == "f":
        if not (np.isfinite(values).all() and (values == np.rint(values)).all()):
            raise DataError(
                f"{name} holds numbers that are not whole, and is called as lists of samples are",
                hint=f"List samples by their numbers, or {_WITHOUT}.",
            )
        return values.astype(np.int64)
    return values


def _is_mask(values: Array, count: int) -> bool:
    """Whether there is a truth value for each sample."""
    if values.dtype.kind == "b":
        return True
    return len(values) == count and 0 <= int(values.min()) <= int(values.max()) <= 1


def _chosen(values: Array, name: str, count: int, base: int) -> NDArray[np.bool_]:
    if _is_mask(values, count):
        if len(values) != count:
            raise DataError(
                f"{name} has {len(values)} truth values, and there are {count} samples",
                hint=f"Give one for each sample, or {_WITHOUT}.",
            )
        return values.astype(np.bool_)
    if not base <= int(values.min()) <= int(values.max()) < count + base:
        raise DataError(
            f"{name} lists no samples: its numbers go from {values.min()} to {values.max()}, and "
            f"there are {count} samples",
            hint=f"Count samples from 0, or {_WITHOUT}.",
        )
    times = np.bincount(values.astype(np.int64) - base, minlength=count)
    if (times > 1).any():
        raise DataError(
            f"{name} lists sample {int((times > 1).argmax()) + base} twice",
            hint=f"List each sample once, or {_WITHOUT}.",
        )
    return times > 0


def splits(
    labels: Mapping[str, NDArray[np.int64]], classes: int, *, said: bool
) -> tuple[Goals, list[Decision]]:
    """The splits of arrays with these labels: as they are; a fifth of each class held out where
    there are no samples for testing, or where that was `said`."""
    names = list(labels)
    whole = {name: np.arange(len(own)) for name, own in labels.items()}
    if not said and "test" in names:
        return {name: {name: rows} for name, rows in whole.items()}, []
    if not said and "val" in names:
        only = Decision("split", "val is for testing", "there is no other split to test on")
        return {name: {"test" if name == "val" else name: rows} for name, rows in whole.items()}, [
            only
        ]
    pooled = [name for name in names if name != "val"]
    every = np.concatenate([labels[name] for name in pooled])
    held_out = holdout(every, [str(index) for index in range(len(every))], classes)
    why = "the files have no test samples: a fifth of each class is held out, always the same"
    if said:
        why = "a fifth of each class is held out, always the same, as was said"
    goals: Goals = {}
    start = 0
    rows = {True: np.cumsum(held_out) - 1, False: np.cumsum(~held_out) - 1}
    for name in pooled:
        own = slice(start, start + len(labels[name]))
        start = own.stop
        goals[name] = {
            split: np.where(held_out[own] == test, rows[test][own], -1)
            for split, test in (("train", False), ("test", True))
        }
    if "val" in names:
        goals["val"] = {"val": whole["val"]}
    return goals, [Decision("split", "holdout", why)]
