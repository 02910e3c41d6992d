"""The scan of a population of LIF neurons over several steps, in the memory of their current.

Shapes: `K` steps, `N` samples, `…` the shape of the population; steps and samples are merged.
"""

from __future__ import annotations

import torch
from torch import Tensor

from saf import native
from saf.neuron import LIFState
from saf.scan import blocks

FEWEST_NEURONS = 2**10  # of all samples, for which C++ is called


def lif_scan(
    current: Tensor, state: LIFState, decay: float, threshold: float
) -> tuple[Tensor, LIFState]:
    """Run LIF neurons with soft reset: K times `saf.neuron.lif_step`, with its very bits.

    `current`, K · N …, is overwritten by the spikes, which are returned with the state after the
    last step; `state`, N …, is left as it is. In C++, inside `saf.native.allowed`, it is one pass
    over the memory.
    """
    samples = len(state.u)
    u, steps = state.u.clone(), len(current) // samples
    if not _in_cpp(current, u, state.s, decay, threshold):
        _in_torch(current, u, state.s, decay, threshold)
    last = current[-samples:]
    return current, LIFState(u=u, s=last if steps == 1 else last.clone())


def _in_torch(current: Tensor, u: Tensor, s: Tensor, decay: float, threshold: float) -> None:
    samples, steps = len(u), len(current) // len(u)
    for block in blocks(u):
        potential, before = u[block], s[block]
        for k in range(steps):
            spikes = current[k * samples + block.start : k * samples + block.stop]
            potential.sub_(before, alpha=threshold).mul_(decay).add_(spikes)
            torch.ge(potential, threshold, out=spikes)
            before = spikes


def _in_cpp(current: Tensor, u: Tensor, s: Tensor, decay: float, threshold: float) -> bool:
    """Whether it was possible."""
    samples, steps = len(u), len(current) // len(u)
    alike = all(x.dtype == torch.float32 and x.device.type == "cpu" for x in (current, u, s))
    if not native.is_allowed() or not alike or u.numel() < FEWEST_NEURONS:
        return False
    of_step = current[:samples]
    dense = of_step.is_contiguous() or of_step.is_contiguous(memory_format=torch.channels_last)
    if not dense or not of_step.stride() == u.stride() == s.stride():
        return False
    library = native.library("scan")
    if library is None:
        return False
    native.call(
        library.lif_float32, current, u, s, steps, u.numel(), float(decay), float(threshold)
    )
    return True
