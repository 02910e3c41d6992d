"""Evaluation of a network on samples that it is not trained on.

Shapes: `N` samples, `L` layers of spiking neurons.
"""

from __future__ import annotations

from functools import partial
from math import isfinite
from typing import NamedTuple

import torch
from torch import Tensor

from saf.config import ResolvedSpecification
from saf.config.methods import AT_THE_END
from saf.model.inference import infer
from saf.model.lengths import Lengths
from saf.model.network import SpikingNetwork
from saf.training.batches import Samples
from saf.training.failures import diverged
from saf.training.optimisation.loss import LossFunction
from saf.training.read_ahead import ReadAhead


class Evaluated(NamedTuple):
    """Results of an evaluation."""

    loss: float
    predicted: Tensor  # N, classes, on the CPU
    firing_rates: dict[str, float]  # spikes per neuron and step, of each layer


class Sums(NamedTuple):
    """Sums of an evaluation on the device of the network, without waiting for it."""

    totals: Tensor
    """1 + L, in float64: loss and firing rates, added up over the samples; a rate of padded ones
    counts by their own time steps."""
    predicted: Tensor  # N


def evaluate(
    network: SpikingNetwork,
    data: Samples,
    specification: ResolvedSpecification,
    loss: LossFunction,
    *,
    what: str = "test",
    chunk: int | None = None,
    samples: int = 0,
) -> Evaluated:
    """`network` on all of `data`; `chunk` steps at once where a batch has no more than `samples`,
    else as many as suit it.

    The loss is the quantity that the training minimises, dropout and augmentation aside: for
    methods with a loss at each step the mean over the steps, else that of the final readout. Raises
    `DivergedError`, which names the data as `what`, when it is not finite.
    """
    found = sums(network, data, specification, loss, chunk=chunk, samples=samples)
    value, *rates = found.totals.tolist()
    value /= len(data)
    lengths = None if data.lengths is None else Lengths(data.lengths)
    shown = _shown(lengths, len(data), specification)
    rates = [rate / shown for rate in rates]
    if not isfinite(value):
        raise diverged(f"on the {what} data", specification)
    names = [layer.name for layer in network.architecture.spiking]
    return Evaluated(value, found.predicted.cpu(), dict(zip(names, rates, strict=True)))


@torch.no_grad()
def sums(
    network: SpikingNetwork,
    data: Samples,
    specification: ResolvedSpecification,
    loss: LossFunction,
    *,
    chunk: int | None = None,
    samples: int = 0,
) -> Sums:
    """`evaluate` without its divisions and without waiting for the device."""
    totals, predicted, method = [], [], specification.method
    parts = torch.split(torch.arange(len(data)), specification.samples_at_once)
    read_ahead = ReadAhead(data, parts, len(parts))
    for number, indices in enumerate(parts):
        x, y = data[indices]
        lengths = data.lengths_of(indices)
        read_ahead.after(number)
        shown = infer(
            network,
            x,
            specification.timesteps,
            readout=method.readout,
            chunk=chunk if len(x) <= samples else None,
            loss=partial(_loss_of, loss, y),
            lengths=lengths,
            loss_at_each_step=method.loss_at_each_step and method.readout not in AT_THE_END,
        )
        assert shown.loss is not None
        of_loss, of_rates = shown.loss.double() * len(y), shown.firing_rates.double()
        of_rates = of_rates * _shown(lengths, len(y), specification)
        totals.append(torch.cat([of_loss[None], of_rates]))
        predicted.append(shown.scores.argmax(1))
    return Sums(torch.stack(totals).sum(0), torch.cat(predicted))


def _shown(lengths: Lengths | None, samples: int, specification: ResolvedSpecification) -> float:
    """How many samples of T time steps of their own so many samples are worth."""
    return float(samples) if lengths is None else lengths.shown(specification.timesteps)


def _loss_of(
    loss: LossFunction, y: Tensor, scores: Tensor, weights: Tensor | None = None
) -> Tensor:
    return loss(scores, y, weights)
