"""The scan of a population of LIF neurons over several steps, in the memory of their current.

Shapes: `K` steps, `N` samples, `…` the shape of the population; steps and samples are merged.
"""

from __future__ import annotations

import torch
from torch import Tensor

from saf.neuron import LIFState
from saf.scan import blocks


def lif_scan(
    current: Tensor, state: LIFState, decay: float, threshold: float
) -> tuple[Tensor, LIFState]:
    """Run LIF neurons with soft reset: K times `saf.neuron.lif_step`, with its very bits.

    `current`, K · N …, is overwritten by the spikes, which are returned with the state after the
    last step; `state`, N …, is left as it is.
    """
    samples = len(state.u)
    u, steps = state.u.clone(), len(current) // samples
    for block in blocks(u):
        potential, before = u[block], state.s[block]
        for k in range(steps):
            spikes = current[k * samples + block.start : k * samples + block.stop]
            potential.sub_(before, alpha=threshold).mul_(decay).add_(spikes)
            torch.ge(potential, threshold, out=spikes)
            before = spikes
    last = current[-samples:]
    return current, LIFState(u=u, s=last if steps == 1 else last.clone())
