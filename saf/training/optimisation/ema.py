"""The exponential moving average (EMA) of the weights, which is evaluated and converted in place
of the last weights."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import TypeVar

import torch
from torch import Tensor

Network = TypeVar("Network", bound=torch.nn.Module)


class MovingAverage:
    """Exponential moving average of parameters: a ← d a + (1 − d) w after every iteration.

    d = min(decay, (1 + n) / (10 + n)) at iteration n, so that the first weights do not linger
    (as in TensorFlow's ExponentialMovingAverage).
    """

    def __init__(self, parameters: Mapping[str, torch.nn.Parameter], decay: float) -> None:
        self._parameters = dict(parameters)
        self._decay = decay
        self.weights: dict[str, Tensor] = {
            name: parameter.detach().clone() for name, parameter in parameters.items()
        }

    def restore(self, weights: Mapping[str, Tensor]) -> None:
        """Load saved averages. Raises KeyError where one is missing."""
        for name, average in self.weights.items():
            average.copy_(weights[name])

    @torch.no_grad()
    def update(self, iteration: int) -> None:
        """Update the average with the weights after `iteration`, counted from 1."""
        decay = min(self._decay, (1 + iteration) / (10 + iteration))
        for name, average in self.weights.items():
            average.lerp_(self._parameters[name], 1.0 - decay)

    @torch.no_grad()
    def applied_to(self, network: Network) -> Network:
        """Copy of `network` with the averages as its weights."""
        copy = deepcopy(network)
        for name, parameter in copy.named_parameters():
            parameter.copy_(self.weights[name])
        return copy
