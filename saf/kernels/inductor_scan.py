"""The scan of a layer, compiled by torch: one pass over the memory instead of one for each
operation.

Inductor makes C++ of it on a CPU and a Triton kernel on a GPU. The first use takes half a minute
and needs a C++ compiler (on a GPU Triton). `saf.training.hardware.backends` chooses it.

Shapes: `K` time steps, `B` samples, `…` the shape of a layer; `R` rows of `C` channels or features,
R = B · H · W, or B.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor

from saf.kernels.cachedir import give_torch_its_cache
from saf.kernels.saf_scan import Constant, Gate, Scanned, rows_of, several
from saf.kernels.saf_scan import scan as reference

MOST_VARIANTS = 64  # of a step: with and without gate, carry, …, for each type, neuron and layout

logger = logging.getLogger(__name__)


def scan(
    current: Tensor | None,
    constant: Constant,
    carry: Tensor | None,
    decay: float,
    threshold: float,
    gate: Gate | None,
) -> Scanned:
    """Compute `saf.kernels.saf_scan.scan`, and call it for tensors of differing layouts.

    The results are equal but for rounding: torch's own operations fuse some products with the sum
    that follows. On a CPU they are the same bits where λ and V are powers of two and the constant
    is the same for all samples.
    """
    value, _, factors, _ = constant
    u = several(value, len(factors)) if current is None else current
    of_u, of_value = rows_of(u), rows_of(value)
    before = None if carry is None else rows_of(carry)
    if of_u is None or of_value is None or (before is None and carry is not None):
        return reference(current, constant, carry, decay, threshold, gate)
    accumulation = u if gate is None else torch.empty_like(u)
    of_a = rows_of(accumulation)
    assert of_a is not None
    step = _step(decay, threshold, gate, current is not None)
    counts = []
    for now, a, c in zip(of_u.chunk(len(factors)), of_a.chunk(len(factors)), factors, strict=True):
        # A function that writes to one tensor under two names would be compiled wrongly.
        counts.append(step(now, None if gate is None else a, of_value, before, c))
        before = a
    return Scanned(accumulation, None if gate is None else u, torch.stack(counts).sum())


_Step = Callable[[Tensor, Tensor | None, Tensor, Tensor | None, float], Tensor]


@cache
def _step(decay: float, threshold: float, gate: Gate | None, arriving: bool) -> _Step:
    """One time step of R C neurons, compiled. Returns the number of spikes. â is written to `a`,
    or over the current where `a` is None."""
    config: Any = torch._dynamo.config
    name = "recompile_limit" if hasattr(config, "recompile_limit") else "cache_size_limit"  # < 2.7
    setattr(config, name, MOST_VARIANTS)

    def step(u: Tensor, a: Tensor | None, value: Tensor, before: Tensor | None, c: float) -> Tensor:
        potential = u + c * value if arriving else (c * value).expand_as(u)
        if before is not None:
            potential = potential - (threshold * decay) * before
        spikes = (potential >= threshold).to(u.dtype)
        after = spikes if before is None else spikes + decay * before
        if gate is None or a is None:
            u.copy_(after)
        else:
            u.copy_(gate(potential, before))
            a.copy_(after)
        return spikes.sum(dtype=torch.float32)

    give_torch_its_cache()
    return torch.compile(step, dynamic=True)
