"""OTTT with one update a batch (`ottt_a`) and with one after each time step (`ottt_o`)."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, ClassVar, Literal

from saf.config.methods import AT_THE_END, METHODS, AtEachStep, Readout

if TYPE_CHECKING:
    from saf.model.batch import Batch, Rule
    from saf.model.network import SpikingNetwork
    from saf.model.outcome import Outcome


@METHODS.add
class OtttA(AtEachStep):
    """Online Training Through Time, gradients accumulated over the sequence, one update."""

    label: ClassVar[str] = "OTTT_A"
    place: ClassVar[int] = 30
    compared: ClassVar[bool] = True

    name: Literal["ottt-a"] = "ottt-a"
    trace_bias_and_input: bool = False
    """As in `saf-e`."""

    def rule(self) -> Rule:
        return partial(ottt_a, traced=self.trace_bias_and_input, readout=self.readout)

    def kept(self, timesteps: int, at_once: int) -> int:
        return 11


@METHODS.add
class OtttO(AtEachStep):
    """Online Training Through Time, an update after every time step."""

    label: ClassVar[str] = "OTTT_O"
    place: ClassVar[int] = 40

    name: Literal["ottt-o"] = "ottt-o"
    trace_bias_and_input: bool = False
    """As in `saf-e`."""

    def rule(self) -> Rule:
        return partial(ottt_o, traced=self.trace_bias_and_input, readout=self.readout)

    @property
    def updates_at_each_step(self) -> bool:
        return True

    def kept(self, timesteps: int, at_once: int) -> int:
        return 11


def ottt_a(
    network: SpikingNetwork, batch: Batch, *, traced: bool = False, readout: Readout = "mean"
) -> Outcome:
    """OTTT, gradients of the T steps added up, one update: ∇W = Σ_t g_u[t] â_in[t]ᵀ.

    Every map is evaluated once per time step, on spikes, and its weight gradient is taken at the
    trace â; with `traced` that of the bias and of a constant input, too. `batch.chunk` has no
    effect: a LIF neuron needs its state after one time step before the next. With the `readout`
    `mean` the loss of time step t is that of o[t] = W s_N[t] + b, and the scores are the sum of
    o[t]. With `weighted` it is that of W (â_N[t] / c[t]) + b, the mean of o so far with the weights
    λ^(t−τ), and the scores are its value at T. `last` and `max` have one loss, of the scores after
    all time steps: these are computed without a graph before.
    """
    import torch

    from saf.model.each_step import at_the_end, learn_at_one_step
    from saf.model.forward.detached import present_cut
    from saf.model.forward.lif_forward import lif_advance, lif_rest
    from saf.model.forward.presentation import traced as traced_synapse
    from saf.model.outcome import Tally

    stimulus = network.stimulus(batch.x, batch.timesteps).channels_last()
    shown, pass_on = present_cut(network, stimulus, batch.masks)
    state = lif_rest(network, stimulus)
    ended = None
    tally = Tally(network, len(batch.x), batch.timesteps, readout, batch.lengths)
    if readout in AT_THE_END:
        outputs = []
        with torch.no_grad():
            for _ in range(batch.timesteps):
                scores, state = lif_advance(
                    shown, state, synapse=traced_synapse, trace_bias_and_input=traced, track=False
                )
                outputs.append(scores)
        ended = at_the_end(torch.stack(outputs), batch.y, readout, batch.loss, batch.lengths)
        state = lif_rest(network, stimulus)
    for step in range(batch.timesteps):
        scores, state = lif_advance(
            shown,
            state.detached(),
            synapse=traced_synapse,
            trace_bias_and_input=traced,
            readout=readout,
        )
        if ended is None:
            learn_at_one_step(scores, batch, step + 1, state, tally)
        else:
            torch.autograd.backward(scores, ended.gradients[step])
            tally.add(state.fired(batch.lengths))
    if ended is not None:
        tally.add(None, ended.loss, ended.scores)
    pass_on()
    batch.update()
    return tally.outcome()


def ottt_o(
    network: SpikingNetwork, batch: Batch, *, traced: bool = False, readout: Readout = "mean"
) -> Outcome:
    """OTTT with an update after every time step; the weights are made effective again for the next.

    Potentials and traces live on over the updates, as in the published code. `batch.chunk` has no
    effect.
    """
    from saf.model.each_step import updated_at_each_step
    from saf.model.forward.lif_forward import lif

    return updated_at_each_step(network, batch, traced, readout, lif)
