"""Spike Accumulation Forwarding: a loss at each step, a loss at the final step."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from saf.kernels.saf_scan import Gate
from saf.methods.base import LossFunction, updated_at_each_step
from saf.methods.detached import present_cut
from saf.model.lif_forward import saf
from saf.model.network import SpikingNetwork, present
from saf.model.outcome import Outcome, Readout, Tally
from saf.model.presentation import NO_DROPOUT, Masks
from saf.model.replay import Replay
from saf.model.saf_forward import (
    REST,
    Gates,
    advance,
    chunks,
    readout_at_each_step,
    readout_of_rates,
    surrogate_gates,
)
from saf.neurons.base import Neuron


def saf_e(
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
    """SAF with a loss at each step: Σ_t loss(o[t], y) / T with o[t] = W s_N[t] + b.

    Forward by accumulations; backward with ∂â[t]/∂Û[t] = σ'(u[t] − V) and â[t−1] constant. The
    gradients are those of `ottt_a`. The graph spans one chunk, so memory does not grow with T.
    """
    stimulus = network.stimulus(x, timesteps).channels_last()
    shown, pass_on = present_cut(network, stimulus, masks)
    state, tally = REST, Tally(network, len(x), timesteps, readout)
    for steps in chunks(network, len(x), timesteps, chunk):
        done, state = advance(
            shown,
            state,
            steps,
            gate=surrogate_gates,
            trace_bias_and_input=trace_bias_and_input,
        )
        times = range(state.step - steps + 1, state.step + 1)
        if readout == "sum":
            scores = readout_at_each_step(shown, done, times, trace_bias_and_input)
        else:
            scores = readout_of_rates(shown, done, times)
        value = torch.stack([loss(o, y) for o in scores]).sum() / timesteps
        value.backward()
        tally.add(done.fired, value, scores)
    pass_on()
    update()
    return tally.outcome()


def saf_f(
    network: SpikingNetwork,
    x: Tensor,
    y: Tensor,
    *,
    timesteps: int,
    loss: LossFunction,
    update: Callable[[], None],
    trace_bias_and_input: bool = True,
    masks: Masks = NO_DROPOUT,
    chunk: int | None = None,
) -> Outcome:
    """SAF with a loss at the final step: loss(o, y) with o = W (â_N[T] / c[T]) + b.

    All steps run without a graph; step T is then differentiated with σ'(u[T] − V), the results of
    its maps as they were (`saf.model.replay`). In a network without skips the gradient of the
    weights of spiking layer l of N is V^(N−l+1) times that of `spike_representation` where both use
    one gate: one factor V for each spiking layer between the weights and the loss. That of the
    readout is the same in both.
    """
    return _at_the_final_step(
        network, x, y, timesteps, loss, update, trace_bias_and_input, masks, chunk, surrogate_gates
    )


def spike_representation(
    network: SpikingNetwork,
    x: Tensor,
    y: Tensor,
    *,
    timesteps: int,
    loss: LossFunction,
    update: Callable[[], None],
    trace_bias_and_input: bool = True,
    masks: Masks = NO_DROPOUT,
    chunk: int | None = None,
) -> Outcome:
    """DSR: forward as `saf_f`, backward through a = clamp(m / V, 0, 1) of the rates.

    m = Û[T] / c[T] and a = â[T] / c[T], so ∂â/∂Û = ∂a/∂m = 1/V where 0 < m < V, else 0. In rates
    there is no trace to leave off: `trace_bias_and_input` has no effect.
    """

    def gate(neuron: Neuron) -> Gate:
        return neuron.rate_gate(timesteps)

    return _at_the_final_step(network, x, y, timesteps, loss, update, True, masks, chunk, gate)


def saf_e_by_step(
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
    """SAF-E with an update after every step, the trajectory of `ottt_o`.

    W â_in[t] would apply the weights of this step to all the past, so the potential follows its
    recurrence Û[t] = λ Û[t−1] + W s_in[t] + b. `chunk` has no effect.
    """
    return updated_at_each_step(
        network, x, y, timesteps, loss, update, trace_bias_and_input, masks, readout, saf
    )


def _at_the_final_step(
    network: SpikingNetwork,
    x: Tensor,
    y: Tensor,
    timesteps: int,
    loss: LossFunction,
    update: Callable[[], None],
    trace_bias_and_input: bool,
    masks: Masks,
    chunk: int | None,
    gate: Gates,
) -> Outcome:
    shown = present(network, network.stimulus(x, timesteps), masks)
    state, tally = REST, Tally(network, len(x), timesteps, "final")
    *earlier, last = chunks(network, len(x), timesteps, chunk)
    replay = Replay(len(x)) if last > 1 else None
    with torch.no_grad():
        for steps in earlier:
            done, state = advance(shown, state, steps, keep=())
            tally.add(done.fired)
        if replay is not None:
            done, state = advance(shown, state, last, keep=(), replay=replay)
            tally.add(done.fired)
            replay.again = True
    done, state = advance(
        shown, state, 1, gate=gate, trace_bias_and_input=trace_bias_and_input, replay=replay
    )
    (scores,) = readout_of_rates(shown, done, [timesteps])
    value = loss(scores, y)
    value.backward()
    tally.add(done.fired if replay is None else None, value, scores)
    update()
    return tally.outcome()
