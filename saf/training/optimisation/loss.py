"""The loss function of a training.

Shapes: `N` samples, `K` classes.
"""

from __future__ import annotations

from math import log
from typing import Protocol

import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from saf.config import Loss


class LossFunction(Protocol):
    """The mean loss of scores, N K, and labels, N; with weights, N, that of the samples times
    theirs."""

    def __call__(
        self, scores: Tensor, labels: Tensor, weights: Tensor | None = None, /
    ) -> Tensor: ...


def loss_of_no_answer(loss: Loss, classes: int) -> float:
    """Loss, without label smoothing, of equal scores for all classes: that of an untrained
    network."""
    return (1.0 - loss.mse_share) * log(classes) + loss.mse_share / classes


def loss_function(loss: Loss, class_weights: Tensor | None = None) -> LossFunction:
    """`(scores N K, labels N) → scalar`: (1 − m) · cross entropy + m · mean squared error.

    Both are means over the samples; the squared error is also a mean over the classes. The target
    is one-hot, or (1 − s) · one-hot + s / K with label smoothing s. Without, this is the loss of
    the code published with OTTT (m = 0.05) at one time step; the factor 1 / T of methods with a
    loss at each step is theirs to apply. With `class_weights` (K) the loss of a sample is
    multiplied by the weight of its class before the mean: so parts of a batch add up to the
    whole.
    """
    share, smoothing = loss.mse_share, loss.label_smoothing

    def evaluate(scores: Tensor, labels: Tensor, weights: Tensor | None = None) -> Tensor:
        if class_weights is not None:
            of_classes = class_weights.to(scores.device, scores.dtype)[labels]
            weights = of_classes if weights is None else weights * of_classes
        if weights is not None:
            return weighted(scores, labels, weights)
        value = (1.0 - share) * F.cross_entropy(scores, labels, label_smoothing=smoothing)
        if share:
            classes = scores.shape[1]
            target = F.one_hot(labels, classes).to(scores.dtype)
            target = (1.0 - smoothing) * target + smoothing / classes
            value = value + share * F.mse_loss(scores, target)
        return value

    def weighted(scores: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
        each = F.cross_entropy(scores, labels, label_smoothing=smoothing, reduction="none")
        each = (1.0 - share) * each
        if share:
            classes = scores.shape[1]
            target = F.one_hot(labels, classes).to(scores.dtype)
            target = (1.0 - smoothing) * target + smoothing / classes
            each = each + share * F.mse_loss(scores, target, reduction="none").mean(1)
        return (weights * each).mean()

    return evaluate
