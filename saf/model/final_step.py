"""Training with a loss at the final time step only. Shapes: `T` time steps, `B` samples."""

from __future__ import annotations

import torch

from saf.model.batch import Batch
from saf.model.forward.readout import readout_of_rates
from saf.model.forward.replay import Replay
from saf.model.forward.saf_forward import REST, Gates, advance, chunks
from saf.model.network import SpikingNetwork, present
from saf.model.outcome import Outcome, Tally


def learn_at_the_final_step(
    network: SpikingNetwork, batch: Batch, traced: bool, gate: Gates
) -> Outcome:
    """Run T time steps without a graph, run the last one again with `gate` as the gradient and
    the results of its maps reused, and update once."""
    timesteps, samples = batch.timesteps, len(batch.x)
    shown = present(network, network.stimulus(batch.x, timesteps), batch.masks)
    state, tally = REST, Tally(network, samples, timesteps, "weighted")
    *earlier, last = chunks(network, samples, timesteps, batch.chunk)
    replay = Replay(samples) if last > 1 else None
    with torch.no_grad():
        for steps in earlier:
            done, state = advance(shown, state, steps, keep=())
            tally.add(done.fired)
        if replay is not None:
            done, state = advance(shown, state, last, keep=(), replay=replay)
            tally.add(done.fired)
            replay.again = True
    done, state = advance(shown, state, 1, gate=gate, trace_bias_and_input=traced, replay=replay)
    (scores,) = readout_of_rates(shown, done, [timesteps])
    value = batch.loss(scores, batch.y)
    value.backward()
    tally.add(done.fired if replay is None else None, value, scores)
    batch.update()
    return tally.outcome()
