"""Gains to start from, by a first pass over training samples: every layer fires.

The scale of 2.74 after a spike and gains of 1 keep the variance from layer to layer where a neuron
fires as often as a standard normal current exceeds V = 1 (`RATE`). Currents of real images are not
like that, and neither are those of several steps: at gains of 1 deep layers fall silent, and others
saturate. Here, layer by layer, that factor is found with which a layer fires as often, given what
the layers before it send; LSUV does so for variances (Mishkin & Matas, arXiv 1511.06422).

Shapes: `T` steps, `B` samples, `…` the shape of a layer.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from saf.kernels.saf_scan import Constant
from saf.model.forward.saf_forward import REST, advance
from saf.model.network import SpikingNetwork, present
from saf.networks.architecture import INPUT, Architecture, Connection, weighted
from saf.neurons.base import Accumulated

RATE = 0.16  # spikes per neuron and step: P(z > 1) of a standard normal z
RATE_OF_STREAMS = 0.06  # the same, in a network with a residual stream
BRANCH = 0.5  # what a residual branch is multiplied by at the start, all its factors together
LARGEST = 2.0**16  # factor that is tried, and the inverse of the smallest
HALVINGS = 16
SAMPLES = 64
NEURONS = 2**25  # neurons × samples × steps at a time, which bounds the memory


@torch.no_grad()
def fit_gains(network: SpikingNetwork, x: Tensor, timesteps: int) -> dict[str, float]:
    """Scale the initial weights of each spiking layer so that it fires at `RATE` on `x`, or at
    `RATE_OF_STREAMS`, and open residual branches.

    `x`, B C H W or B T C H W in [0, 1], are training samples; the first 64 are used, fewer of a
    large network. One factor goes into the gains of a layer, or into its weights where it has no
    gains. A layer without weights, which hears a residual stream, is fitted by those that start the
    stream; where these are fitted already, it stays as it is. A layer stays as it is, too, where no
    factor brings it to fire. Connections of feedback, which start at zero, are left out. Returned
    are the factors, by the layer or relay that they went into.
    """
    most = NEURONS // (network.architecture.neurons * timesteps)
    stimulus = network.stimulus(x[: max(1, min(SAMPLES, most))], timesteps)
    _open_branches(network)
    layers = network.architecture.layers
    streams = any(relay.relay and len(relay.connections) > 1 for relay in layers)
    rate = RATE_OF_STREAMS if streams else RATE
    factors: dict[str, float] = {}
    while True:
        fitting = _Fitting(network, rate, factors)
        shown = present(network, stimulus).without_feedback()
        try:
            advance(shown, REST, timesteps, keep=(), neurons=fitting)
        except _StreamFitted as found:
            # What was sent from the relay to others has another size now: once more from there.
            network.scale(found.relay, factors[found.relay])
            for name in fitting.scaled:
                network.scale(name, factors[name])
            continue
        for name in fitting.scaled:
            network.scale(name, factors[name])
        return factors


def _open_branches(network: SpikingNetwork) -> None:
    """Let residual branches whose gain is 0 send `BRANCH` times what their last map gives."""
    for layer in network.layers:
        for connection, maps in layer.connected():
            gain = maps[-1].residual_gain if maps else None
            after = connection.factor_after_maps
            if gain is not None and gain.item() == 0.0 != after:
                gain.fill_(BRANCH / after)


class _StreamFitted(Exception):  # noqa: N818  (a signal, not an error)
    def __init__(self, relay: str) -> None:
        super().__init__(relay)
        self.relay = relay


class _Fitting:
    """Runs the neurons of one layer after another, and finds the factor of its input current."""

    def __init__(self, network: SpikingNetwork, rate: float, factors: dict[str, float]) -> None:
        """Layers shall fire at `rate`, spikes per neuron and step. `factors` by name holds those
        that are found, of which no second one is looked for."""
        self.scaled: list[str] = []
        self._rate = rate
        self._factors = factors
        self._layers = {layer.name: layer for layer in network.layers}
        self._forward = _forward_connections(network.architecture)

    def __call__(
        self,
        name: str,
        current: Tensor | None,
        constant: Constant,
        before: Tensor | None,
        carried: tuple[Tensor, ...],
    ) -> Accumulated:
        neurons = self._layers[name].neurons

        def fired_at(factor: float) -> Accumulated:
            arriving = None if current is None else current * factor
            always = constant._replace(value=constant.value * factor)
            return neurons.accumulate(arriving, always, before, carried=carried)

        fitted = self._fitted_by(name)
        if fitted is None or fitted in self._factors:
            return fired_at(1.0)
        factor = _factor(fired_at, self._rate)
        self._factors[fitted] = factor
        if fitted == name:
            self.scaled.append(name)
        elif factor != 1.0:
            raise _StreamFitted(fitted)
        return fired_at(factor)

    def _fitted_by(self, name: str) -> str | None:
        """The layer itself where it has weights, or the relay that it hears where all that this
        adds up has weights; None where nothing can be fitted."""
        connections = self._forward[name]
        if any(map(weighted, connections)):
            return name
        sources = {connection.source for connection in connections}
        relay = sources.pop() if len(sources) == 1 else INPUT
        if relay == INPUT or not self._layers[relay].description.relay:
            return None
        return relay if all(map(weighted, self._forward[relay])) else None


def _factor(fired_at: Callable[[float], Accumulated], wanted: float) -> float:
    """The factor at which the rate is as `wanted`; 1 where the layer fires at none."""

    def rate(factor: float) -> float:
        scanned = fired_at(factor)
        return float(scanned.fired) / scanned.accumulation.numel()

    low, high = 1.0, 1.0
    while rate(high) < wanted:
        high *= 4.0
        if high > LARGEST:
            break
    while high <= LARGEST and rate(low) > wanted and low > 1.0 / LARGEST:
        low /= 4.0
    if high > LARGEST:
        # Some layers never fire as often, as where most of an image is black: half of the most.
        most = rate(LARGEST)
        return 1.0 if most == 0.0 else _between(rate, 1.0, LARGEST, most / 2)
    return _between(rate, low, high, wanted)


def _between(rate: Callable[[float], float], low: float, high: float, wanted: float) -> float:
    for _ in range(HALVINGS):
        middle = (low * high) ** 0.5
        low, high = (middle, high) if rate(middle) < wanted else (low, middle)
    return high


def _forward_connections(architecture: Architecture) -> dict[str, list[Connection]]:
    """The connections of each layer that are no feedback."""
    known, found = {INPUT}, {}
    for layer in architecture.layers:
        found[layer.name] = [c for c in layer.connections if c.source in known]
        known.add(layer.name)
    return found
