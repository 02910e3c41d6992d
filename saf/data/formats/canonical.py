"""The one form in which data sets are kept, as `saf.data.save` writes it."""

from __future__ import annotations

from typing import ClassVar, Literal

from saf.data.canonical import load
from saf.data.dataset import Dataset
from saf.data.formats.format import FORMATS, Format, Recognised
from saf.data.sources.limits import Limits
from saf.data.sources.source import Source, check_archive_size
from saf.errors import DataError


@FORMATS.add
class Canonical(Format):
    """A file of `saf.data.save`: samples as they are, bytes or floats, with names of classes."""

    label: ClassVar[str] = "a file that saf.data.save wrote"
    place: ClassVar[int] = 50
    specificity: ClassVar[int] = 100
    packed: ClassVar[bool] = False

    name: Literal["canonical"] = "canonical"

    @classmethod
    def detect(cls, source: Source) -> Recognised | None:
        return Recognised() if _looks_canonical(source) else None

    def read(self, source: Source, limits: Limits) -> Dataset:
        if not _looks_canonical(source):
            raise DataError(
                f"{source.label} was not written by saf.data.save", hint="Use the format auto."
            )
        check_archive_size(source.path, limits)
        dataset = load(source.path)
        for split in dataset.splits:
            x = getattr(dataset, f"x_{split}")
            limits.check_array(f"x_{split}", x.shape, x.itemsize)
        return dataset


def _looks_canonical(source: Source) -> bool:
    """Whether it is a safetensors file: the length of its header, and the header's bracket."""
    start = source.head(source.label, 9) if source.single else b""
    return len(start) == 9 and start[8:] == b"{" and start[4:8] == b"\0\0\0\0"
