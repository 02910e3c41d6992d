"""The result of a batch: its loss, its scores and the firing rates of its layers."""

from __future__ import annotations

from math import prod
from typing import NamedTuple

import torch
from torch import Tensor

from saf.config.methods import Readout
from saf.kernels.transfer import constants
from saf.model.forward.presentation import Layered
from saf.model.lengths import Lengths


class Outcome(NamedTuple):
    """The result of a batch, without an autograd graph."""

    loss: Tensor  # scalar, the one whose gradients the parameters hold
    scores: Tensor  # B classes; the prediction is the largest one
    firing_rates: Tensor  # of each spiking layer: spikes per neuron and (own) time step


class Tally:
    """Sums of losses, scores and spikes over the time steps of a batch."""

    def __init__(
        self,
        network: Layered,
        samples: int,
        timesteps: int,
        readout: Readout = "mean",
        lengths: Lengths | None = None,
    ) -> None:
        """The scores are those of the last time step for `weighted` and `last`, the sum for `mean`,
        and the largest for `max`; with `lengths` those of a sample at its own end, for which the
        scores of all time steps have to come, in order."""
        shapes = network.architecture.shapes()
        steps = samples * timesteps if lengths is None else int(lengths.steps.sum())
        self._neurons = tuple(
            float(steps * prod(shapes[p.name])) for p in network.architecture.spiking
        )
        self._readout, self._lengths, self._step = readout, lengths, 0
        self._loss: list[Tensor] = []
        self._scores: Tensor | None = None
        self._fired: list[Tensor] = []

    def add(
        self,
        fired: Tensor | None,
        loss: Tensor | None = None,
        scores: Tensor | None = None,
    ) -> None:
        """Add one or more time steps: the number of spikes of each layer, if they were not
        counted yet, their share of the loss, if they have one, and their scores, K B classes or
        B classes."""
        if fired is not None:
            self._fired.append(fired)
        if loss is not None:
            self._loss.append(loss.detach())
        if scores is not None:
            steps = scores.detach() if scores.dim() == 3 else scores.detach()[None]
            if self._lengths is not None:
                self._scores = self._until_the_end(steps, self._lengths)
            elif self._readout in ("weighted", "last"):
                self._scores = steps[-1]
            elif self._readout == "max":
                most = steps.amax(0)
                self._scores = most if self._scores is None else self._scores.maximum(most)
            else:
                self._scores = steps.sum(0) if self._scores is None else self._scores + steps.sum(0)

    def _until_the_end(self, steps: Tensor, lengths: Lengths) -> Tensor:
        times = range(self._step + 1, self._step + len(steps) + 1)
        self._step = times[-1]
        before = self._scores
        if self._readout == "max":
            steps = steps if before is None else steps.maximum(before)
            steps = steps.cummax(0).values
        elif self._readout == "mean":
            steps = steps.cumsum(0)
            steps = steps if before is None else before + steps
        return lengths.held(before, steps, times)

    @property
    def scores(self) -> Tensor | None:
        """Scores so far, B classes; None before there are any."""
        return self._scores

    def outcome(self) -> Outcome:
        fired = torch.stack(self._fired).sum(0)
        assert self._scores is not None, "a batch has at least one step"
        scores = self._scores
        loss = torch.stack(self._loss).sum() if self._loss else scores.new_zeros(())
        neurons = constants(self._neurons, fired.dtype, fired.device)
        return Outcome(loss, scores, fired / neurons)
