"""Which samples of which array are trained on, tested on and validated on."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from saf.data.arrays.names import ALL
from saf.data.arrays.placing import Rows
from saf.data.dataset import Array, Decision
from saf.data.labels import holdout
from saf.errors import DataError

Goals = dict[str, dict[str, Rows]]
"""For each array ("train", "test", "val" or "all") the rows of its samples in the splits that it
goes to."""


def listed(lists: Mapping[str, Array], names: str, count: int) -> tuple[Goals, Decision]:
    """The splits of `count` samples that arrays list by split: numbers of samples, or a truth value
    for each. `names` is what the arrays are called. Raises DataError."""
    chosen: dict[str, NDArray[np.bool_]] = {}
    for split, values in lists.items():
        if len(values) == count and (values.dtype.kind == "b" or int(values.max()) <= 1):
            chosen[split] = values.astype(np.bool_)
        elif 0 <= int(values.min()) <= int(values.max()) < count:
            chosen[split] = np.isin(np.arange(count), values)
        else:
            raise DataError(
                f"{names} list no samples of {split}: values go from {values.min()} to "
                f"{values.max()}, and there are {count} samples",
                hint="Count samples from 0, or say split = 'holdout' to do without the list.",
            )
    taken = np.sum(list(chosen.values()), axis=0)
    if (taken > 1).any():
        raise DataError(
            f"sample {int((taken > 1).argmax())} is in two of the splits that {names} list",
            hint="List each sample once, or say split = 'holdout' to do without the lists.",
        )
    chosen.setdefault("train", taken == 0)
    if "test" not in chosen:
        chosen["test"] = taken == 0
    goals = {s: np.where(own, np.cumsum(own) - 1, -1) for s, own in chosen.items()}
    return {ALL: goals}, Decision("split", names, "they list the samples")


def splits(
    labels: Mapping[str, NDArray[np.int64]], classes: int, *, said: bool
) -> tuple[Goals, Decision | None]:
    """The splits of arrays with these labels: as they are; a fifth of each class held out where
    there are no samples for testing, or where that was `said`."""
    names = list(labels)
    whole = {name: np.arange(len(own)) for name, own in labels.items()}
    if not said and "test" in names:
        return {name: {name: rows} for name, rows in whole.items()}, None
    if not said and "val" in names:
        only = Decision("split", "val is for testing", "there is no other split to test on")
        return {
            name: {"test" if name == "val" else name: rows} for name, rows in whole.items()
        }, only
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
    return goals, Decision("split", "holdout", why)
