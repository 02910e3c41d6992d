"""A LIF network on a labelled data set, as somebody would who has nothing but its file.

Shapes: `N` samples, `T` steps.
"""

from __future__ import annotations

from dataclasses import dataclass
from time import perf_counter

import torch

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
    spikes: dict[str, float] = {}
    neurons: dict[str, int] = {}
    correct, seconds = 0, 0.0
    for start in range(0, len(x), batch_size):
        samples = torch.from_numpy(x[start : start + batch_size])
        if samples.dtype == torch.uint8:
            samples = samples.float() / 255
        began = perf_counter()
        for step in network.run(samples):
            for name, fired in step.spikes.items():
                spikes[name] = spikes.get(name, 0.0) + float(fired.sum())
                neurons[name] = fired[0].numel()
        predicted = step.scores.argmax(1).cpu()
        seconds += perf_counter() - began
        correct += int((predicted == torch.from_numpy(y[start : start + batch_size])).sum())
    shown = len(x) * network.timesteps
    return Measured(
        samples=len(x),
        accuracy=correct / len(x),
        firing_rate=sum(spikes.values()) / (sum(neurons.values()) * shown),
        firing_rates={name: spikes[name] / (neurons[name] * shown) for name in spikes},
        samples_per_second=len(x) / max(seconds, 1e-9),
    )
