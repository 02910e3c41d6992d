"""Class numbers and class names out of what people label samples with.

Numbers from 0, from 1 or with gaps, -1 and 1, whole floats, truth values, texts and one-hot rows:
the classes are the values that occur in training, in their order, named by them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from saf.data.dataset import MAX_CLASSES, Array, check_class_names
from saf.errors import DataError

Labels = NDArray[np.int64]
_MOSTLY_DIFFERENT = 0.5  # of all labels: numbers to be predicted, not classes


@dataclass(frozen=True)
class Classes:
    """Class numbers from 0 of each split, and the names."""

    labels: dict[str, Labels]
    names: tuple[str, ...]
    why: str
    """How numbers and names were made, for the owner; empty where labels were taken as they are."""


def classes_of(
    labels: Mapping[str, Array],
    names: Array | None = None,
    *,
    known: tuple[str, ...] | None = None,
    titles: Mapping[str, str] | None = None,
) -> Classes:
    """Class numbers of splits by name ("train" and others, or "all"), with names of classes where
    there are any: `names` as an array, or `known`. `titles` say what messages call the labels of a
    split. Raises DataError where they are no classes."""
    titles = titles or {split: f"y_{split}" for split in labels}
    if names is not None:
        known = _texts(names)
    plain = {
        split: _plain(values, f"y_{split}" if split != "all" else "y")
        for split, values in labels.items()
    }
    reasons = {reason for _, reason in plain.values() if reason}
    values = {split: array for split, (array, _) in plain.items()}
    texts = {array.dtype.kind == "U" for array in values.values()}
    if len(texts) > 1:
        raise DataError(
            "some splits have texts as labels, others numbers",
            hint="Label all splits in the same way.",
        )
    if texts == {True}:
        found = _of_texts(values, known, titles)
        reasons.add(
            "class names are the labels, in the order of the alphabet" if known is None else ""
        )
    else:
        numbers = _of_numbers(values, known, titles)
        found, reason = numbers
        reasons.add(reason)
    check_class_names(found.names)
    return Classes(found.labels, found.names, "; ".join(sorted(reasons - {""})))


def _plain(values: Array, name: str) -> tuple[Array, str]:
    """One label per sample, int64 or texts, and what was done for it."""
    reason = ""
    if (values.ndim == 2 and 1 in values.shape) or (
        values.ndim > 2 and values.size == max(values.shape)
    ):
        values = values.reshape(-1)
    if values.ndim == 2:
        values, reason = _of_rows(values, name)
    if values.ndim != 1:
        raise DataError(
            f"{name} has the shape {values.shape}; one label per sample is expected",
            hint="Give one class number per sample; turn one-hot rows into class numbers with "
            "y.argmax(axis=1).",
        )
    if values.dtype.kind == "b":
        return values.astype(np.int64), "truth values are the classes 0 and 1"
    if values.dtype.kind == "f":
        whole = np.isfinite(values).all() and (values == np.rint(values)).all()
        if not whole or np.abs(values).max() >= 2**53:
            raise DataError(
                f"{name} is {values.dtype} with values that are not whole; labels are integers",
                hint="Give class numbers: a network here learns classes and no quantities. Remove "
                "samples without a label, which are NaN.",
            )
        return values.astype(np.int64), "floats are whole numbers"
    if values.dtype.kind == "S":
        return np.char.decode(values, "utf-8", "replace"), reason
    if values.dtype.kind == "U":
        return values, reason
    if values.dtype.kind not in "iu":
        raise DataError(
            f"{name} is {values.dtype}; labels are integers or texts",
            hint=f"Convert with {name}.astype('int64').",
        )
    if values.dtype.kind == "u" and values.max(initial=0) > 2**62:
        raise DataError(f"{name} holds the label {values.max()}", hint="Number the classes from 0.")
    return values.astype(np.int64), reason


def _of_rows(values: Array, name: str) -> tuple[Array, str]:
    """One-hot rows (N, K), or columns (K, N), as class numbers."""
    if values.dtype.kind in "biuf":
        for rows, turned in ((values, ""), (values.T, ", one column per sample")):
            hot = (rows != 0).sum(axis=1) == 1
            if hot.all() and len({float(v) for v in np.unique(rows)} - {0.0}) == 1:
                return rows.argmax(axis=1).astype(np.int64), f"labels are one-hot rows{turned}"
    raise DataError(
        f"{name} has the shape {values.shape}, and its rows are not one-hot; one label per sample "
        "is expected",
        hint="A sample has one class here: give its number, from rows of probabilities by "
        "y.argmax(axis=1).",
    )


@dataclass(frozen=True)
class _Found:
    labels: dict[str, Labels]
    names: tuple[str, ...]


def _of_texts(
    values: Mapping[str, Array], known: tuple[str, ...] | None, titles: Mapping[str, str]
) -> _Found:
    train = _training(values)
    occurring = [str(v) for v in np.unique(train)]
    if all(each.lstrip("-").isdigit() and len(each) < 10 for each in occurring):
        occurring.sort(key=int)
    names = known or tuple(occurring)
    index = {name: number for number, name in enumerate(names)}
    found = {}
    for split, array in values.items():
        texts, inverse = np.unique(array, return_inverse=True)
        for text in texts:
            if str(text) not in index:
                raise _unknown(titles[split], repr(str(text)), int((array == text).argmax()), names)
        numbers = np.array([index[str(text)] for text in texts], np.int64)
        found[split] = numbers[inverse.reshape(-1)]
    return _Found(found, names)


def _of_numbers(
    values: Mapping[str, Array], known: tuple[str, ...] | None, titles: Mapping[str, str]
) -> tuple[_Found, str]:
    train = _training(values)
    title = titles.get("train", "y")
    occurring = np.unique(train)
    lowest, highest = int(occurring[0]), int(occurring[-1])
    if known is not None:
        everywhere = [int(n) for array in values.values() for n in (array.min(), array.max())]
        if min(everywhere) >= 0 and max(everywhere) < len(known):
            return _Found(dict(values), known), ""
        if min(everywhere) == 1 and max(everywhere) == len(known):
            shifted = {split: array - 1 for split, array in values.items()}
            return _Found(shifted, known), "labels count from 1"
        raise DataError(
            f"the labels go from {min(everywhere)} to {max(everywhere)}, and there are "
            f"{len(known)} class names",
            hint="Give one name for each class, in the order of the numbers 0, 1, 2, …",
        )
    if lowest < 0 and [int(n) for n in occurring] != [-1, 1]:
        index = int((train == lowest).argmax())
        raise DataError(
            f"{title}[{index}] is {lowest}; labels are class numbers of at least 0, or -1 and 1",
            hint="Number the classes 0, 1, 2, … the same way in all splits; leave out samples "
            "without a label, which -1 often marks.",
        )
    if len(occurring) > MAX_CLASSES or (
        len(occurring) > 32 and len(occurring) > _MOSTLY_DIFFERENT * len(train)
    ):
        raise DataError(
            f"the labels hold {len(occurring)} different numbers for {len(train)} samples, as "
            "quantities or numbers of samples do",
            hint="Give a class number for each sample: 0, 1, 2, …",
        )
    names = tuple(str(int(n)) for n in occurring)
    check_class_names(names)
    found = {}
    for split, array in values.items():
        numbers = np.searchsorted(occurring, array)
        wrong = occurring[np.minimum(numbers, len(occurring) - 1)] != array
        if wrong.any():
            index = int(wrong.argmax())
            raise _unknown(titles[split], str(int(array[index])), index, names)
        found[split] = numbers.astype(np.int64)
    reason = ""
    if lowest == 1 and highest == len(occurring):
        reason = "labels count from 1"
    elif [lowest, highest] == [-1, 1]:
        reason = "the labels -1 and 1 are two classes"
    elif len(occurring) != highest + 1:
        reason = (
            f"{len(occurring)} different labels occur in {lowest}…{highest}; those are the classes"
        )
    return _Found(found, names), reason


def _training(values: Mapping[str, Array]) -> Array:
    train = values.get("train")
    return train if train is not None else next(iter(values.values()))


def _unknown(name: str, value: str, index: int, names: tuple[str, ...]) -> DataError:
    listed = ", ".join(names[:8]) + (", …" if len(names) > 8 else "")
    numbered = all(each == str(number) for number, each in enumerate(names))
    described = f"labels are in 0…{len(names) - 1}" if numbered else f"the classes are {listed}"
    return DataError(
        f"{name}[{index}] is {value}; {described}, as in training",
        hint="Number the classes 0, 1, 2, … the same way in all splits.",
    )


def _texts(names: Array) -> tuple[str, ...]:
    names = names.reshape(-1) if names.ndim == 2 and 1 in names.shape else names
    if names.ndim == 1 and names.dtype.kind == "S":
        names = np.char.decode(names, "utf-8", "replace")
    if names.ndim != 1 or names.dtype.kind != "U":
        raise DataError(
            "class_names is no list of texts", hint="Save numpy.array(['cat', 'dog', …])."
        )
    return tuple(str(name).strip() if str(name).strip() else str(name) for name in names)
