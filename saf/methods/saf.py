"""Spike Accumulation Forwarding with a loss at each time step (SAF-E) or the final one (SAF-F)."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, ClassVar, Literal

from saf.config.methods import AT_THE_END, METHODS, AtEachStep, AtTheFinalStep, Readout
from saf.config.neurons import Form

if TYPE_CHECKING:
    from saf.model.batch import Batch, Rule
    from saf.model.network import SpikingNetwork
    from saf.model.outcome import Outcome


@METHODS.add
class SafE(AtEachStep):
    """Spike Accumulation Forwarding, a loss at each time step. Same gradient as OTTT."""

    label: ClassVar[str] = "SAF-E"
    place: ClassVar[int] = 10
    scans: ClassVar[bool] = True
    compared: ClassVar[bool] = True

    name: Literal["saf-e"] = "saf-e"
    update: Literal["sequence", "step"] = "sequence"
    """When the optimizer steps: once per batch, or after every time step, as `ottt-o` does."""
    trace_bias_and_input: bool = False
    """Also apply the trace to the bias and to the first layer's constant input (c[t] g instead of
    g). The formula asks for it; the code published with OTTT does not do it."""

    def rule(self) -> Rule:

        rule = saf_e_by_step if self.update == "step" else saf_e
        return partial(rule, traced=self.trace_bias_and_input, readout=self.readout)

    @property
    def updates_at_each_step(self) -> bool:
        return self.update == "step"

    @property
    def asks_for(self) -> Form | None:
        return "accumulated_step" if self.update == "step" else None

    @property
    def takes_steps_at_once(self) -> bool:
        return self.update == "sequence"

    def kept(self, timesteps: int, at_once: int) -> int:
        return 5 + 2 * at_once


@METHODS.add
class SafF(AtTheFinalStep):
    """Spike Accumulation Forwarding, a loss at the final step only: one backward pass per batch
    whatever T is. Same gradient as the Spike Representation up to a power of V per layer."""

    label: ClassVar[str] = "SAF-F"
    place: ClassVar[int] = 20
    scans: ClassVar[bool] = True
    compared: ClassVar[bool] = True

    name: Literal["saf-f"] = "saf-f"
    trace_bias_and_input: bool = True
    """As in `saf-e`; on by default, since Theorem 2 of the paper needs it."""

    def rule(self) -> Rule:
        return partial(saf_f, traced=self.trace_bias_and_input)

    @property
    def takes_steps_at_once(self) -> bool:
        return True

    def kept(self, timesteps: int, at_once: int) -> int:
        return 5 + 2 * at_once


def saf_e(
    network: SpikingNetwork, batch: Batch, *, traced: bool = False, readout: Readout = "mean"
) -> Outcome:
    """SAF with a loss at each time step: Σ_t loss(o[t], y) / T with o[t] = W s_N[t] + b.

    Forward by accumulations; backward with ∂â[t]/∂Û[t] = σ'(u[t] − V) and â[t−1] constant. The
    gradients are those of `saf.methods.ottt.ottt_a`, which says what `traced` and `readout` mean.
    The graph spans one chunk, so memory does not grow with T.
    """
    from saf.model.forward.detached import present_cut
    from saf.model.forward.feedback import learn
    from saf.model.forward.readout import readout_at_each_step, readout_of_rates
    from saf.model.forward.saf_forward import REST, chunks, surrogate_gates
    from saf.model.outcome import Tally

    if readout in AT_THE_END:
        return _saf_e_at_the_end(network, batch, traced, readout)
    timesteps, samples = batch.timesteps, len(batch.x)
    stimulus = network.stimulus(batch.x, timesteps).channels_last()
    shown, pass_on = present_cut(network, stimulus, batch.masks)
    state, tally = REST, Tally(network, samples, timesteps, readout, batch.lengths)
    for steps in chunks(shown, timesteps, batch.chunk, learns=True):
        done, state = learn(
            shown,
            state,
            steps,
            gate=surrogate_gates,
            trace_bias_and_input=traced,
            lengths=batch.lengths,
        )
        times = range(state.step - steps + 1, state.step + 1)
        if readout == "mean":
            scores = readout_at_each_step(shown, done, times, traced)
        else:
            scores = readout_of_rates(shown, done, times)
        value = batch.loss_at(times, scores)
        value.backward()
        tally.add(done.fired, value, scores)
    pass_on()
    batch.update()
    return tally.outcome()


def _saf_e_at_the_end(
    network: SpikingNetwork, batch: Batch, traced: bool, readout: Readout
) -> Outcome:
    """SAF-E with one loss, of the scores after all time steps: the outputs are computed without a
    graph, and once more with one, from which each takes its gradient."""
    import torch

    from saf.model.each_step import at_the_end
    from saf.model.forward.detached import present_cut
    from saf.model.forward.feedback import learn
    from saf.model.forward.readout import readout_at_each_step
    from saf.model.forward.saf_forward import REST, advance, chunks, surrogate_gates
    from saf.model.outcome import Tally

    timesteps, samples = batch.timesteps, len(batch.x)
    stimulus = network.stimulus(batch.x, timesteps).channels_last()
    shown, pass_on = present_cut(network, stimulus, batch.masks)
    tally = Tally(network, samples, timesteps, readout, batch.lengths)
    state, outputs = REST, []
    with torch.no_grad():
        for steps in chunks(shown, timesteps, batch.chunk):
            done, state = advance(shown, state, steps)
            times = range(state.step - steps + 1, state.step + 1)
            outputs.append(readout_at_each_step(shown, done, times, traced))
    ended = at_the_end(torch.cat(outputs), batch.y, readout, batch.loss, batch.lengths)
    state = REST
    ends = {timesteps} if batch.lengths is None else batch.lengths.ends
    for steps in chunks(shown, timesteps, batch.chunk, learns=True):
        own = ended.gradients[state.step : state.step + steps]
        now = range(state.step + 1, state.step + steps + 1)
        learns = readout == "max" or not ends.isdisjoint(now)
        gate = surrogate_gates if learns else None
        done, state = learn(
            shown, state, steps, gate=gate, trace_bias_and_input=traced, lengths=batch.lengths
        )
        times = range(state.step - steps + 1, state.step + 1)
        if learns:
            torch.autograd.backward(readout_at_each_step(shown, done, times, traced), own)
        tally.add(done.fired)
    tally.add(None, ended.loss, ended.scores)
    pass_on()
    batch.update()
    return tally.outcome()


def saf_e_by_step(
    network: SpikingNetwork, batch: Batch, *, traced: bool = False, readout: Readout = "mean"
) -> Outcome:
    """SAF-E with an update after every time step, the trajectory of `ottt_o`.

    W â_in[t] would apply the weights of this step to all the past, so the potential follows its
    recurrence Û[t] = λ Û[t−1] + W s_in[t] + b. `batch.chunk` has no effect.
    """
    from saf.model.each_step import updated_at_each_step
    from saf.model.forward.lif_forward import saf

    return updated_at_each_step(network, batch, traced, readout, saf)


def saf_f(network: SpikingNetwork, batch: Batch, *, traced: bool = True) -> Outcome:
    """SAF with a loss at the final time step: loss(o, y) with o = W (â_N[T] / c[T]) + b.

    All time steps run without a graph; time step T is then differentiated with σ'(u[T] − V), with
    the results of its maps reused (`saf.model.forward.replay`). In a network without skips the
    gradient of the weights of spiking layer l of N is V^(N−l+1) times that of
    `spike_representation` where both use one gate: one factor V for each spiking layer between the
    weights and the loss. That of the readout is the same in both.
    """
    from saf.model.final_step import learn_at_the_final_step
    from saf.model.forward.saf_forward import surrogate_gates

    return learn_at_the_final_step(network, batch, traced, lambda _: surrogate_gates)
