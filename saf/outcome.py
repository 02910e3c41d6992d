"""What a batch gave: its loss, its scores, how often its neurons fired."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from saf.network import SpikingNetwork


class Outcome(NamedTuple):
    """What a batch gave, without a graph."""

    loss: Tensor  # scalar: what the gradients are of
    scores: Tensor  # B classes: what a prediction is read from
    firing_rates: Tensor  # spikes per neuron and step, for every population


class Tally:
    """Sums over the steps of a batch."""

    def __init__(self, network: SpikingNetwork, timesteps: int) -> None:
        self._names = [population.name for population in network.architecture.populations]
        self.timesteps = timesteps
        self._loss: list[Tensor] = []
        self._scores: list[Tensor] = []
        self._rates: list[Tensor] = []

    def add(self, loss: Tensor, scores: Tensor, spikes: Mapping[str, Tensor]) -> None:
        """One or more steps: their share of the loss and the scores, their spikes K B …."""
        self._loss.append(loss.detach())
        self._scores.append(scores.detach())
        rates = [spikes[n].detach().mean(dtype=loss.dtype) for n in self._names]
        self._rates.append(torch.stack(rates) * len(spikes[self._names[0]]))

    def outcome(self) -> Outcome:
        rates = torch.stack(self._rates).sum(0) / self.timesteps
        scores = torch.stack([s.expand_as(self._scores[-1]) for s in self._scores]).sum(0)
        return Outcome(torch.stack(self._loss).sum(), scores, rates)
