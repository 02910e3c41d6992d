"""Networks with feedback: K time steps one after the other, then their graph all at once.

A neuron hears of the spikes of other neurons one time step later, so the steps run in order. But
gradients end at the feedback, â[t−1], and at the past of each neuron. Once all spikes of K steps
are known, what is left to differentiate is a network without feedback at K · B samples, whose graph
is made by one pass over them.

Shapes: `K` time steps, `B` samples, `…` the shape of a layer; `K · B` is time steps and samples
merged.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import torch
from torch import Tensor

from saf.model.forward.presentation import Presentation
from saf.model.forward.replay import ReplayOfSteps
from saf.model.forward.saf_forward import Chunk, Gates, NetworkState, Past, advance
from saf.model.lengths import Lengths
from saf.neurons.base import Filters


def learn(
    shown: Presentation,
    state: NetworkState,
    steps: int,
    *,
    gate: Gates | None,
    trace_bias_and_input: bool,
    lengths: Lengths | None = None,
) -> tuple[Chunk, NetworkState]:
    """As `saf.model.forward.saf_forward.advance` with the surrogate gradient `gate`, if any, of
    K = `steps` time steps, with feedback, too; after the first time step.

    With feedback the steps run twice: without a graph one after the other, which gives the next
    state, and with a graph all at once, with the results of their maps reused. Without `gate` the
    second run is left out, and the chunk tells the number of spikes alone.
    """
    run = partial(advance, shown, trace_bias_and_input=trace_bias_and_input)
    if steps == 1 or not shown.feedback:
        return run(state, steps, gate=gate, lengths=lengths)
    replay = None if gate is None else ReplayOfSteps(shown.samples, steps)
    now, states, fired = state, [], []
    with torch.no_grad():
        for _ in range(steps):
            states.append(now)
            if replay is not None:
                replay.begin()
            done, now = run(now, 1, replay=replay, lengths=lengths if gate is None else None)
            fired.append(done.fired)
    if replay is None:
        return Chunk(steps, {}, {}, {}, {}, torch.stack(fired).sum(0), shown.decays), now
    replay.again = True
    past = Past(
        {name: torch.cat([each.accumulations[name] for each in states]) for name in shown.feedback},
        _filtered(shown, [each.filtered for each in states]),
    )
    done, _ = run(state, steps, gate=gate, replay=replay, past=past, lengths=lengths)
    return done, now


def _filtered(
    shown: Presentation, of_steps: list[Mapping[tuple[str, Filters], tuple[Tensor, ...]]]
) -> dict[tuple[str, Filters], Tensor]:
    """Accumulations by other filters of the layers that feed back, K · B …."""
    keys = [key for key in of_steps[0] if key[0] in shown.feedback]
    return {key: torch.cat([each[key][-1] for each in of_steps]) for key in keys}
