"""Splits whose samples are all of one value, beside others that are not: written wrongly.

Shapes: N samples, T time steps, C channels, H × W pixels.
"""

from __future__ import annotations

from saf.data.blocks import blocks
from saf.data.dataset import SPLITS, Array, Dataset
from saf.data.statistics import frames_of
from saf.errors import DataError

_FOR = {"train": "training", "test": "testing", "val": "validation"}


def check_constant(dataset: Dataset) -> None:
    """Raise DataError where each sample of one split holds one value in each channel, and those of
    another split do not. Looks at no more than the first block of most splits. Training samples
    that are all equal are a finding, `equal_samples`, whatever the others are."""
    flat = {split: _is_constant(getattr(dataset, f"x_{split}")) for split in dataset.splits}
    if all(flat.values()) or not any(flat.values()):
        return
    split = next(each for each, constant in flat.items() if constant)
    other = next(each for each, constant in flat.items() if not constant)
    x = getattr(dataset, f"x_{split}")
    if split == "train" and all((block == x[:1]).all() for block in blocks(x)):
        return
    low, high = min(b.min() for b in blocks(x)), max(b.max() for b in blocks(x))
    which = f"{low:g} alone" if low == high else f"one value alone, from {low:g} to {high:g}"
    raise DataError(
        f"the splits hold values of different ranges: each of the {len(x):,} {SPLITS[split]} "
        f"samples holds {which}, those for {_FOR[other]} do not",
        hint=f"Check how the {SPLITS[split]} samples were written, and scale all splits alike.",
    )


def _is_constant(x: Array) -> bool:
    """Whether all values of each sample and channel are the same."""
    for block in blocks(x):
        frames = frames_of(block)
        axes = tuple(i for i in range(1, frames.ndim) if i != frames.ndim - 3)
        if bool((frames.min(axis=axes) != frames.max(axis=axes)).any()):
            return False
    return True
