"""The scan of a population compiled by torch: one pass over the memory instead of one an operation.

Inductor makes C++ of it on a CPU and a Triton kernel on a GPU. The first use takes half a minute
and a C++ compiler (on a GPU Triton); `chosen` says where it is used.

Shapes: `K` steps, `B` samples, `…` the shape of a population; `R` rows of `C` channels or features,
which is how the memory of a population is seen here: R = B · H · W, or B.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

from saf.architecture import Architecture
from saf.cachedir import give_torch_its_cache
from saf.checkpoint import Progress
from saf.config import Neuron, ResolvedSpecification
from saf.gates import surrogate_gate
from saf.precision import compute_dtype, parameter_dtype
from saf.scan import Constant, Gate, Scan, Scanned, rows_of, several
from saf.scan import scan as reference

FEWEST_UPDATES = 10**11
"""Updates of neurons (neurons × T × samples × epochs) from which a training gains more than the
compilation takes: half a minute against about 1 ns for each update on two CPU cores."""
METHODS = ("saf-e", "saf-f", "spike-representation")  # those that scan
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
    """What `saf.scan.scan` computes, and does for tensors that are not laid out alike.

    Equal to it but for rounding: torch's own operations fuse some products with the sum that
    follows. On a CPU there is no difference where λ and V are powers of two and the constant is
    the same for all samples.
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
    """One step of R C neurons, compiled; how many spikes there were is returned. â takes the place
    of the current where there is no `a` for it."""
    torch._dynamo.config.recompile_limit = MOST_VARIANTS

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


def chosen(
    progress: Progress,
    specification: ResolvedSpecification,
    architecture: Architecture,
    samples: int,
    device: torch.device,
) -> Scan:
    """The scan for a training on `samples` samples: that which it began with, and when it begins
    the compiled one if it is long enough and the compiler works. `progress` remembers it."""
    precision = specification.precision
    dtype = compute_dtype(precision) or parameter_dtype(precision)
    wanted = progress.compiled
    if wanted is None:
        updates = architecture.neurons * specification.timesteps * samples * specification.epochs
        scans = specification.method.name in METHODS
        wanted = scans and updates >= FEWEST_UPDATES
    usable = wanted and works(specification.neuron, device, dtype)
    if progress.compiled and not usable:
        logger.warning("this training began with a compiled scan: its last bits will differ")
    progress.compiled = usable
    return scan if usable else reference


def works(neuron: Neuron, device: torch.device, dtype: torch.dtype) -> bool:
    """Whether the compiled scan runs on `device` and gives what the reference gives; if it does
    not, the log says why."""
    gate = surrogate_gate(neuron)
    generator = torch.Generator().manual_seed(0)
    current = torch.randn(2 * 3, 5, 4, 4, generator=generator).to(device, dtype)
    current = current.contiguous(memory_format=torch.channels_last)
    factors = [1.0, 1.0 + neuron.decay]
    constant = Constant(current[:1, :, :1, :1].clone(), True, factors, [1.0, 1.0])
    given = (constant, None, neuron.decay, neuron.threshold, gate)
    try:
        with torch.no_grad():
            ours, theirs = scan(current.clone(), *given), reference(current.clone(), *given)
    except Exception as error:  # whatever a missing or broken compiler raises
        said = str(error).strip().splitlines() or [""]
        logger.warning("the scan is not compiled here: %s: %s", type(error).__name__, said[0])
        return False
    tolerance = 1e-2 if dtype == torch.bfloat16 else 1e-5
    for one, other in zip(ours[:2], theirs[:2], strict=True):
        assert one is not None
        assert other is not None
        if not torch.allclose(one, other, rtol=tolerance, atol=tolerance):
            logger.warning("the compiled scan gives other results here, and is not used")
            return False
    return True
