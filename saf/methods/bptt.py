"""Back-propagation through time."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from saf.methods.base import LossFunction
from saf.model.lif_forward import lif_advance, lif_rest
from saf.model.network import SpikingNetwork, present
from saf.model.outcome import Outcome, Readout, Tally
from saf.model.presentation import NO_DROPOUT, Masks, plain


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
            synapse=plain,
            trace_bias_and_input=False,
            readout=readout,
        )
        values.append(loss(scores, y) / timesteps)
        tally.add(state.fired(), values[-1], scores)
    torch.stack(values).sum().backward()
    update()
    return tally.outcome()
