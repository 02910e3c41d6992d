"""Inference by SAF without a graph: scores, and spikes by time step.

Shapes: `B` samples, `…` the shape of a layer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from saf.config.methods import AT_THE_END, Readout
from saf.model.forward.readout import readout_at_each_step, readout_of_rates
from saf.model.forward.saf_forward import REST, Neurons, advance, chunks
from saf.model.lengths import Lengths
from saf.model.network import SpikingNetwork, present
from saf.model.outcome import Tally


class Inference(NamedTuple):
    """Result of a network for a batch."""

    scores: Tensor  # B classes
    firing_rates: Tensor  # spikes per neuron and step, for every layer
    loss: Tensor | None  # scalar; None unless asked for


@torch.no_grad()
def infer(
    network: SpikingNetwork,
    x: Tensor,
    timesteps: int,
    *,
    readout: Readout,
    chunk: int | None = None,
    loss: Callable[..., Tensor] | None = None,
    loss_at_each_step: bool = False,
    lengths: Lengths | None = None,
) -> Inference:
    """Class scores of `x` (as for a method) by SAF, without a graph.

    `loss` takes the scores of one time step, B classes, and weights of the samples, B, where they
    are padded. With `loss_at_each_step` the loss is the mean over all time steps, as methods with a
    loss at each step minimise it, else that of the final one. `lengths` are those of padded
    samples, whose scores are those at their own end.
    """
    *_, tally = infer_in_chunks(
        network,
        x,
        timesteps,
        readout=readout,
        chunk=chunk,
        loss=loss,
        loss_at_each_step=loss_at_each_step,
        lengths=lengths,
    )
    outcome = tally.outcome()
    return Inference(outcome.scores, outcome.firing_rates, None if loss is None else outcome.loss)


@torch.no_grad()
def infer_in_chunks(
    network: SpikingNetwork,
    x: Tensor,
    timesteps: int,
    *,
    readout: Readout,
    chunk: int | None = None,
    loss: Callable[..., Tensor] | None = None,
    loss_at_each_step: bool = False,
    neurons: Neurons | None = None,
    lengths: Lengths | None = None,
) -> Iterator[Tally]:
    """`infer` chunk by chunk; yields the sums so far after each. `neurons` is that of `advance`."""
    shown = present(network, network.stimulus(x, timesteps))
    state, tally = REST, Tally(network, len(x), timesteps, readout, lengths)
    for steps in chunks(shown, timesteps, chunk):
        done, state = advance(shown, state, steps, neurons=neurons, lengths=lengths)
        times = range(state.step - steps + 1, state.step + 1)
        if readout == "mean" or readout in AT_THE_END:
            scores = readout_at_each_step(shown, done, times, False)
        elif loss_at_each_step or lengths is not None:
            scores = readout_of_rates(shown, done, times)
        elif state.step == timesteps:
            scores = readout_of_rates(shown, done, times[-1:])
        else:
            tally.add(done.fired)
            yield tally
            continue
        tally.add(done.fired, scores=scores)
        if loss is not None and loss_at_each_step:
            for t, of_step in zip(times, scores, strict=True):
                if lengths is None:
                    tally.add(None, loss(of_step) / timesteps)
                else:
                    tally.add(None, loss(of_step, lengths.shares(t, of_step)))
        elif loss is not None and state.step == timesteps:
            at_their_ends = readout in AT_THE_END or lengths is not None
            of_all = tally.scores if at_their_ends else scores[-1]
            assert of_all is not None
            tally.add(None, loss(of_all))
        yield tally


@torch.no_grad()
def record(
    network: SpikingNetwork, x: Tensor, timesteps: int
) -> Iterator[list[tuple[Tensor, Tensor]]]:
    """Spikes s[t] and membrane potentials u[t] = Û[t] − V λ â[t−1] (before the reset), B … each,
    of every layer in order. Yields one list per time step, so that memory does not grow with T."""
    shown = present(network, network.stimulus(x, timesteps))
    names = [layer.name for layer in network.architecture.spiking]
    state = REST
    for _ in range(timesteps):
        done, state = advance(shown, state, 1, keep=names, potentials=True)
        yield [(done.spikes(name), done.potentials[name]) for name in names]
