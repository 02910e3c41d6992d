"""Loss and accuracy on samples that a training does not learn from."""

from __future__ import annotations

from functools import partial
from math import isfinite

import torch
from torch import Tensor

from saf import winograd
from saf.batches import Samples
from saf.config import JobSpecification
from saf.failures import diverged
from saf.inference import infer, readout_of
from saf.loss import LossFunction
from saf.methods import AT_EACH_STEP
from saf.network import SpikingNetwork
from saf.precision import products, products_of


def evaluate(
    network: SpikingNetwork,
    data: Samples,
    specification: JobSpecification,
    loss: LossFunction,
    *,
    chunk: int | None = None,
    samples: int = 0,
) -> dict[str, float]:
    """`test_loss` and `test_accuracy` of `network` on all of `data`; `chunk` steps at once where
    a batch has no more than `samples`, else as many as suit it.

    The loss is the quantity that the training minimises, dropout and augmentation aside: for
    methods with a loss at each step the mean over the steps, else that of the final readout. Raises
    `DivergedError` when it is not finite.
    """
    total, correct = sums(network, data, specification, loss, chunk=chunk, samples=samples).tolist()
    if not isfinite(total):
        raise diverged("on the test data", specification)
    return {"test_loss": total / len(data), "test_accuracy": correct / len(data)}


@torch.no_grad()
def sums(
    network: SpikingNetwork,
    data: Samples,
    specification: JobSpecification,
    loss: LossFunction,
    *,
    chunk: int | None = None,
    samples: int = 0,
) -> Tensor:
    """The losses of all samples added up, and how many are right: two numbers in float64, on the
    device of `network`, which nobody has waited for."""
    found = []
    for indices in torch.split(torch.arange(len(data)), specification.samples_at_once):
        x, y = data[indices]
        with winograd.allowed(), products(products_of(specification.precision)):
            shown = infer(
                network,
                x,
                specification.timesteps,
                readout=readout_of(specification.method),
                chunk=chunk if len(x) <= samples else None,
                loss=partial(_loss_of, loss, y),
                loss_at_each_step=specification.method.name in AT_EACH_STEP,
            )
        assert shown.loss is not None
        correct = (shown.scores.argmax(1) == y).sum()
        found.append(torch.stack([shown.loss.double() * len(y), correct.double()]))
    return torch.stack(found).sum(0)


def _loss_of(loss: LossFunction, y: Tensor, scores: Tensor) -> Tensor:
    return loss(scores, y)
