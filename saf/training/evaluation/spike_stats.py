"""Spike statistics of a network in training: firing rates, silent neurons, membrane potentials.

A measurement runs the network on some samples of the current batch without gradients, random
numbers or changes of its weights, so the training goes on bit for bit as without it.

Shapes: `B` samples, `T` time steps, `…` a layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, prod
from time import perf_counter

import torch
from torch import Tensor

from saf.kernels.transfer import sent
from saf.model.inference import record
from saf.model.lengths import Lengths
from saf.model.network import SpikingNetwork
from saf.training.checkpoint import Progress
from saf.training.events import MEMBRANE_BINS, MEMBRANE_RANGE, LayerStatistics, SpikeStatistics

SHARE = 0.015  # of the time of a training that measurements may take, the first one aside
MOST_MEASUREMENTS = 400  # of one training
SAMPLES = 32  # of a measurement, at most …
NEURONS = 2**22  # … and neurons × samples, which bounds its memory
SATURATED = 0.95  # of all time steps: a neuron that fires as often carries little information


class SpikeMonitor:
    """Decides when to measure, keeps gradient norms, and measures spike statistics."""

    def __init__(
        self, network: SpikingNetwork, timesteps: int, steps_total: int, progress: Progress
    ) -> None:
        """`progress.seconds["spike_statistics"]` grows by the time that measurements take."""
        self._progress = progress
        self._seconds: float | None = None  # since the first measurement, which is slow
        self._timesteps = timesteps
        self._spacing = ceil(steps_total / MOST_MEASUREMENTS)
        self._began = perf_counter()
        self._next = progress.step
        self._norms: Tensor | None = None
        layers = (*network.architecture.spiking, network.architecture.readout)
        self._parameters = {
            layer.name: [
                parameter
                for name, parameter in network.named_parameters()
                if name.partition(".")[0] == layer.name
            ]
            for layer in layers
        }

    def is_due(self) -> bool:
        """Whether to measure in the iteration that begins. Measurements are evenly spaced, and
        rarer where they would take more than `SHARE` of the time."""
        if self._progress.step < self._next:
            return False
        return (self._seconds or 0.0) <= SHARE * (perf_counter() - self._began)

    @torch.no_grad()
    def keep_gradients(self) -> None:
        """Keep the gradient norm of each layer; call it right before the optimizer step."""
        norms = []
        device = self._parameters[next(iter(self._parameters))][0].device
        for parameters in self._parameters.values():
            grads = [p.grad for p in parameters if p.grad is not None]
            each = [torch.linalg.vector_norm(g).float() for g in grads]
            none = torch.zeros((), device=device)
            norms.append(torch.linalg.vector_norm(torch.stack(each)) if each else none)
        self._norms = torch.stack(norms)

    def measure(
        self, network: SpikingNetwork, x: Tensor, epoch: float, lengths: Lengths | None = None
    ) -> SpikeStatistics:
        """Measure `network` on the first samples of `x` (B …), the batch of this iteration, of
        padded ones at their own time steps."""
        began = perf_counter()
        samples = x[: max(1, min(SAMPLES, NEURONS // network.architecture.neurons))]
        numbers = spike_statistics(network, samples, self._timesteps, lengths)
        names = [layer.name for layer in network.architecture.spiking]
        norms: Sequence[float | None] = [None] * len(self._parameters)
        if self._norms is not None:
            norms = self._norms.tolist()
            self._norms = None
        layers = {
            name: LayerStatistics(
                firing_rate=firing,
                dead=dead,
                saturated=saturated,
                gradient_norm=norm,
                membrane=membrane,
            )
            for (name, (firing, dead, saturated, *membrane)), norm in zip(
                zip(names, numbers.tolist(), strict=True), norms, strict=False
            )
        }
        seconds = perf_counter() - began
        self._seconds = 0.0 if self._seconds is None else self._seconds + seconds
        times = self._progress.seconds
        before = times.pop("vitals", 0.0)  # the key in older checkpoints
        times["spike_statistics"] = times.get("spike_statistics", before) + seconds
        self._next = self._progress.step + self._spacing
        return SpikeStatistics(
            step=self._progress.step,
            epoch=epoch,
            samples=len(samples),
            readout_gradient_norm=norms[-1],
            layers=layers,
        )


@torch.no_grad()
def spike_statistics(
    network: SpikingNetwork, x: Tensor, timesteps: int, lengths: Lengths | None = None
) -> Tensor:
    """Spike statistics of each spiking layer for samples `x` (B …), of padded ones, whose `lengths`
    these and maybe more are, at their own time steps.

    Returns a row per layer, on the device of `network`: spikes per neuron and time step; the share
    of neurons that never fire; of those that fire at 95 % of the time steps or more; and the
    histogram of u / V before the reset, `MEMBRANE_BINS` shares over `MEMBRANE_RANGE`, whose end
    bins count what lies outside.
    """
    low, high = MEMBRANE_RANGE
    shapes = network.architecture.shapes()
    names = [layer.name for layer in network.architecture.spiking]
    thresholds = {layer.name: layer.neurons.threshold for layer in network.layers if layer.neuron}
    counts = {name: torch.zeros(shapes[name], device=network.device) for name in names}
    bins = {name: torch.zeros(MEMBRANE_BINS, device=network.device) for name in names}
    own = torch.full((len(x),), timesteps) if lengths is None else lengths.steps[: len(x)]
    for t, step in enumerate(record(network, x, timesteps), start=1):
        going = None if lengths is None else sent((own >= t).nonzero()[:, 0], x.device)
        for name, (spikes, potentials) in zip(names, step, strict=True):
            if going is not None:
                spikes, potentials = spikes[going], potentials[going]
            counts[name] += spikes.sum(0, dtype=torch.float32)
            scaled = potentials.float().div_(thresholds[name]).clamp_(low, high - 1e-6)
            bins[name] += torch.histc(scaled, MEMBRANE_BINS, low, high)
    shown = int(own.sum())
    return torch.stack(
        [
            torch.cat(
                [
                    torch.stack(
                        [
                            counts[name].sum() / shown,
                            (counts[name] == 0).sum(),
                            (counts[name] >= SATURATED * shown).sum(),
                        ]
                    ),
                    bins[name] / shown,
                ]
            )
            / prod(shapes[name])
            for name in names
        ]
    )
