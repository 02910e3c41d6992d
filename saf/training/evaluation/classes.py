"""Accuracy class by class, and how much each class counts.

Shapes: `N` samples, `K` classes.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from saf.config import Loss

MOST_LISTED = 1000  # classes up to which a confusion matrix is reported


class SharesRight(NamedTuple):
    """Of each class the share of its samples that is right."""

    of_class: list[float | None]  # K; None for a class without samples
    mean: float  # over the classes that have samples: the balanced accuracy


def class_weights(loss: Loss, labels: Tensor, classes: int) -> Tensor | None:
    """How much a sample of each class counts (K): N / (K' n_c), where `loss` balances the classes;
    K' is the number of classes that occur, so that the mean over the samples is 1."""
    if loss.class_weights == "none":
        return None
    counts = labels.bincount(minlength=classes).double()
    present = int((counts > 0).sum())
    return torch.where(counts > 0, len(labels) / (present * counts.clamp(min=1)), 0.0)


def count_right(predicted: Tensor, labels: Tensor) -> int:
    """Number of predictions (N) that equal the labels (N)."""
    return int((predicted == labels).sum())


def shares_right(predicted: Tensor, labels: Tensor, classes: int) -> SharesRight:
    """Accuracy of each class, for the predictions `predicted` (N)."""
    counts = labels.bincount(minlength=classes)
    right = labels[predicted == labels].bincount(minlength=classes)
    shares = (right.double() / counts.clamp(min=1)).tolist()
    of_class = [share if n else None for share, n in zip(shares, counts.tolist(), strict=True)]
    there = [share for share in of_class if share is not None]
    return SharesRight(of_class, sum(there) / len(there))


def right_by_luck(predicted: Tensor, labels: Tensor, classes: int) -> float:
    """The share of `predicted` (N) that would be right, on average, in a random order."""
    named, there = (x.bincount(minlength=classes).double() for x in (predicted, labels))
    return float(named @ there) / len(labels) ** 2


def by_class(predicted: Tensor, labels: Tensor, class_names: tuple[str, ...]) -> dict[str, Any]:
    """Accuracy of each class, balanced accuracy and confusion matrix, as JSON values.

    `confusion[i][j]` counts the samples of class i that were taken for class j; it is left out of
    more than 1,000 classes.
    """
    classes = len(class_names)
    shares = shares_right(predicted, labels, classes)
    confusion = None
    if classes <= MOST_LISTED:
        table = (labels * classes + predicted).bincount(minlength=classes * classes)
        confusion = table.view(classes, classes).tolist()
    return {
        "names": list(class_names),
        "samples": labels.bincount(minlength=classes).tolist(),
        "accuracy": shares.of_class,
        "balanced_accuracy": shares.mean,
        "confusion": confusion,
    }
