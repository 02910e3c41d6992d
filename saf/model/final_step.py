"""Training with a loss at the final time step only. Shapes: `T` time steps, `B` samples."""

from __future__ import annotations

from collections.abc import Callable

import torch

from saf.model.batch import Batch
from saf.model.forward.detached import present_cut
from saf.model.forward.readout import readout_of_rates
from saf.model.forward.replay import Replay
from saf.model.forward.saf_forward import REST, Gates, advance, chunks
from saf.model.lengths import Lengths
from saf.model.network import SpikingNetwork, present
from saf.model.outcome import Outcome, Tally


def learn_at_the_final_step(
    network: SpikingNetwork, batch: Batch, traced: bool, gate_at: Callable[[int], Gates]
) -> Outcome:
    """Run T time steps without a graph, run the last one again with `gate_at(T)` as the gradient
    and the results of its maps reused, and update once. Of padded samples the last one is that of
    each."""
    if batch.lengths is not None:
        return _at_their_ends(network, batch, batch.lengths, traced, gate_at)
    timesteps, samples = batch.timesteps, len(batch.x)
    shown = present(network, network.stimulus(batch.x, timesteps), batch.masks)
    state, tally = REST, Tally(network, samples, timesteps, "weighted")
    *earlier, last = chunks(shown, timesteps, batch.chunk)
    replay = Replay(samples) if last > 1 else None
    with torch.no_grad():
        for steps in earlier:
            done, state = advance(shown, state, steps, keep=())
            tally.add(done.fired)
        if replay is not None:
            done, state = advance(shown, state, last, keep=(), replay=replay)
            tally.add(done.fired)
            replay.again = True
    gate = gate_at(timesteps)
    done, state = advance(shown, state, 1, gate=gate, trace_bias_and_input=traced, replay=replay)
    (scores,) = readout_of_rates(shown, done, [timesteps])
    value = batch.loss(scores, batch.y)
    value.backward()
    tally.add(done.fired if replay is None else None, value, scores)
    batch.update()
    return tally.outcome()


def _at_their_ends(
    network: SpikingNetwork,
    batch: Batch,
    lengths: Lengths,
    traced: bool,
    gate_at: Callable[[int], Gates],
) -> Outcome:
    """One time step after the other, with a graph where samples end, which learn from it alone."""
    stimulus = network.stimulus(batch.x, batch.timesteps).channels_last()
    shown, pass_on = present_cut(network, stimulus, batch.masks)
    state = REST
    tally = Tally(network, len(batch.x), batch.timesteps, "weighted", lengths)
    ends = lengths.ends
    for t in range(1, batch.timesteps + 1):
        learns = t in ends
        gate = gate_at(t) if learns else None
        with torch.set_grad_enabled(learns):
            done, state = advance(
                shown, state, 1, gate=gate, trace_bias_and_input=traced, lengths=lengths
            )
            (scores,) = readout_of_rates(shown, done, [t])
        value = None
        if learns:
            value = batch.loss(scores, batch.y, lengths.ending(t, scores))
            value.backward()
        tally.add(done.fired, value, scores)
    pass_on()
    batch.update()
    return tally.outcome()
