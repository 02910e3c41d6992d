"""HDF5 with arrays by name: `x_train …`, groups `train` and `test`, or a file for each."""

from __future__ import annotations

import re
from typing import ClassVar, Literal

from saf.data.arrays.assemble import ArrayFormat, assemble
from saf.data.arrays.stored.array import Stored
from saf.data.arrays.stored.hdf5 import hdf5_arrays
from saf.data.dataset import Dataset
from saf.data.formats.format import FORMATS, Recognised
from saf.data.sources.hdf5 import MAGIC
from saf.data.sources.limits import Limits
from saf.data.sources.source import Source

SUFFIXES = (".h5", ".hdf5", ".hdf", ".he5")
_MOST_FILES = 16
_RECORDING = re.compile(r"(^|/)(shd|ssc)_(train|valid|test)\.h5$")
"""Spikes and no arrays; another format's."""


@FORMATS.add
class Hdf5(ArrayFormat):
    """Datasets named as the arrays of an `.npz`: `x_train y_train x_test y_test`, or `x` and `y` in
    groups `train` and `test`, or in a file for each."""

    label: ClassVar[str] = "HDF5 with x_train, y_train, …"
    place: ClassVar[int] = 42
    specificity: ClassVar[int] = 15
    packed: ClassVar[bool] = False
    packages: ClassVar[tuple[str, ...]] = ("h5py",)

    name: Literal["hdf5"] = "hdf5"

    @classmethod
    def detect(cls, source: Source) -> Recognised | None:
        return Recognised() if _files(source) else None

    def read(self, source: Source, limits: Limits) -> Dataset:
        arrays: list[Stored] = []
        skipped: list[str] = []
        files = _files(source)
        for name in files:
            found, left = hdf5_arrays(source, name, name if len(files) > 1 else "")
            arrays += found
            skipped += left
        return assemble(arrays, self, source, skipped=skipped)


def _files(source: Source) -> list[str]:
    if any(_RECORDING.search(member.name) for member in source.members):
        return []
    if source.single:
        return [source.label] if source.head(source.label, len(MAGIC)) == MAGIC else []
    found = [m.name for m in source.members if m.name.lower().endswith(SUFFIXES)]
    return found if len(found) <= _MOST_FILES else []
