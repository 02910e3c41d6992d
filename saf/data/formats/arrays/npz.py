"""numpy's `.npz`: arrays by name, `x_train y_train x_test y_test` and what others call them."""

from __future__ import annotations

from typing import ClassVar, Literal

from saf.data.arrays.assemble import ArrayFormat, assemble
from saf.data.arrays.names import names_a_split
from saf.data.arrays.stored.npy import HINT, MAGIC
from saf.data.arrays.stored.npz import arrays_in, open_arrays
from saf.data.dataset import Dataset
from saf.data.formats.format import FORMATS, Recognised
from saf.data.sources.limits import Limits
from saf.data.sources.source import Source
from saf.errors import DataError


@FORMATS.add
class Npz(ArrayFormat):
    """Arrays named `x_train y_train x_test y_test`, `X_train …`, `train_images train_labels …`,
    `data labels` and the like; perhaps `x_val y_val` and `class_names`. Images `N C H W`,
    `N H W C` or `N H W`, event frames `N T C H W`, in bytes, other integers or floats; what shape
    and values leave open is asked. Without test samples a fifth of each class is held out. A zip
    may also hold `.npy` files, or a `train.npz` and a `test.npz`."""

    label: ClassVar[str] = "an .npz with x_train, y_train, x_test, y_test"
    place: ClassVar[int] = 40
    specificity: ClassVar[int] = 10
    packed: ClassVar[bool] = False

    name: Literal["npz"] = "npz"

    @classmethod
    def detect(cls, source: Source) -> Recognised | None:
        if source.single:
            if source.head(source.label, 6) == MAGIC:
                raise DataError(
                    f"{source.label} is a single array: samples and labels are two",
                    hint="Send an .npz with all four arrays, or a zip of x_train.npy, "
                    f"y_train.npy, … {HINT}",
                )
            return None
        return Recognised() if arrays_in(source) else None

    @classmethod
    def claims(cls, name: str) -> bool:
        return name.lower().endswith(".npz") and names_a_split(name)

    def read(self, source: Source, limits: Limits) -> Dataset:
        arrays, skipped = open_arrays(source)
        return assemble(arrays, self, source, skipped=skipped)
