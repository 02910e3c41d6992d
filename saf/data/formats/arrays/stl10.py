"""STL-10's binary files. https://cs.stanford.edu/~acoates/stl10: `train_X.bin` holds uint8
`N 3 96 96` with each picture column by column, `train_y.bin` labels 1…10."""

from __future__ import annotations

from typing import ClassVar, Literal

from saf.data.arrays.assemble import ArrayFormat, assemble
from saf.data.arrays.names import Roles
from saf.data.arrays.stored.streamed import Columns, RawBytes
from saf.data.dataset import Dataset, Decision
from saf.data.formats.format import FORMATS, Recognised
from saf.data.sources.limits import Limits
from saf.data.sources.source import Source
from saf.errors import DataError

_SHAPE = (3, 96, 96)
_FILES = ("train_X.bin", "train_y.bin", "test_X.bin", "test_y.bin")
_NAMES = "class_names.txt"


@FORMATS.add
class Stl10(ArrayFormat):
    """`stl10_binary.tar.gz` as published: 96 × 96 pixels in colour, ten classes. The unlabelled
    images are left out."""

    label: ClassVar[str] = "STL-10's binary files"
    place: ClassVar[int] = 34
    specificity: ClassVar[int] = 60

    names_classes: ClassVar[bool] = True

    name: Literal["stl10"] = "stl10"

    @classmethod
    def detect(cls, source: Source) -> Recognised | None:
        names = {member.name.rsplit("/", 1)[-1] for member in source.members}
        return Recognised() if {"train_X.bin", "train_y.bin"} <= names else None

    def read(self, source: Source, limits: Limits) -> Dataset:
        found: dict[str, str] = {}
        for member in source.members:
            found.setdefault(member.name.rsplit("/", 1)[-1], member.name)
        wanted = _FILES if "test_X.bin" in found or "test_y.bin" in found else _FILES[:2]
        if missing := [name for name in wanted if name not in found]:
            raise DataError(
                f"{source.label} lacks {', '.join(missing)}",
                hint="Send stl10_binary.tar.gz as it is distributed.",
            )
        roles = Roles()
        for split in ("train", "test")[: len(wanted) // 2]:
            rows = RawBytes(source, found[f"{split}_X.bin"], 3 * 96 * 96)
            roles.samples[split] = Columns(rows, rows.name, 0, _SHAPE)
            labels = RawBytes(source, found[f"{split}_y.bin"], 1)
            roles.labels[split] = labels
        told = [] if self.layout else [Decision("layout", "N C W H", "STL-10 is kept by columns")]
        skipped = [
            f"{found[name]}: images without labels"
            for name in ("unlabeled_X.bin",)
            if name in found
        ]
        return assemble(
            roles,
            self,
            source,
            layout="N C W H",
            class_names=_class_names(source, found.get(_NAMES)),
            first_class=1,
            decisions=told,
            skipped=skipped,
        )


def _class_names(source: Source, name: str | None) -> tuple[str, ...] | None:
    if name is None:
        return None
    for content in source.contents([name]):
        text = content.read_whole(2**16).decode("utf-8", "replace")
        return tuple(line.strip() for line in text.splitlines() if line.strip())
    return None
