"""Accuracy, firing rates and time of a LIF network on a labelled data set, from its file alone.

Shapes: `N` samples, `T` time steps.
"""

from __future__ import annotations

from dataclasses import dataclass
from time import perf_counter

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from saf.data.dataset import Array
from saf.kernels.transfer import shared
from saf.lif.checks import check_lengths
from saf.lif.network import LIFNetwork
from saf.lif.sequence import LIFChunk
from saf.model.inputs import floats
from saf.model.lengths import Lengths


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Results of a run."""

    samples: int
    accuracy: float  # 0 to 1
    firing_rate: float  # spikes per neuron and step
    firing_rates: dict[str, float]  # the same for each layer
    samples_per_second: float
    accuracy_after: tuple[float, ...]  # 0 to 1, of a run that ends after 1, 2 … T steps
    spikes: dict[str, NDArray[np.float64]]  # of each neuron in T steps, mean of the samples


class Use:
    """Sums over a run of a LIF network, batch by batch and chunk by chunk."""

    def __init__(self, network: LIFNetwork) -> None:
        self.device = network.device
        self.predicted: list[Tensor] = []
        """Of each batch, so far: the class after the last step, N."""
        self.correct = [0] * network.timesteps
        """How many samples were right after 1, 2 … T steps."""
        self._timesteps = network.timesteps
        self._step = 0  # of the batch
        self._spikes: dict[str, Tensor] = {}

    def add(self, chunk: LIFChunk, labels: Tensor, lengths: Lengths | None = None) -> None:
        """Add the next chunk of a batch with these labels, N; padded samples keep the prediction
        that they have at their end."""
        for name, fired in chunk.spikes.items():
            total = _summed(fired)
            self._spikes[name] = self._spikes[name] + total if name in self._spikes else total
        # The readout of a run that ends here: scores of a step are those of what was so far.
        predicted = chunk.scores.argmax(2)
        if lengths is not None:
            before = self.predicted[-1] if self._step else predicted[0]
            times = range(self._step + 1, self._step + chunk.steps + 1)
            going = lengths.going(times, predicted)
            for own, still in zip(predicted, going, strict=True):
                before = torch.where(still, own, before)
                own.copy_(before)
        if self._step == 0:
            self.predicted.append(predicted[-1])
        self.predicted[-1] = predicted[-1]
        for right in (predicted == labels).sum(1).tolist():
            self.correct[self._step] += right
            self._step += 1
        self._step %= self._timesteps

    def fired(self, name: str) -> int:
        """Number of spikes of a layer."""
        return int(self._spikes[name].sum())

    def measured(self, seconds: float = 0.0) -> Measured:
        """Results of the run, which took `seconds`."""
        samples = sum(map(len, self.predicted))
        means = {name: total.cpu().numpy() / samples for name, total in self._spikes.items()}
        of_all = sum(float(mean.sum()) for mean in means.values())
        neurons = sum(mean.size for mean in means.values())
        return Measured(
            samples=samples,
            accuracy=self.correct[-1] / samples,
            firing_rate=of_all / neurons / self._timesteps,
            firing_rates={name: float(m.mean()) / self._timesteps for name, m in means.items()},
            samples_per_second=samples / max(seconds, 1e-9),
            accuracy_after=tuple(right / samples for right in self.correct),
            spikes=means,
        )


def _summed(spikes: Tensor) -> Tensor:
    """The sum over samples and steps, K · N …, in float64; float32 counts up to 2^24 exactly. With
    the channels last in memory it is taken as lines of memory, where torch is fastest."""
    if spikes.dim() != 4 or spikes.device.type != "cpu":
        return spikes.sum(0).double()
    lines = spikes.permute(0, 2, 3, 1)
    return lines.flatten(1).sum(0).double().view(lines.shape[1:]).permute(2, 0, 1)


def measure(
    network: LIFNetwork,
    x: Array,
    y: Array,
    *,
    batch_size: int = 128,
    unit: int = 255,
    lengths: Array | None = None,
) -> Measured:
    """Run `network` on all samples and compare with their labels.

    `x` is `N C H W`, of event frames `N T C H W`, of series `N T C`; uint8 means value / `unit`.
    Of padded samples `lengths` (`N`) time steps are their own, after which their prediction stays;
    spikes are those of all T. Raises ValueError where the samples do not fit the network.
    """
    if len(network.class_names) <= int(y.max()):
        raise ValueError(
            f"the network knows {len(network.class_names)} classes and the data set has labels up "
            f"to {int(y.max())}"
        )
    of_all = None
    if lengths is not None:
        of_all = check_lengths(network.description, torch.as_tensor(np.array(lengths)), len(x))
    use, seconds = Use(network), 0.0
    for start in range(0, len(x), batch_size):
        samples = shared(x[start : start + batch_size])
        labels = shared(y[start : start + batch_size]).to(network.device)
        if samples.dtype == torch.uint8:
            samples = floats(samples, torch.float32, unit)
        own = None if of_all is None else Lengths(of_all.steps[start : start + batch_size])
        began = perf_counter()
        for chunk in network.chunks(samples):
            use.add(chunk, labels, own)
        seconds += perf_counter() - began
    return use.measured(seconds)
