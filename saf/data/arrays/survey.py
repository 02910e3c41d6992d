"""What the values of an array are like, found in one pass of bounded memory."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from saf.data.arrays.stored.array import Stored
from saf.data.dataset import Array
from saf.errors import DataError


@dataclass(frozen=True)
class Survey:
    """The values of one array, or of several together."""

    kind: str
    """"b", "u", "i" or "f", as numpy's `dtype.kind`."""
    itemsize: int
    lowest: float
    highest: float
    whole: bool
    """Whether all are whole numbers."""
    bytes_over_255: bool
    """Whether all are whole numbers divided by 255, as floats of images mostly are."""

    @property
    def is_integer(self) -> bool:
        """Whether the type holds whole numbers only."""
        return self.kind in "biu"


def survey(array: Stored) -> Survey:
    """Raises DataError where there are NaN or infinite values."""
    kind = array.dtype.kind
    if kind not in "biuf":
        raise DataError(
            f"{array.name} is {array.dtype}, not numbers",
            hint="Save samples as numbers with numpy.savez; names x_… are for samples, y_… for "
            "labels.",
        )
    lowest, highest = np.inf, -np.inf
    whole = scaled = True
    for _, block in array.blocks():
        low, high = float(block.min()), float(block.max())
        if not (np.isfinite(low) and np.isfinite(high)):
            raise DataError(
                f"{array.name} holds NaN or infinite values",
                hint="Remove or replace those samples.",
            )
        lowest, highest = min(lowest, low), max(highest, high)
        if kind == "f":
            whole = whole and bool((block == np.rint(block)).all())
            scaled = scaled and low > -1 and high < 2 and _is_scaled(block)
    return Survey(kind, array.dtype.itemsize, lowest, highest, whole, scaled)


def _is_scaled(block: Array) -> bool:
    levels = block.astype(np.float32, copy=False) * np.float32(255)
    return bool((np.abs(levels - np.rint(levels)) < 0.02).all())


def together(surveys: Collection[Survey]) -> Survey:
    """Of several arrays."""
    kinds = {each.kind for each in surveys}
    return Survey(
        next(kind for kind in "fiub" if kind in kinds),
        max(each.itemsize for each in surveys),
        min(each.lowest for each in surveys),
        max(each.highest for each in surveys),
        all(each.whole for each in surveys),
        all(each.bytes_over_255 for each in surveys),
    )
