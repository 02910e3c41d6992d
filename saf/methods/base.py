"""What a training method is given and returns, and what several of them share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from torch import Tensor

from saf.model.lif_forward import LIFNetworkState, NeuronStep, lif_advance, lif_rest
from saf.model.network import SpikingNetwork, present
from saf.model.outcome import Outcome, Readout, Tally
from saf.model.presentation import NO_DROPOUT, Masks, traced

LossFunction = Callable[[Tensor, Tensor], Tensor]


class Method(Protocol):
    """A training method on one batch."""

    def __call__(
        self,
        network: SpikingNetwork,
        x: Tensor,
        y: Tensor,
        *,
        timesteps: int,
        loss: LossFunction,
        update: Callable[[], None],
        trace_bias_and_input: bool = False,
        masks: Masks = NO_DROPOUT,
        chunk: int | None = None,
    ) -> Outcome: ...


class MethodAtEachStep(Protocol):
    """A training method on one batch, with a loss at each step."""

    def __call__(
        self,
        network: SpikingNetwork,
        x: Tensor,
        y: Tensor,
        *,
        timesteps: int,
        loss: LossFunction,
        update: Callable[[], None],
        trace_bias_and_input: bool = False,
        masks: Masks = NO_DROPOUT,
        chunk: int | None = None,
        readout: Readout = "sum",
    ) -> Outcome: ...


def learn_at_one_step(
    scores: Tensor, y: Tensor, state: LIFNetworkState, loss: LossFunction, tally: Tally
) -> None:
    """The loss of one step, and its gradient."""
    value = loss(scores, y) / tally.timesteps
    value.backward()
    tally.add(state.fired(), value, scores)


def updated_at_each_step(
    network: SpikingNetwork,
    x: Tensor,
    y: Tensor,
    timesteps: int,
    loss: LossFunction,
    update: Callable[[], None],
    trace_bias_and_input: bool,
    masks: Masks,
    readout: Readout,
    neuron_step: NeuronStep,
) -> Outcome:
    """A batch with an update of the weights after each time step."""
    stimulus = network.stimulus(x, timesteps).channels_last()
    state, tally = lif_rest(network, stimulus), Tally(network, len(x), timesteps, readout)
    for _ in range(timesteps):
        scores, state = lif_advance(
            present(network, stimulus, masks),
            state.detached(),
            synapse=traced,
            trace_bias_and_input=trace_bias_and_input,
            neuron_step=neuron_step,
            readout=readout,
        )
        learn_at_one_step(scores, y, state, loss, tally)
        update()
    return tally.outcome()
