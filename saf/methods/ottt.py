"""OTTT with one update a batch (`ottt_a`) and with one after each time step (`ottt_o`)."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from saf.methods.base import LossFunction, learn_at_one_step, updated_at_each_step
from saf.methods.detached import present_cut
from saf.model.lif_forward import lif, lif_advance, lif_rest
from saf.model.network import SpikingNetwork
from saf.model.outcome import Outcome, Readout, Tally
from saf.model.presentation import NO_DROPOUT, Masks, traced


def ottt_a(
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
) -> Outcome:
    """OTTT, gradients of the T steps added up, one update: ∇W = Σ_t g_u[t] â_in[t]ᵀ.

    Every map is evaluated once per step, on spikes, and its weight gradient taken at the trace â.
    `chunk` has no effect: a LIF neuron needs its own last step before the next.
    """
    stimulus = network.stimulus(x, timesteps).channels_last()
    shown, pass_on = present_cut(network, stimulus, masks)
    state, tally = lif_rest(network, stimulus), Tally(network, len(x), timesteps, readout)
    for _ in range(timesteps):
        scores, state = lif_advance(
            shown,
            state.detached(),
            synapse=traced,
            trace_bias_and_input=trace_bias_and_input,
            readout=readout,
        )
        learn_at_one_step(scores, y, state, loss, tally)
    pass_on()
    update()
    return tally.outcome()


def ottt_o(
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
) -> Outcome:
    """OTTT with an update after every step; the weights are made effective again for the next.

    Potentials and traces live on over the updates, as in the published code. `chunk` has no effect.
    """
    return updated_at_each_step(
        network, x, y, timesteps, loss, update, trace_bias_and_input, masks, readout, lif
    )
