"""Back-propagation through time."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, ClassVar, Literal

from saf.config.methods import AT_THE_END, METHODS, AtEachStep, Readout

if TYPE_CHECKING:
    from saf.model.batch import Batch, Rule
    from saf.model.network import SpikingNetwork
    from saf.model.outcome import Outcome


@METHODS.add
class BPTT(AtEachStep):
    """Back-propagation through time with surrogate gradients, the baseline; memory grows with T."""

    label: ClassVar[str] = "BPTT"
    place: ClassVar[int] = 60
    compared: ClassVar[bool] = True

    name: Literal["bptt"] = "bptt"

    def rule(self) -> Rule:
        return partial(bptt, readout=self.readout)


def bptt(network: SpikingNetwork, batch: Batch, *, readout: Readout = "mean") -> Outcome:
    """Back-propagation through time with surrogate gradients; the loss of `saf_e`.

    The graph spans all T steps, through the leak of every potential and every feedback connection.
    The reset V s[t−1] is a constant in it (`detach_reset`), which is common practice: through it
    the surrogate's gradient is noise (Zenke & Vogels, Neural Computation 2021). There is no trace,
    and `batch.chunk` has no effect.
    """
    import torch

    from saf.model.each_step import read_out
    from saf.model.forward.lif_forward import lif_advance, lif_rest
    from saf.model.forward.presentation import plain
    from saf.model.network import present
    from saf.model.outcome import Tally

    stimulus = network.stimulus(batch.x, batch.timesteps).channels_last()
    shown = present(network, stimulus, batch.masks)
    state = lif_rest(network, stimulus)
    tally = Tally(network, len(batch.x), batch.timesteps, readout, batch.lengths)
    values, outputs = [], []
    for t in range(1, batch.timesteps + 1):
        scores, state = lif_advance(
            shown,
            state,
            synapse=plain,
            trace_bias_and_input=False,
            readout=readout,
        )
        if readout in AT_THE_END:
            outputs.append(scores)
            tally.add(state.fired(batch.lengths))
            continue
        values.append(batch.loss_at([t], scores[None]))
        tally.add(state.fired(batch.lengths), values[-1], scores)
    if outputs:
        scores = read_out(torch.stack(outputs), readout, batch.lengths)
        values.append(batch.loss(scores, batch.y))
        tally.add(None, values[-1], scores)
    torch.stack(values).sum().backward()
    batch.update()
    return tally.outcome()
