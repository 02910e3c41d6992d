"""Which training samples are kept for validation."""

from __future__ import annotations

import hashlib
from math import ceil

import numpy as np
from numpy.typing import NDArray


def hold_out(labels: NDArray[np.int64], share: float, *, seed: int) -> NDArray[np.bool_]:
    """A mask of the samples (N) that are kept for validation: ⌈share · n⌉ of the n of each class,
    and never all of a class: the last sample of a class is trained on.

    In each class those are taken whose SHA-256 of seed and index is smallest, so the choice depends
    on `labels`, `share` and `seed` alone. Raises ValueError unless 0 ≤ share < 1.
    """
    if not 0 <= share < 1:
        raise ValueError(f"a share is at least 0 and less than 1, not {share}")
    chosen = np.zeros(len(labels), np.bool_)
    if share == 0:
        return chosen
    order = np.argsort([_place(seed, index) for index in range(len(labels))], kind="stable")
    order = order[np.argsort(labels[order], kind="stable")]  # class by class
    _, starts, counts = np.unique(labels[order], return_index=True, return_counts=True)
    for start, samples in zip(starts, counts, strict=True):
        chosen[order[start : start + held_out_of(int(samples), share)]] = True
    return chosen


def held_out_of(samples: int, share: float) -> int:
    """How many of so many samples of a class are held out."""
    return min(max(samples - 1, 0), ceil(round(share * samples, 6)))


def _place(seed: int, index: int) -> int:
    digest = hashlib.sha256(f"{seed}/validation/{index}".encode()).digest()
    return int.from_bytes(digest[:7])
