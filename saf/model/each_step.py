"""Training with a loss at each time step. Shapes: `T` time steps, `B` samples."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from saf.config.methods import Readout
from saf.model.batch import Batch
from saf.model.forward.lif_forward import (
    LIFNetworkState,
    NeuronStep,
    filters_of,
    lif_advance,
    lif_rest,
)
from saf.model.forward.presentation import traced as traced_synapse
from saf.model.lengths import Lengths
from saf.model.network import SpikingNetwork, present
from saf.model.outcome import Outcome, Tally

ROUNDING = 64.0
"""Units in the last place by which outputs of equal spikes may differ."""


class Ended(NamedTuple):
    """The scores after all time steps, their loss, and its gradient."""

    loss: Tensor  # scalar
    scores: Tensor  # B classes
    gradients: Tensor  # T B classes, of the outputs


def at_the_end(
    outputs: Tensor,
    y: Tensor,
    readout: Readout,
    loss: Callable[..., Tensor],
    lengths: Lengths | None = None,
) -> Ended:
    """The loss of the scores that the readout `last` or `max` takes from the outputs o[t], T B
    classes, and its gradient: that of `max` goes to the time step of the largest output of each
    class, the first of equal ones."""
    leaf = outputs.detach().requires_grad_()
    with torch.enable_grad():
        scores = read_out(leaf, readout, lengths)
        value = loss(scores, y)
    (gradients,) = torch.autograd.grad(value, leaf)
    return Ended(value.detach(), scores.detach(), gradients)


def read_out(outputs: Tensor, readout: Readout, lengths: Lengths | None = None) -> Tensor:
    """Scores, B classes, of the readout `last` or `max`, of the outputs o[t], T B classes, until
    the end of each sample.

    Equal spikes give equal outputs, and rounding tells them apart: `max` takes the first of those
    that are equal to the largest but for rounding, so that SAF and LIF neurons learn from the same
    time step.
    """
    if readout == "last":
        return outputs[-1] if lengths is None else lengths.at_the_end(outputs)
    found = outputs.detach()
    if lengths is not None:
        ended = ~lengths.going(range(1, len(found) + 1), found)
        found = found.masked_fill(ended[:, :, None], -torch.inf)
    most = found.amax(0)
    rounding = ROUNDING * torch.finfo(outputs.dtype).eps * (1.0 + most.abs())
    first = (found >= most - rounding).to(torch.uint8).argmax(0)
    return outputs.gather(0, first[None])[0]


def learn_at_one_step(
    scores: Tensor, batch: Batch, t: int, state: LIFNetworkState, tally: Tally
) -> None:
    """Loss of the time step t, from 1, and its gradient."""
    value = batch.loss_at([t], scores[None])
    value.backward()
    tally.add(state.fired(batch.lengths), value, scores)


def updated_at_each_step(
    network: SpikingNetwork,
    batch: Batch,
    traced: bool,
    readout: Readout,
    neuron_step: NeuronStep,
) -> Outcome:
    """Run T time steps of `neuron_step`, each with a loss, a gradient and an optimizer step."""
    stimulus = network.stimulus(batch.x, batch.timesteps).channels_last()
    state = lif_rest(network, stimulus)
    tally = Tally(network, len(batch.x), batch.timesteps, readout, batch.lengths)
    filters = filters_of(network)
    for t in range(1, batch.timesteps + 1):
        scores, state = lif_advance(
            present(network, stimulus, batch.masks),
            state.detached(),
            synapse=traced_synapse,
            trace_bias_and_input=traced,
            neuron_step=neuron_step,
            readout=readout,
        )
        learn_at_one_step(scores, batch, t, state, tally)
        batch.update()
        before, filters = filters, filters_of(network)
        state = state.read_by(before, filters)
    return tally.outcome()
