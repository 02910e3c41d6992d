"""The data sets that come with the library."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from saf.data.dataset import Dataset
from saf.data.labels import holdout
from saf.errors import DataError

DIGITS_SHA256 = "a7e90fa73760e8f2b1dedf547e10a262714d3855f807565302a081a95da5177c"


@dataclass(frozen=True, kw_only=True)
class CatalogueEntry:
    """What can be said of a data set without loading it."""

    title: str
    shape: tuple[int, int, int]  # C H W
    timesteps: int | None
    class_names: tuple[str, ...]
    train: int  # samples
    test: int
    val: int  # samples of a validation split of its own, 0: none
    licence: str
    source: str

    @property
    def classes(self) -> int:
        """The number of classes."""
        return len(self.class_names)


def digits() -> Dataset:
    """Real handwritten digits, those of scikit-learn, uint8 `N 1 8 8`: 1437 to train, 360 to test.

    A pixel v of 0…16 becomes ⌊(255 v + 8) / 16⌋, that is 255 v / 16 rounded half up. The split
    is the same always: see `saf.data.labels.holdout`, keys are the indices in scikit-learn's order.
    """
    content = Path(__file__).with_name("digits.npz").read_bytes()
    if hashlib.sha256(content).hexdigest() != DIGITS_SHA256:
        raise DataError(
            "the file of the data set digits is damaged where the program is installed",
            hint="Install the program again.",
        )
    with np.load(io.BytesIO(content), allow_pickle=False) as file:
        values, y = file["images"].astype(np.int64), file["target"].astype(np.int64)
    x = ((255 * values + 8) // 16).astype(np.uint8)[:, np.newaxis]
    test = holdout(y, [str(index) for index in range(len(y))], 10)
    return Dataset(
        x_train=x[~test],
        y_train=y[~test],
        x_test=x[test],
        y_test=y[test],
        class_names=tuple("0123456789"),
    )


BUILTIN: dict[str, Callable[[], Dataset]] = {"digits": digits}

CATALOGUE: dict[str, CatalogueEntry] = {
    "digits": CatalogueEntry(
        title="Handwritten digits, 8 × 8 pixels",
        shape=(1, 8, 8),
        timesteps=None,
        class_names=tuple("0123456789"),
        train=1437,
        test=360,
        val=0,
        licence="CC BY 4.0",
        source="E. Alpaydin, C. Kaynak, Optical Recognition of Handwritten Digits, UCI Machine "
        "Learning Repository, 1998, doi:10.24432/C50P49; as distributed with scikit-learn",
    )
}
"""Names and figures of `BUILTIN`, so that a list of them reads no samples."""
