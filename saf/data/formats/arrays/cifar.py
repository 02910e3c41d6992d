"""CIFAR-10 and CIFAR-100 in their Python version: pickled batches, read without unpickling.

Layout: https://www.cs.toronto.edu/~kriz/cifar.html. A batch is a dictionary with `data`, uint8
`(N, 3072)`, each row red, green and blue planes of 32 × 32, and `labels` or `fine_labels`.
"""

from __future__ import annotations

import re
from typing import Any, ClassVar, Literal

import numpy as np

from saf.data.dataset import Array, Dataset, check_labels
from saf.data.formats.arrays.pickle_subset import read_pickled
from saf.data.formats.format import FORMATS, Format, Recognised
from saf.data.labels import class_names_of
from saf.data.sources.limits import Limits
from saf.data.sources.source import Source
from saf.errors import DataError

_SHAPE = (3, 32, 32)
_ROW = 3 * 32 * 32
_BATCH = re.compile(r"data_batch_(\d{1,3})$")
_FILES = (
    "Send cifar-10-python.tar.gz or cifar-100-python.tar.gz as distributed: data_batch_1 … and "
    "test_batch, or train and test."
)


@FORMATS.add
class Cifar(Format):
    """`cifar-10-batches-py` or `cifar-100-python`, as published, with the 100 fine classes; read
    without executing anything. Images are uint8 `N 3 32 32`."""

    label: ClassVar[str] = "CIFAR's Python batches"
    place: ClassVar[int] = 30
    specificity: ClassVar[int] = 50

    name: Literal["cifar-python"] = "cifar-python"

    @classmethod
    def detect(cls, source: Source) -> Recognised | None:
        names = {member.name.rsplit("/", 1)[-1] for member in source.members}
        known = {"data_batch_1", "test_batch"} <= names or {"train", "test", "meta"} <= names
        return Recognised() if known else None

    def read(self, source: Source, limits: Limits) -> Dataset:
        return _read(source, limits)


def _read(source: Source, limits: Limits) -> Dataset:
    train, test, meta = _files(source)
    batches: dict[str, tuple[Array, Array]] = {}
    class_names: tuple[str, ...] | None = None
    wanted = [*train, test, *([meta] if meta else [])]
    for content in source.contents(wanted):
        values = read_pickled(content.read_whole(limits.max_unpacked_bytes), content.name)
        if not isinstance(values, dict):
            raise DataError(f"{content.name} holds no dictionary", hint=_FILES)
        if content.name == meta:
            class_names = _class_names(values, meta)
        else:
            batches[content.name] = _batch(values, content.name)
    y_train = np.concatenate([batches[name][1] for name in train])
    if class_names is None:
        class_names = class_names_of(y_train, "the labels of the training batches")
    for name in (*train, test):
        check_labels(batches[name][1], f"{name}: labels", len(class_names))
    return Dataset(
        x_train=_joined(source, [batches[name][0] for name in train]),
        y_train=y_train,
        x_test=batches[test][0],
        y_test=batches[test][1],
        class_names=class_names,
    )


def _joined(source: Source, parts: list[Array]) -> Array:
    x = source.allocate("all training images", (sum(map(len, parts)), *_SHAPE), np.uint8)
    start = 0
    for part in parts:
        x[start : start + len(part)] = part
        start += len(part)
    return x


def _files(source: Source) -> tuple[list[str], str, str | None]:
    """Names of the training batches in their order, of the test batch and of the class names."""
    found: dict[str, str] = {}
    for member in source.members:
        base = member.name.rsplit("/", 1)[-1]
        if not (
            _BATCH.match(base) or base in ("test_batch", "batches.meta", "train", "test", "meta")
        ):
            continue
        if base in found:
            raise DataError(
                f"{source.label} holds both {found[base]} and {member.name}",
                hint="Send one data set at a time.",
            )
        found[base] = member.name
    numbers = sorted(int(match[1]) for base in found if (match := _BATCH.match(base)))
    if not numbers and {"train", "test"} <= found.keys():
        return [found["train"]], found["test"], found.get("meta")
    missing = [f"data_batch_{n}" for n in range(1, max(numbers, default=1) + 1) if n not in numbers]
    missing += [] if "test_batch" in found else ["test_batch"]
    if missing:
        raise DataError(f"{source.label} lacks {', '.join(missing[:10])}", hint=_FILES)
    return (
        [found[f"data_batch_{n}"] for n in numbers],
        found["test_batch"],
        found.get("batches.meta"),
    )


def _batch(values: dict[Any, Any], name: str) -> tuple[Array, Array]:
    data = values.get("data")
    if not isinstance(data, np.ndarray) or data.dtype != np.uint8 or data.ndim != 2:
        raise DataError(f"{name} holds no array of bytes named 'data'", hint=_FILES)
    if data.shape[1] != _ROW:
        raise DataError(
            f"{name}: the rows of 'data' have {data.shape[1]} bytes; {_ROW} (3 × 32 × 32) expected",
            hint="Send images of another size as a folder, as IDX or as .npz.",
        )
    labels = values.get("fine_labels", values.get("labels"))
    if isinstance(labels, list):
        labels = _label_array(labels, name)
    if not isinstance(labels, np.ndarray):
        raise DataError(f"{name} holds neither 'labels' nor 'fine_labels'", hint=_FILES)
    if len(labels) != len(data):
        raise DataError(f"{name} holds {len(data)} images and {len(labels)} labels", hint=_FILES)
    return data.reshape(-1, *_SHAPE), labels


def _label_array(labels: list[Any], name: str) -> Array:
    for index, label in enumerate(labels):
        if type(label) is not int or not -(2**31) <= label < 2**31:
            raise DataError(f"{name}: label {index} is no class number", hint=_FILES)
    return np.array(labels, np.int64)


def _class_names(values: dict[Any, Any], name: str) -> tuple[str, ...]:
    names = values.get("fine_label_names", values.get("label_names"))
    if not isinstance(names, list) or not all(isinstance(n, (str, bytes)) for n in names):
        raise DataError(f"{name} holds no list of class names", hint=_FILES)
    return tuple(n.decode("latin-1") if isinstance(n, bytes) else n for n in names)
