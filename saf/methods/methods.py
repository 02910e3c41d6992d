"""The training methods, one function each, with one signature.

    method(network, x, y, timesteps=, loss=, update=, trace_bias_and_input=, masks=, chunk=)

`x` are images B C H W or event frames B T C H W in [0, 1] (the network normalises them), `y` what
`loss(scores, y)` compares with. A method leaves gradients in `.grad` and calls `update()` whenever
an optimizer step is due: once per batch, for ottt-o after every time step. The caller zeroes the
gradients before the call and inside `update`. `masks` are those of `saf.model.dropout`. `chunk` is
the number of time steps that SAF takes at once (None: what suits the batch, see
`saf.model.saf_forward.chunks`); it changes memory and speed, and no result but for rounding.

Methods with a loss at each step also take `readout`: `sum`, where the loss of step t sees
o[t] = W s_N[t] + b and the prediction their sum, or `final`, where it sees W (â_N[t] / c[t]) + b,
the mean of the o so far with the weights λ^(t−τ), and the prediction is that at T.

The gradients are derived in docs and papers: SAF, arXiv 2310.02772; OTTT, arXiv 2210.04195; DSR,
arXiv 2205.00459. Shapes: `T` steps, `K` steps of a chunk, `B` samples, `…` a population.
"""

from __future__ import annotations

from functools import partial

from saf.config import Method as ChosenMethod
from saf.config import SafE
from saf.methods.base import Method, MethodAtEachStep
from saf.methods.bptt import bptt
from saf.methods.ottt import ottt_a, ottt_o
from saf.methods.saf import saf_e, saf_e_by_step, saf_f, spike_representation
from saf.model.outcome import readout_of

AT_EACH_STEP: dict[str, MethodAtEachStep] = {
    "saf-e": saf_e,
    "ottt-a": ottt_a,
    "ottt-o": ottt_o,
    "bptt": bptt,
}
METHODS: dict[str, Method] = {
    **AT_EACH_STEP,
    "saf-f": saf_f,
    "spike-representation": spike_representation,
}


def method_of(chosen: ChosenMethod) -> Method:
    """The function for a method of a specification, with its readout."""
    if chosen.name not in AT_EACH_STEP:
        return METHODS[chosen.name]
    by_step = isinstance(chosen, SafE) and chosen.update == "step"
    method = saf_e_by_step if by_step else AT_EACH_STEP[chosen.name]
    return method if chosen.readout == "mean" else partial(method, readout=readout_of(chosen))
