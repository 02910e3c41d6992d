"""What a batch gave: its loss, its scores, how often its neurons fired."""

from __future__ import annotations

from math import prod
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from saf.config import Method
from saf.kernels.transfer import constants
from saf.model.presentation import Layered

Readout = Literal["sum", "final"]
"""What a prediction is read from: the sum of the readouts at each step, or the readout of the
weighted firing rates at the final one."""


def readout_of(method: Method) -> Readout:
    """How a network trained with `method` is read."""
    return "final" if method.readout == "weighted" else "sum"


class Outcome(NamedTuple):
    """What a batch gave, without a graph."""

    loss: Tensor  # scalar: what the gradients are of
    scores: Tensor  # B classes: what a prediction is read from
    firing_rates: Tensor  # spikes per neuron and step, for every population


class Tally:
    """Sums over the steps of a batch."""

    def __init__(
        self, network: Layered, samples: int, timesteps: int, readout: Readout = "sum"
    ) -> None:
        """The scores are those of the last step for the readout `final`, else those of all."""
        shapes = network.architecture.shapes()
        self.timesteps = timesteps
        self._neurons = tuple(
            float(samples * timesteps * prod(shapes[p.name])) for p in network.architecture.spiking
        )
        self._readout = readout
        self._loss: list[Tensor] = []
        self._scores: Tensor | None = None
        self._fired: list[Tensor] = []

    def add(
        self,
        fired: Tensor | None,
        loss: Tensor | None = None,
        scores: Tensor | None = None,
    ) -> None:
        """One or more steps: how many spikes of every population, if they were not counted yet, the
        share of these steps in the loss, if they have one, and their scores, K B classes or those
        of one step."""
        if fired is not None:
            self._fired.append(fired)
        if loss is not None:
            self._loss.append(loss.detach())
        if scores is not None:
            steps = scores.detach() if scores.dim() == 3 else scores.detach()[None]
            if self._readout == "final":
                self._scores = steps[-1]
            else:
                self._scores = steps.sum(0) if self._scores is None else self._scores + steps.sum(0)

    @property
    def scores(self) -> Tensor | None:
        """So far, B classes; None before there are any."""
        return self._scores

    def outcome(self) -> Outcome:
        fired = torch.stack(self._fired).sum(0)
        assert self._scores is not None, "a batch has at least one step"
        scores = self._scores
        loss = torch.stack(self._loss).sum() if self._loss else scores.new_zeros(())
        neurons = constants(self._neurons, fired.dtype, fired.device)
        return Outcome(loss, scores, fired / neurons)
