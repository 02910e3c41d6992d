"""CIFAR-10 and CIFAR-100 in their binary version: records of label bytes and 3072 pixels.

Layout: https://www.cs.toronto.edu/~kriz/cifar.html. A record of CIFAR-10 is a label and red, green
and blue planes of 32 × 32; one of CIFAR-100 has a coarse and a fine label before them.
"""

from __future__ import annotations

import re
from typing import ClassVar, Literal

import numpy as np

from saf.data.arrays.assemble import ArrayFormat, assemble
from saf.data.arrays.names import Roles
from saf.data.arrays.stored.array import InMemory, Stored
from saf.data.arrays.stored.joined import Joined
from saf.data.arrays.stored.streamed import Columns, RawBytes
from saf.data.dataset import Dataset, Decision
from saf.data.formats.format import FORMATS, Recognised
from saf.data.sources.limits import Limits
from saf.data.sources.source import Source
from saf.errors import DataError

_SHAPE = (3, 32, 32)
_BATCH = re.compile(r"data_batch_(\d{1,3})\.bin$")
_BATCHES = 5  # of CIFAR-10
_NAMES = ("batches.meta.txt", "fine_label_names.txt")


@FORMATS.add
class CifarBinary(ArrayFormat):
    """`cifar-10-binary.tar.gz` or `cifar-100-binary.tar.gz`, as published, with the 100 fine
    classes."""

    label: ClassVar[str] = "CIFAR's binary batches"
    place: ClassVar[int] = 31
    specificity: ClassVar[int] = 60

    name: Literal["cifar-binary"] = "cifar-binary"

    @classmethod
    def detect(cls, source: Source) -> Recognised | None:
        names = {member.name.rsplit("/", 1)[-1] for member in source.members}
        known = {"data_batch_1.bin", "test_batch.bin"} <= names
        return Recognised() if known or {"train.bin", "test.bin"} <= names else None

    def read(self, source: Source, limits: Limits) -> Dataset:
        found: dict[str, str] = {}
        for member in source.members:
            base = member.name.rsplit("/", 1)[-1]
            if found.setdefault(base, member.name) != member.name and base.endswith(".bin"):
                raise DataError(
                    f"{source.label} holds both {found[base]} and {member.name}",
                    hint="Send one data set at a time.",
                )
        numbers = sorted(int(match[1]) for base in found if (match := _BATCH.match(base)))
        fine = not numbers
        if missing := sorted(set(range(1, max(numbers, default=0))) - set(numbers)):
            listed = ", ".join(f"data_batch_{n}.bin" for n in missing)
            raise DataError(
                f"{source.label} lacks {listed}",
                hint="Send cifar-10-binary.tar.gz as distributed, with all five batches.",
            )
        few = f"{len(numbers)} of {_BATCHES} batches"
        why = "the others of CIFAR-10 are not here"
        told = [Decision("", few, why)] if 0 < len(numbers) < _BATCHES else []
        train = ["train.bin"] if fine else [f"data_batch_{n}.bin" for n in numbers]
        test = "test.bin" if fine else "test_batch.bin"
        roles = Roles()
        for split, bases in (("train", train), ("test", [test])):
            samples, labels = zip(
                *(_batch(source, found[base], fine=fine) for base in bases), strict=True
            )
            roles.samples[split] = Joined(f"the images of {split}", samples)
            roles.labels[split] = Joined(f"the labels of {split}", labels)
        names = next((found[name] for name in _NAMES if name in found), None)
        return assemble(
            roles,
            self,
            source,
            layout="N C H W",
            class_names=_class_names(source, names),
            decisions=told,
        )


def _batch(source: Source, name: str, *, fine: bool) -> tuple[Stored, Stored]:
    before = 2 if fine else 1
    rows = RawBytes(source, name, before + 3 * 32 * 32)
    labels = np.empty(rows.shape[0], np.uint8)
    for index, block in rows.blocks():
        labels[index[0]] = block[:, before - 1]
    return Columns(rows, name, before, _SHAPE), InMemory(name, labels)


def _class_names(source: Source, name: str | None) -> tuple[str, ...] | None:
    if name is None:
        return None
    for content in source.contents([name]):
        text = content.read_whole(2**16).decode("utf-8", "replace")
        return tuple(line.strip() for line in text.splitlines() if line.strip())
    return None
