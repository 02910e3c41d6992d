"""Loss and accuracy on samples that a training does not learn from."""

from __future__ import annotations

from math import isfinite

import torch

from saf import winograd
from saf.batches import Samples
from saf.config import JobSpecification
from saf.failures import diverged
from saf.inference import infer, readout_of
from saf.loss import LossFunction
from saf.network import SpikingNetwork
from saf.precision import products, products_of


@torch.no_grad()
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

    The loss is that of the scores over the number of steps that they are a sum of. Raises
    `DivergedError` when it is not finite.
    """
    readout = readout_of(specification.method)
    steps = specification.timesteps if readout == "sum" else 1
    sums = torch.zeros(2, dtype=torch.float64)
    for indices in torch.split(torch.arange(len(data)), specification.samples_at_once):
        x, y = data[indices]
        with winograd.allowed(), products(products_of(specification.precision)):
            scores = infer(
                network,
                x,
                specification.timesteps,
                readout=readout,
                chunk=chunk if len(x) <= samples else None,
            ).scores
        correct = (scores.argmax(1) == y).sum()
        value = loss(scores / steps, y) * len(y)
        sums += torch.stack([value.double(), correct.double()]).cpu()
    total, correct_total = sums.tolist()
    if not isfinite(total):
        raise diverged("on the test data", specification)
    return {"test_loss": total / len(data), "test_accuracy": correct_total / len(data)}
