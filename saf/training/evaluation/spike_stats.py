"""Spike vitals of a network in training: who fires, who never does, where the potentials lie.

A look shows some samples of the batch at hand to the network as it is, without a gradient, a
random number or a change of its weights: the training goes on bit for bit as if nobody looked.

Shapes: `B` samples, `T` steps, `…` a population.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, prod
from time import perf_counter

import torch
from torch import Tensor

from saf.model.inference import record
from saf.model.network import SpikingNetwork
from saf.training.checkpoint import Progress
from saf.training.events import MEMBRANE_BINS, MEMBRANE_RANGE, LayerVitals, Vitals

SHARE = 0.015  # of the time of a training that looks may take, the first one aside
LOOKS = 400  # at most, over the whole of a training
SAMPLES = 32  # in a look, at most …
NEURONS = 2**22  # … and neurons × samples, which bounds its memory
SATURATED = 0.95  # of all steps: a neuron that fires as often says little more


class Probe:
    """Decides when to look, collects the gradients, and looks."""

    def __init__(
        self, network: SpikingNetwork, timesteps: int, steps_total: int, progress: Progress
    ) -> None:
        """The time that looks take is added to `progress.seconds["vitals"]`."""
        self._progress = progress
        self._seconds: float | None = None  # since the first look, which is slow
        self._timesteps = timesteps
        self._spacing = ceil(steps_total / LOOKS)
        self._began = perf_counter()
        self._next = progress.step
        self._norms: Tensor | None = None
        populations = (*network.architecture.spiking, network.architecture.readout)
        self._parameters = {
            population.name: [
                parameter
                for name, parameter in network.named_parameters()
                if name.partition(".")[0] == population.name
            ]
            for population in populations
        }

    def is_due(self) -> bool:
        """Whether the iteration that begins is to be looked at: looks are evenly spaced, and rarer
        where they would take more than their share of the time."""
        if self._progress.step < self._next:
            return False
        return (self._seconds or 0.0) <= SHARE * (perf_counter() - self._began)

    @torch.no_grad()
    def gradients(self) -> None:
        """Keep the norm of the gradient of every layer, as an update is about to use it."""
        norms = []
        device = self._parameters[next(iter(self._parameters))][0].device
        for parameters in self._parameters.values():
            grads = [p.grad for p in parameters if p.grad is not None]
            each = [torch.linalg.vector_norm(g).float() for g in grads]
            none = torch.zeros((), device=device)
            norms.append(torch.linalg.vector_norm(torch.stack(each)) if each else none)
        self._norms = torch.stack(norms)

    def look(self, network: SpikingNetwork, x: Tensor, epoch: float) -> Vitals:
        """The vitals of `network` on the first samples of `x`, the batch that it has just seen."""
        began = perf_counter()
        samples = x[: max(1, min(SAMPLES, NEURONS // network.architecture.neurons))]
        numbers = vital_signs(network, samples, self._timesteps)
        names = [population.name for population in network.architecture.spiking]
        norms: Sequence[float | None] = [None] * len(self._parameters)
        if self._norms is not None:
            norms = self._norms.tolist()
            self._norms = None
        layers = {
            name: LayerVitals(
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
        self._progress.seconds["vitals"] = self._progress.seconds.get("vitals", 0.0) + seconds
        self._next = self._progress.step + self._spacing
        return Vitals(
            step=self._progress.step,
            epoch=epoch,
            samples=len(samples),
            readout_gradient_norm=norms[-1],
            layers=layers,
        )


@torch.no_grad()
def vital_signs(network: SpikingNetwork, x: Tensor, timesteps: int) -> Tensor:
    """Of every population on `x` (B …), a row each on the device of `network`: spikes per neuron
    and step, the share of neurons that never fire, of those that fire at 95 % of the steps or more,
    and the histogram of u / V before the reset, `MEMBRANE_BINS` shares over `MEMBRANE_RANGE` with
    what lies outside in the end bins.
    """
    low, high = MEMBRANE_RANGE
    shapes = network.architecture.shapes()
    names = [population.name for population in network.architecture.spiking]
    thresholds = {layer.name: layer.neurons.threshold for layer in network.layers if layer.neuron}
    counts = {name: torch.zeros(shapes[name], device=network.device) for name in names}
    bins = {name: torch.zeros(MEMBRANE_BINS, device=network.device) for name in names}
    for step in record(network, x, timesteps):
        for name, (spikes, potentials) in zip(names, step, strict=True):
            counts[name] += spikes.sum(0, dtype=torch.float32)
            scaled = potentials.float().div_(thresholds[name]).clamp_(low, high - 1e-6)
            bins[name] += torch.histc(scaled, MEMBRANE_BINS, low, high)
    shown = len(x) * timesteps
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
