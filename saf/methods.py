"""The training methods, one function each, with one signature.

    method(network, x, y, timesteps=, loss=, update=, trace_bias_and_input=, masks=, chunk=)

`x` are images B C H W or event frames B T C H W in [0, 1] (the network normalises them), `y` what
`loss(scores, y)` compares with. A method leaves gradients in `.grad` and calls `update()` whenever
an optimizer step is due: once per batch, for ottt-o after every time step. The caller zeroes the
gradients before the call and inside `update`. `masks` are those of `saf.dropout`. `chunk` is the
number of time steps that SAF takes at once (None: what suits the batch, see `saf.forward.chunks`);
it changes memory and speed, and no result but for rounding.

Methods with a loss at each step also take `readout`: `sum`, where the loss of step t sees
o[t] = W s_N[t] + b and the prediction their sum, or `final`, where it sees W (â_N[t] / c[t]) + b,
the mean of the o so far with the weights λ^(t−τ), and the prediction is that at T.

The gradients are derived in docs and papers: SAF, arXiv 2310.02772; OTTT, arXiv 2210.04195; DSR,
arXiv 2205.00459. Shapes: `T` steps, `K` steps of a chunk, `B` samples, `…` a population.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Protocol

import torch
from torch import Tensor

from saf.config import Method as ChosenMethod
from saf.config import SafE
from saf.cut import present_cut
from saf.forward import REST, advance, chunks, readout_at_each_step, readout_of_rates
from saf.gates import clamped_rate_gate, surrogate_gate
from saf.inference import readout_of
from saf.network import NO_DROPOUT, Masks, SpikingNetwork, present
from saf.outcome import Outcome, Readout, Tally
from saf.replay import Replay
from saf.scan import Gate
from saf.stepwise import LIFNetworkState, NeuronStep, lif, lif_advance, lif_rest, saf
from saf.synapse import apply, apply_traced

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
            gate=surrogate_gate(network.neuron),
            trace_bias_and_input=trace_bias_and_input,
        )
        times = range(state.step - steps + 1, state.step + 1)
        if readout == "sum":
            scores = readout_at_each_step(shown, done, times, trace_bias_and_input)
        else:
            scores = readout_of_rates(shown, done, times)
        value = torch.stack([loss(o, y) for o in scores]).sum() / timesteps
        value.backward()  # type: ignore[no-untyped-call]
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
    its maps as they were (`saf.replay`). In a network without skips the gradient of the weights of
    spiking layer l of N is V^(N−l+1) times that of `spike_representation` where both use one gate:
    one factor V for each spiking layer between the weights and the loss. That of the readout is the
    same in both.
    """
    gate = surrogate_gate(network.neuron)
    return _at_the_final_step(
        network, x, y, timesteps, loss, update, trace_bias_and_input, masks, chunk, gate
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
    gate = clamped_rate_gate(network.neuron, timesteps)
    return _at_the_final_step(network, x, y, timesteps, loss, update, True, masks, chunk, gate)


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
            synapse=apply_traced,
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
    return _updated_at_each_step(
        network, x, y, timesteps, loss, update, trace_bias_and_input, masks, readout, lif
    )


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
    return _updated_at_each_step(
        network, x, y, timesteps, loss, update, trace_bias_and_input, masks, readout, saf
    )


def bptt(
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
    readout: Readout = "sum",
) -> Outcome:
    """Back-propagation through time with surrogate gradients; the loss of `saf_e`.

    The graph spans all T steps, through the leak of every potential and every feedback connection.
    The reset V s[t−1] is a constant in it (`detach_reset`), which is common practice: through it
    the surrogate's gradient is noise (Zenke & Vogels, Neural Computation 2021). There is no trace
    to leave off: `trace_bias_and_input` and `chunk` have no effect.
    """
    stimulus = network.stimulus(x, timesteps).channels_last()
    shown = present(network, stimulus, masks)
    state, tally = lif_rest(network, stimulus), Tally(network, len(x), timesteps, readout)
    values = []
    for _ in range(timesteps):
        scores, state = lif_advance(
            shown,
            state,
            synapse=lambda operations, weights, spikes, _: apply(operations, weights, spikes),
            trace_bias_and_input=False,
            readout=readout,
        )
        values.append(loss(scores, y) / timesteps)
        tally.add(state.fired(), values[-1], scores)
    torch.stack(values).sum().backward()  # type: ignore[no-untyped-call]
    update()
    return tally.outcome()


AT_EACH_STEP: dict[str, MethodAtEachStep] = {
    "saf-e": saf_e,
    "ottt-a": ottt_a,
    "ottt-o": ottt_o,
    "bptt": bptt,
}
METHODS: dict[str, Method] = {
    **AT_EACH_STEP,
    "saf-f": saf_f,
    "spike-representation": spike_representation,
}


def method_of(chosen: ChosenMethod) -> Method:
    """The function for a method of a specification, with its readout."""
    if chosen.name not in AT_EACH_STEP:
        return METHODS[chosen.name]
    by_step = isinstance(chosen, SafE) and chosen.update == "step"
    method = saf_e_by_step if by_step else AT_EACH_STEP[chosen.name]
    return method if chosen.readout == "mean" else partial(method, readout=readout_of(chosen))


def learn_at_one_step(
    scores: Tensor, y: Tensor, state: LIFNetworkState, loss: LossFunction, tally: Tally
) -> None:
    """The loss of one step, and its gradient."""
    value = loss(scores, y) / tally.timesteps
    value.backward()  # type: ignore[no-untyped-call]
    tally.add(state.fired(), value, scores)


def _updated_at_each_step(
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
    stimulus = network.stimulus(x, timesteps).channels_last()
    state, tally = lif_rest(network, stimulus), Tally(network, len(x), timesteps, readout)
    for _ in range(timesteps):
        scores, state = lif_advance(
            present(network, stimulus, masks),
            state.detached(),
            synapse=apply_traced,
            trace_bias_and_input=trace_bias_and_input,
            neuron_step=neuron_step,
            readout=readout,
        )
        learn_at_one_step(scores, y, state, loss, tally)
        update()
    return tally.outcome()


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
    gate: Gate,
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
    value.backward()  # type: ignore[no-untyped-call]
    tally.add(done.fired if replay is None else None, value, scores)
    update()
    return tally.outcome()
