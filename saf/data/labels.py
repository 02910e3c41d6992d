"""Labels: how many classes they name, and which samples are held out when nobody said so."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray

from saf.data.dataset import Array, check_class_names, check_labels
from saf.errors import DataError

HOLDOUT_FRACTION = 0.2


def class_names_of(y_train: Array, name: str) -> tuple[str, ...]:
    """Names "0", "1", … for the classes that training labels count; DataError if most of the
    numbers below the largest never occur, as with labels 0 and 255."""
    labels = check_labels(y_train, name)
    classes = int(labels.max()) + 1
    present = len(np.unique(labels))
    if present * 2 < classes:
        raise DataError(
            f"{name} goes up to {classes - 1}, but only {present} different labels occur",
            hint="Number the classes 0, 1, 2, … without gaps.",
        )
    names = tuple(str(index) for index in range(classes))
    check_class_names(names)
    return names


def holdout(labels: NDArray[np.int64], keys: Sequence[str], classes: int) -> NDArray[np.bool_]:
    """Which samples become the test split: ⌈20 %⌉ of all, the same share of each class.

    The choice depends on nothing but the labels and the keys (unique texts, one per sample): in
    each class those go whose SHA-256 of the key is smallest. A class of one sample keeps it. Raises
    DataError where all classes have one: then none is left.
    """
    counts = np.bincount(labels, minlength=classes)
    if counts.max(initial=0) < 2:
        raise DataError(
            f"each of the {np.count_nonzero(counts)} classes has one sample, and a fifth of each "
            "is to be held out for testing",
            hint="Give several samples of each class, or test samples of their own. Labels that "
            "are all different are rather names or captions of samples: say where the classes "
            "are (labels_from).",
        )
    share = np.where(counts > 1, counts * HOLDOUT_FRACTION, 0.0)
    taken = np.floor(share).astype(np.int64)
    missing = math.ceil(round(len(labels) * HOLDOUT_FRACTION, 6)) - int(taken.sum())
    by_remainder = sorted(range(classes), key=lambda c: (taken[c] - share[c], c))
    for c in [c for c in by_remainder if counts[c] > 1][:missing]:
        taken[c] += 1
    chosen = np.zeros(len(labels), np.bool_)
    order = sorted(range(len(labels)), key=lambda i: hashlib.sha256(keys[i].encode()).digest())
    for index in order:
        c = labels[index]
        if taken[c] > 0:
            taken[c] -= 1
            chosen[index] = True
    return chosen


def several_in_one(values: Collection[str]) -> str | None:
    """A label that holds several classes, such as "cat|dog" where there is "dog" alone, too, or
    "0 2"; None where each seems to be one name."""
    for mark in "|;, ":
        parts = {value: [part.strip() for part in value.split(mark)] for value in values}
        several = [value for value, own in parts.items() if len(own) > 1]
        if not several:
            continue
        within = {part for value in several for part in parts[value]}
        if mark == " ":
            if all(part.isdigit() for part in within):
                return several[0]
        elif within <= set(values) or (
            len(several) * 3 > len(values)
            and (len(within) < len(several) or not within.isdisjoint(values))
        ):
            return several[0]
    return None
