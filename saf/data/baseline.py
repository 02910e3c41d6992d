"""What a network has to beat: the most frequent class, and a linear classifier of the samples.

Shapes: N samples, T time steps, C channels, H × W pixels, F features, K classes. Loads no torch.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

MAX_FEATURES = 1024
MAX_TRAINING_SAMPLES = 10_000
RIDGE = 0.3
"""Regularisation λ of the linear classifier, as a share of the number of training samples."""
_CHUNK = 2**22  # values looked at together
_ROWS = 1024  # samples whose scores are computed together


@dataclass(frozen=True, kw_only=True)
class Baselines:
    """Test accuracies, in [0, 1], that take no network."""

    most_frequent: float
    """Of always naming the most frequent class of the training samples."""
    most_frequent_class: int
    """The lowest where several classes are as frequent."""
    linear: float | None
    """Of a linear classifier, see `baselines`; None where there can be none."""
    linear_reason: str | None
    """Why there is no linear classifier; None where there is one."""
    linear_named: Array | None = field(default=None, compare=False, repr=False)
    """The class that the linear classifier names for each test sample (N); None where there is
    none."""
    seconds: float
    """What computing both took."""


def baselines(
    x_train: Array, y_train: Array, x_test: Array, y_test: Array, classes: int
) -> Baselines:
    """The accuracies that a network has to beat; deterministic, with bounded memory.

    Samples are `N C H W`, with event frames `N T C H W`, or series `N T C`; labels are integers in
    [0, classes). There is at least one sample in either split.

    The linear classifier is a ridge regression on one-hot targets. A sample's features are its
    values, of event frames their means over time. With more than 1,024 of them, squares of f × f
    pixels, or f time steps of series, are averaged, with the smallest f that leaves no more (parts
    at the edge are smaller).
    At most 10,000 training samples are taken, spread evenly over all. Features are standardised by
    mean and deviation of these samples; one that is constant among them is 0. With the features Z
    `N F` and the one-hot targets Y `N K`, from which its mean is taken, the weights minimise
    ‖Z W - Y‖² + λ ‖W‖² with λ = 0.3 N; the bias is the mean of Y and not regularised. A test sample
    is of the class with the highest score, the lowest of equal ones.
    """
    began = perf_counter()
    x_train, x_test = _as_images(x_train), _as_images(x_test)
    counts = np.bincount(y_train, minlength=classes)
    most_frequent = int(counts.argmax())
    named: Array | None = None
    try:
        named, reason = _linear(x_train, y_train, x_test), None
    except _NoClassifierError as error:
        reason = str(error)
    except MemoryError:
        reason = "memory did not suffice"
    return Baselines(
        most_frequent=float((np.asarray(y_test) == most_frequent).mean()),
        most_frequent_class=most_frequent,
        linear=None if named is None else float((named == np.asarray(y_test)).mean()),
        linear_reason=reason,
        linear_named=named,
        seconds=perf_counter() - began,
    )


class _NoClassifierError(Exception):
    """There is no linear classifier; the message says why."""


def _linear(x_train: Array, y_train: Array, x_test: Array) -> Array:
    """The class that a linear classifier names for each sample of `x_test`."""
    count = min(len(x_train), MAX_TRAINING_SAMPLES)
    chosen = np.arange(count) * len(x_train) // count
    factor = _pooling_factor(x_train.shape[-3:])
    present, y = np.unique(np.asarray(y_train)[chosen], return_inverse=True)
    if len(present) < 2:
        raise _NoClassifierError("the training samples are of one class")
    z = np.empty((count, _feature_count(x_train.shape[-3:], factor)), np.float32)  # (N, F)
    seen = 0
    for part in _features(x_train, chosen, factor):
        z[seen : seen + len(part)] = part
        seen += len(part)
    mean, scale = _moments(z)
    if np.isposinf(scale).all():
        raise _NoClassifierError("no feature differs between the training samples")
    if not np.isfinite(mean).all() or np.isnan(scale).any():
        raise _NoClassifierError("the samples hold values that are not finite")
    gram = np.zeros((z.shape[1], z.shape[1]))
    sums = np.zeros((len(present), z.shape[1]))  # (K, F): Yᵀ Z
    for part, labels in zip(_rows(z), _rows(y), strict=True):
        part[:] = _standardised(part, mean, scale)
        gram += part.T @ part
        order = np.argsort(labels, kind="stable")
        found, starts = np.unique(labels[order], return_index=True)
        sums[found] += np.add.reduceat(part[order], starts, axis=0)
    gram[np.diag_indices_from(gram)] += RIDGE * count
    share = np.bincount(y) / count  # (K,), means of the targets
    # Zᵀ (Y - mean of Y) is Zᵀ Y, since the columns of Z sum to 0.
    weights = np.linalg.solve(gram, sums.T).astype(np.float32)  # (F, K)
    return np.concatenate(
        [
            present[(_standardised(part, mean, scale) @ weights + share).argmax(axis=1)]
            for chunk in _features(x_test, np.arange(len(x_test)), factor)
            for part in _rows(chunk)
        ]
    )


def _as_images(x: Array) -> Array:
    """Series `N T C` as images of `T × 1` pixels, `N C T 1`, a view; others as they are."""
    return x.transpose(0, 2, 1)[..., None] if x.ndim == 3 else x


def _moments(z: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and deviation of each feature; the deviation is infinite where all values are equal.

    Divided by that, a feature is 0, in test samples, too, whatever their value is.
    """
    mean = z.mean(axis=0, dtype=np.float64)
    squares = np.zeros(z.shape[1])
    for part in _rows(z):
        squares += np.square(part - mean).sum(axis=0)
    return mean, np.where(z.min(axis=0) == z.max(axis=0), np.inf, np.sqrt(squares / len(z)))


