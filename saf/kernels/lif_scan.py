"""The scan of a layer of LIF neurons over several time steps, in place.

Shapes: `K` time steps, `N` samples, `…` the shape of the layer; time steps and samples are merged.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from saf.kernels import native
from saf.kernels.saf_scan import blocks, rows_of

FEWEST_NEURONS = 2**10  # of all samples, for which C++ is called


class LIFState(NamedTuple):
    """State of LIF neurons after a time step; zeros before the first."""

    u: Tensor  # membrane potential, before the reset
    s: Tensor  # spikes

    def detached(self) -> LIFState:
        """The same state, detached from its graph."""
        return LIFState(self.u.detach(), self.s.detach())

    def with_spikes(self, s: Tensor) -> LIFState:
        """The same state with `s` in place of its spikes."""
        return LIFState(self.u, s)


def lif_scan(
    current: Tensor,
    state: LIFState,
    decay: float,
    threshold: float,
    *,
    bias: Tensor | None = None,
    potentials: Tensor | None = None,
) -> tuple[Tensor, LIFState]:
    """Run LIF neurons with soft reset: K times `saf.neurons.dynamics.lif_step`, bit for bit.

    `current` (K · N …) is overwritten by the spikes, which are returned with the state after the
    last time step; `state` (N …) is not changed. `bias`, 1 C 1 1 or 1 F, is added to every current.
    u before the reset is written to `potentials`, which is laid out like `current`. In C++, inside
    `saf.kernels.native.allowed`, this is one pass over the memory.
    """
    samples = len(state.u)
    steps = len(current) // samples
    u = _in_cpp(current, state, decay, threshold, bias, potentials)
    if u is None:
        u = state.u.clone()
        _in_torch(current, u, state.s, decay, threshold, bias, potentials)
    last = current[-samples:]
    return current, LIFState(u=u, s=last if steps == 1 else last.clone())


def _in_torch(
    current: Tensor,
    u: Tensor,
    s: Tensor,
    decay: float,
    threshold: float,
    bias: Tensor | None,
    potentials: Tensor | None,
) -> None:
    samples, steps = len(u), len(current) // len(u)
    for block in blocks(u):
        potential, before = u[block], s[block]
        for k in range(steps):
            rows = slice(k * samples + block.start, k * samples + block.stop)
            spikes = current[rows]
            if bias is not None:
                spikes.add_(bias)
            potential.sub_(before, alpha=threshold).mul_(decay).add_(spikes)
            if potentials is not None:
                potentials[rows] = potential
            torch.ge(potential, threshold, out=spikes)
            before = spikes


def _in_cpp(
    current: Tensor,
    state: LIFState,
    decay: float,
    threshold: float,
    bias: Tensor | None,
    potentials: Tensor | None,
) -> Tensor | None:
    """u after the last time step; None where C++ cannot be used."""
    before, s = state
    samples, steps = len(before), len(current) // len(before)
    alike = all(x.dtype == torch.float32 and x.device.type == "cpu" for x in (current, before, s))
    if not native.is_allowed() or not alike or before.numel() < FEWEST_NEURONS:
        return None
    of_step = current[:samples]
    dense = of_step.is_contiguous() or of_step.is_contiguous(memory_format=torch.channels_last)
    if not dense or not of_step.stride() == before.stride() == s.stride():
        return None
    if potentials is not None and potentials.stride() != current.stride():
        return None
    rows = rows_of(current)
    if bias is not None and (rows is None or bias.numel() != rows.shape[1]):
        return None
    library = native.library("scan")
    if library is None:
        return None
    u = torch.empty_like(before)
    channels = u.numel() if bias is None else bias.numel()
    native.call(
        library.lif_float32,
        *(current, before, s, u, None if bias is None else bias.contiguous(), potentials),
        *(steps, u.numel() // channels, channels, float(decay), float(threshold)),
    )
    return u
