"""A LIF network on a labelled data set, as somebody would who has nothing but its file.

Shapes: `N` samples, `T` steps.
"""

from __future__ import annotations

from dataclasses import dataclass
from time import perf_counter

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from saf.data.dataset import Array
from saf.lif import LIFNetwork


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What came out of a run."""

    samples: int
    accuracy: float  # 0 to 1
    firing_rate: float  # spikes per neuron and step
    firing_rates: dict[str, float]  # the same for each population
    samples_per_second: float
    accuracy_after: tuple[float, ...]  # 0 to 1, of a run that ends after 1, 2 … T steps
    spikes: dict[str, NDArray[np.float64]]  # of each neuron in T steps, mean of the samples


def measure(network: LIFNetwork, x: Array, y: Array, *, batch_size: int = 128) -> Measured:
    """Run `network` on all samples and compare with their labels.

    `x` is `N C H W`, of event frames `N T C H W`; uint8 means value / 255. Raises ValueError where
    the samples do not fit the network.
    """
    if len(network.class_names) <= int(y.max()):
        raise ValueError(
            f"the network knows {len(network.class_names)} classes and the data set has labels up "
            f"to {int(y.max())}"
        )
    spikes: dict[str, Tensor] = {}
    correct = torch.zeros(network.timesteps, dtype=torch.int64)
    seconds = 0.0
    for start in range(0, len(x), batch_size):
        samples = torch.from_numpy(x[start : start + batch_size])
        labels = torch.from_numpy(y[start : start + batch_size])
        if samples.dtype == torch.uint8:
            samples = samples.float() / 255
        began = perf_counter()
        predicted = []
        for step in network.run(samples):
            for name, fired in step.spikes.items():
                total = fired.sum(0, dtype=torch.float64)
                spikes[name] = spikes[name] + total if name in spikes else total
            # The readout of a run that ends here: scores of a step are those of what was so far.
            predicted.append(step.scores.argmax(1))
        right = torch.stack(predicted).cpu() == labels
        seconds += perf_counter() - began
        correct += right.sum(1)
    means = {name: total.cpu().numpy() / len(x) for name, total in spikes.items()}
    of_all = sum(float(mean.sum()) for mean in means.values())
    accuracies = tuple((correct.double() / len(x)).tolist())
    return Measured(
        samples=len(x),
        accuracy=accuracies[-1],
        firing_rate=of_all / sum(mean.size for mean in means.values()) / network.timesteps,
        firing_rates={name: float(m.mean()) / network.timesteps for name, m in means.items()},
        samples_per_second=len(x) / max(seconds, 1e-9),
        accuracy_after=accuracies,
        spikes=means,
    )