def _rows(z: Array) -> Iterator[Array]:
    for start in range(0, len(z), _ROWS):
        yield z[start : start + _ROWS]


def _standardised(x: Array, mean: Array, scale: Array) -> NDArray[np.float32]:
    z: NDArray[np.float32] = ((x - mean) / scale).astype(np.float32)
    return z


def _pooling_factor(shape: tuple[int, ...]) -> int:
    """The side f of the squares of pixels that are averaged; 1: none."""
    factor = 1
    while factor < max(shape[1:]) and _feature_count(shape, factor) > MAX_FEATURES:
        factor += 1
    return factor


def _feature_count(shape: tuple[int, ...], factor: int) -> int:
    channels, height, width = shape
    return channels * math.ceil(height / factor) * math.ceil(width / factor)


def _features(x: Array, chosen: Array, factor: int) -> Iterator[NDArray[np.float32]]:
    """The features `(n, F)` of the chosen samples, chunk by chunk."""
    step = max(1, _CHUNK // max(1, x[0].size))
    for start in range(0, len(chosen), step):
        part = chosen[start : start + step]
        first, last = int(part[0]), int(part[-1])
        dense = last - first + 1 == len(part)
        # A slice of a mapped file is read as it lies; chosen rows are read one by one.
        values = x[first : last + 1] if dense else x[part]
        if values.ndim == 5:
            values = values.mean(axis=1, dtype=np.float32)
        yield _pooled(np.asarray(values, np.float32), factor).reshape(len(part), -1)


def _pooled(x: NDArray[np.float32], factor: int) -> NDArray[np.float32]:
    """Means over squares of pixels: `N C H W` → `N C ⌈H/f⌉ ⌈W/f⌉`."""
    if factor == 1:
        return x
    for axis in (2, 3):
        starts = np.arange(0, x.shape[axis], factor)
        sizes = np.diff(starts, append=x.shape[axis]).astype(np.float32)
        x = np.add.reduceat(x, starts, axis=axis)
        x /= sizes.reshape(-1, *(1,) * (3 - axis))
    return x
