"""Class numbers and class names out of what people label samples with.

Numbers from 0, from 1 or with gaps, -1 and 1, whole floats, truth values, texts and one-hot rows:
the classes are the values that occur in training, in their order, named by them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from saf.data.dataset import MAX_CLASSES, Array, Decision, check_class_names
from saf.data.formats.spelling import Case, one_spelling
from saf.data.labels import several_in_one
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
    told: tuple[Decision, ...] = ()
    """What was decided of names that are spelled in several ways."""


class BaseError(DataError):
    """Labels may count the names of classes from 0 or from 1. `ways` are what the lowest label that
    occurs is called then."""

    def __init__(self, lowest: int, highest: int, names: Sequence[str]) -> None:
        super().__init__(
            f"the labels go from {lowest} to {highest}, and there are {len(names)} class names: do "
            "they count from 0 or from 1?",
            hint="Say first_class = 0 or 1.",
        )
        self.lowest = lowest
        self.ways = names[lowest], names[lowest - 1]


def classes_of(
    labels: Mapping[str, Array],
    names: Array | None = None,
    *,
    known: tuple[str, ...] | None = None,
    titles: Mapping[str, str] | None = None,
    base: int | None = 0,
    label: str = "the data set",
    case: Case | None = None,
) -> Classes:
    """Class numbers of splits by name ("train" and others, or "all"), with names of classes where
    there are any: `names` as an array, or `known`. `titles` say what messages call the labels of a
    split. `base` is the label that has the first name, None where nobody said so; `case` is what
    names that differ in case alone are, in the data set called `label`. Raises DataError where they
    are no classes, BaseError where no label says what they count from, NeedsChoiceError."""
    titles = titles or {split: f"y_{split}" for split in labels}
    width = max((array.shape[1] for array in labels.values() if array.ndim == 2), default=1)
    plain = {split: _plain(array, titles[split], width) for split, array in labels.items()}
    reasons = {reason for _, reason in plain.values() if reason}
    if names is not None:
        known = _texts(names, [array for array, _ in plain.values()])
        if known is None and names.dtype.kind in "SU":
            reasons.add("there is a name for each sample, and names of classes are fewer")
    values = {split: array for split, (array, _) in plain.items()}
    texts = {array.dtype.kind == "U" for array in values.values()}
    if len(texts) > 1:
        raise DataError(
            "some splits have texts as labels, others numbers",
            hint="Label all splits in the same way.",
        )
    told: list[Decision] = []
    if texts == {True}:
        if known is None:
            values, told = _spelled(values, label, case)
        found = _of_texts(values, known, titles)
        numbers = all(map(_is_number, found.names))
        order = "as numbers" if numbers else "as texts, character by character"
        reasons.add(f"class names are the labels, sorted {order}" if known is None else "")
    else:
        found, reason = _of_numbers(values, known, titles, base)
        reasons.add(reason)
    check_class_names(found.names)
    return Classes(found.labels, found.names, "; ".join(sorted(reasons - {""})), tuple(told))


def _spelled(
    values: Mapping[str, Array], label: str, case: Case | None
) -> tuple[dict[str, Array], list[Decision]]:
    """Texts in which each class has one name, and what was decided."""
    train, numbers = np.unique(_training(values), return_counts=True)
    trained = dict(zip(map(str, train), map(int, numbers), strict=True))
    every = {str(text) for array in values.values() for text in np.unique(array)}
    final, told = one_spelling(label, trained, sorted(every - trained.keys()), case)
    found = {}
    for split, array in values.items():
        texts, inverse = np.unique(array, return_inverse=True)
        found[split] = np.array([final[str(text)] for text in texts], np.str_)[inverse.reshape(-1)]
    return found, told


def _plain(values: Array, name: str, width: int) -> tuple[Array, str]:
    """One label per sample, int64 or texts, and what was done for it. `width` is how many values a
    sample has in the split that has most of them."""
    reason = ""
    one_row = values.shape == (1, width) and width > 1 and _is_one_hot(values)
    if (values.ndim == 2 and 1 in values.shape and not one_row) or (
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
        if not whole or float(np.abs(values).max()) >= 2**53:
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
            if _is_one_hot(rows):
                return rows.argmax(axis=1).astype(np.int64), f"labels are one-hot rows{turned}"
    raise DataError(
        f"{name} has the shape {values.shape}, and its rows are not one-hot; one label per sample "
        "is expected",
        hint="A sample has one class here: give its number, from rows of probabilities by "
        "y.argmax(axis=1).",
    )


def _is_one_hot(rows: Array) -> bool:
    hot = (rows != 0).sum(axis=1) == 1
    return bool(hot.all()) and len({float(v) for v in np.unique(rows)} - {0.0}) == 1


@dataclass(frozen=True)
class _Found:
    labels: dict[str, Labels]
    names: tuple[str, ...]


def _of_texts(
    values: Mapping[str, Array], known: tuple[str, ...] | None, titles: Mapping[str, str]
) -> _Found:
    train = _training(values)
    occurring = [str(v) for v in np.unique(train)]
    if all(map(_is_number, occurring)):
        occurring.sort(key=int)
    if known is None:
        _check_repeated(len(occurring), len(train), "texts", _title(titles))
        if (several := several_in_one(occurring)) is not None:
            raise DataError(
                f"the labels, {_title(titles)}, hold several classes in one, such as "
                f"{several[:60]!r}",
                hint="A sample has one class here: keep one of them. If each is one name, write it "
                "without '|', ';' or ',', and numbers without spaces between: '0-2'.",
            )
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


def _is_number(text: str) -> bool:
    """Whether a text is a whole number, by which texts are sorted where all are such."""
    return text.lstrip("-").isdigit() and len(text) < 10


def _of_numbers(
    values: Mapping[str, Array],
    known: tuple[str, ...] | None,
    titles: Mapping[str, str],
    base: int | None,
) -> tuple[_Found, str]:
    train = _training(values)
    title = _title(titles)
    occurring = np.unique(train)
    lowest, highest = int(occurring[0]), int(occurring[-1])
    if known is not None:
        return _of_known(values, known, base)
    if lowest < 0 and [int(n) for n in occurring] != [-1, 1]:
        index = int((train == lowest).argmax())
        raise DataError(
            f"{title}[{index}] is {lowest}; labels are class numbers of at least 0, or -1 and 1",
            hint="Number the classes 0, 1, 2, … the same way in all splits; leave out samples "
            "without a label, which -1 often marks.",
        )
    _check_repeated(len(occurring), len(train), "numbers", title)
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


def _of_known(
    values: Mapping[str, Array], names: tuple[str, ...], base: int | None
) -> tuple[_Found, str]:
    lowest = min(int(array.min()) for array in values.values())
    highest = max(int(array.max()) for array in values.values())
    if base is None and 1 <= lowest <= highest < len(names):
        raise BaseError(lowest, highest, names)
    if lowest >= 1 and highest == len(names):
        base = 1
    base = base or 0
    if not base <= lowest <= highest < len(names) + base:
        raise DataError(
            f"the labels go from {lowest} to {highest}, and there are {len(names)} class names",
            hint="Give one name for each class, in the order of the numbers 0, 1, 2, …",
        )
    if not base:
        return _Found(dict(values), names), ""
    return _Found({split: a - 1 for split, a in values.items()}, names), "labels count from 1"


def _check_repeated(different: int, samples: int, what: str, title: str) -> None:
    """DataError for labels of which most occur once."""
    if different > MAX_CLASSES or (different > 32 and different > _MOSTLY_DIFFERENT * samples):
        are = "quantities or numbers" if what == "numbers" else "names or captions"
        raise DataError(
            f"the labels, {title}, hold {different} different {what} for {samples} samples, as "
            f"{are} of samples do",
            hint="Give a class number or name for each sample: 0, 1, 2, …; where classes are "
            "elsewhere, say where (labels_from).",
        )


def _training(values: Mapping[str, Array]) -> Array:
    train = values.get("train")
    return train if train is not None else next(iter(values.values()))


def _title(titles: Mapping[str, str]) -> str:
    """What messages call the labels of training."""
    return titles.get("train") or next(iter(titles.values()))


def _unknown(name: str, value: str, index: int, names: tuple[str, ...]) -> DataError:
    listed = ", ".join(names[:8]) + (", …" if len(names) > 8 else "")
    numbered = all(each == str(number) for number, each in enumerate(names))
    described = f"labels are in 0…{len(names) - 1}" if numbered else f"the classes are {listed}"
    return DataError(
        f"{name}[{index}] is {value}; {described}, as in training",
        hint="Number the classes 0, 1, 2, … the same way in all splits.",
    )


def _texts(names: Array, labels: Sequence[Array]) -> tuple[str, ...] | None:
    """The names of the classes. Numbers name them where they are not the labels themselves; None of
    names of samples."""
    names = names.reshape(-1) if names.ndim == 2 and 1 in names.shape else names
    if names.ndim == 1 and names.dtype.kind in "biuf":
        is_list = len(np.unique(names)) == len(names) > 1
        if not is_list or any(a.dtype.kind == "U" or np.isin(a, names).all() for a in labels):
            return None
        whole = (names == np.rint(names)).all() if names.dtype.kind == "f" else True
        return tuple(str(int(name)) if whole else str(name) for name in names)
    if names.ndim == 1 and names.dtype.kind == "S":
        names = np.char.decode(names, "utf-8", "replace")
    if names.ndim != 1 or names.dtype.kind != "U":
        raise DataError(
            "class_names is no list of texts", hint="Save numpy.array(['cat', 'dog', …])."
        )
    samples = max(map(len, labels)), sum(map(len, labels))
    if len(names) in samples and len(names) > max(len(np.unique(array)) for array in labels):
        return None
    return tuple(str(name).strip() if str(name).strip() else str(name) for name in names)
