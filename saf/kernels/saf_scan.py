"""The scan of a layer of SAF neurons over a chunk of time steps.

Shapes: `K` time steps, `B` samples, `…` the shape of the layer. Time steps and samples are merged,
K · B …, as in the maps between layers.

`scan` is the reference back end: plain torch, any type and device. It overwrites the input current
and works in blocks that fit the cache, so that its elementwise operations cost little beside the
maps and need no memory beyond that of the accumulation. `saf.kernels.inductor_scan.scan` is the
other back end; `by` chooses.

`spike_scan` is the scan with its gradient. Only â is carried from one time step to the next, and it
is detached, so the backward pass is one product per neuron and time step,

    ∂L/∂Û[t] = ∂L/∂â[t] · σ'[t],

and σ' is all that is saved for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from math import prod
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from saf.kernels import native

Gate = Callable[[Tensor, Tensor | None], Tensor]
"""∂â[t]/∂Û[t], elementwise, of u[t] = Û[t] − V λ â[t−1] and of â[t−1], or None where that is 0."""

BLOCK_BYTES = 2**19  # of one tensor in a block; a step works on about four of them


class Constant(NamedTuple):
    """Input that is the same at every time step (the bias and the current of an image), and its
    factors.

    `shared` says which of its two shapes `value` has. They are equal for a batch of one sample and
    a layer with one pixel, so the shape alone cannot tell.
    """

    value: Tensor  # B …; where it is `shared` by all samples and pixels, 1 C 1 1 (or 1 F)
    shared: bool
    forward: Sequence[float]  # K: c[t]
    backward: Sequence[float]  # K: c[t] with the trace in the gradient, else 1


class Scanned(NamedTuple):
    """Result of `scan`."""

    accumulation: Tensor  # K · B …: â[t]
    derivative: Tensor | None  # K · B …: the gate; None where none is asked for
    fired: Tensor  # scalar: how many spikes there were


class Scan(Protocol):
    """A back end: `scan`, or a function with the same results."""

    def __call__(
        self,
        current: Tensor | None,
        constant: Constant,
        carry: Tensor | None,
        decay: float,
        threshold: float,
        gate: Gate | None,
    ) -> Scanned: ...


def scan(
    current: Tensor | None,
    constant: Constant,
    carry: Tensor | None,
    decay: float,
    threshold: float,
    gate: Gate | None,
) -> Scanned:
    """Run SAF neurons over K time steps; SAF, arXiv 2310.02772.

        u[t] = current[t] + c[t] constant − V λ â[t−1]
        s[t] = H(u[t] − V)                       â[t] = λ â[t−1] + s[t]

    `current` (K · B …) is overwritten: by the gate where one is given, else by â. It may be None
    where the constant is not shared. `carry` is â before the first time step, B …, or None for
    zero.
    """
    value, shared, factors, _ = constant
    arriving = current is not None
    assert arriving or not shared
    if current is None:
        current = several(value, len(factors))
    samples = len(current) // len(factors)
    accumulation = current if gate is None else torch.empty_like(current)
    counts = []
    for block in blocks(current[:samples]):
        before = None if carry is None else carry[block]
        for k, c in enumerate(factors):
            rows = slice(k * samples + block.start, k * samples + block.stop)
            u, a = current[rows], accumulation[rows]
            if not arriving:
                torch.mul(value[block], c, out=u)
            elif shared:
                u.add_(c * value)
            else:
                u.add_(value[block], alpha=c)
            if before is not None:
                u.sub_(before, alpha=threshold * decay)
            if gate is not None:
                torch.ge(u, threshold, out=a)
                u.copy_(gate(u, before))
            else:
                a.ge_(threshold)
            counts.append(count_spikes(a))
            if before is not None:
                a.add_(before, alpha=decay)
            before = a
    return Scanned(accumulation, None if gate is None else current, torch.stack(counts).sum())


def blocks(x: Tensor) -> Iterator[slice]:
    """Split the samples of `x` (B …) into blocks that fit the cache of a CPU."""
    size = len(x)
    if x.device.type == "cpu":
        size = max(1, BLOCK_BYTES // (prod(x.shape[1:]) * x.element_size()))
    for start in range(0, len(x), size):
        yield slice(start, min(start + size, len(x)))


_chosen: ContextVar[Scan] = ContextVar("scan", default=scan)


@contextmanager
def by(back_end: Scan) -> Iterator[None]:
    """Context manager: `spike_scan` uses `back_end` instead of `scan`."""
    before = _chosen.set(back_end)
    try:
        yield
    finally:
        _chosen.reset(before)


def several(x: Tensor, times: int) -> Tensor:
    """Empty memory for `times` tensors like `x`, one after the other, in its layout."""
    channels_last = x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last)
    return torch.empty(
        (times * len(x), *x.shape[1:]),
        dtype=x.dtype,
        device=x.device,
        memory_format=torch.channels_last if channels_last else torch.contiguous_format,
    )


def rows_of(x: Tensor) -> Tensor | None:
    """View `x`, N C H W with the channels last in memory or N F, as R C; None for other layouts."""
    if x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last):
        return x.permute(0, 2, 3, 1).reshape(-1, x.shape[1])
    return x if x.dim() == 2 and x.is_contiguous() else None


def count_spikes(spikes: Tensor) -> Tensor:
    """Number of ones in `spikes`: a scalar."""
    return spikes.detach().sum(dtype=_counting(spikes.dtype))


def count_of_each(spikes: Tensor) -> Tensor:
    """Number of ones in each sample of `spikes`, B …: B."""
    return spikes.detach().flatten(1).sum(1, dtype=_counting(spikes.dtype))


def _counting(dtype: torch.dtype) -> torch.dtype:
    """A type that counts that many neurons exactly enough."""
    return torch.float64 if dtype == torch.float64 else torch.float32


class _SpikeScan(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        current: Tensor | None,
        value: Tensor,
        constant: Constant,
        carry: Tensor | None,
        decay: float,
        threshold: float,
        gate: Gate,
    ) -> tuple[Tensor, Tensor]:
        # Nobody else holds the current: what is saved takes its place in memory.
        overwritten = None if current is None else current.detach()
        scanned = _chosen.get()(overwritten, constant, carry, decay, threshold, gate)
        assert scanned.derivative is not None
        ctx.save_for_backward(scanned.derivative)
        ctx.shape, ctx.shared, ctx.factors = value.shape, constant.shared, constant.backward
        ctx.mark_non_differentiable(scanned.fired)
        return scanned.accumulation, scanned.fired

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad,) = ctx.saved_tensors
        samples = len(grad) // len(ctx.factors)
        of_value = None
        if ctx.needs_input_grad[1]:
            of_value = grad.new_zeros(ctx.shape, dtype=_counting(grad.dtype))
        summed = (0, *range(2, grad.dim()))
        for block in blocks(grad[:samples]):
            for k, factor in enumerate(ctx.factors):
                rows = slice(k * samples + block.start, k * samples + block.stop)
                # In place: the derivative has done its duty, and a backward pass runs once.
                g = grad[rows].mul_(grads[0][rows])
                if of_value is None:
                    continue
                if ctx.shared:
                    of_value.add_(g.sum(summed, True, dtype=of_value.dtype), alpha=factor)
                else:
                    of_value[block].add_(g, alpha=factor)
        of_current = grad if ctx.needs_input_grad[0] else None
        return of_current, of_value, None, None, None, None, None


def spike_scan(
    current: Tensor | None,
    constant: Constant,
    carry: Tensor | None,
    decay: float,
    threshold: float,
    gate: Gate | None,
) -> tuple[Tensor, Tensor]:
    """`scan` with a gradient: â (K · B …) and the number of spikes.

    Without `gate`, or where no gradient is recorded, nothing is saved. `current` is overwritten.
    """
    if gate is not None and torch.is_grad_enabled():
        accumulation, fired = _SpikeScan.apply(  # type: ignore[no-untyped-call]
            current, constant.value, constant, carry, decay, threshold, gate
        )
        return accumulation, fired
    current = None if current is None else current.detach()
    constant = constant._replace(value=constant.value.detach())
    scanned = _in_cpp(current, constant, carry, decay, threshold)
    if scanned is None:
        scanned = _chosen.get()(current, constant, carry, decay, threshold, None)
    return scanned.accumulation, scanned.fired


def _in_cpp(
    current: Tensor | None,
    constant: Constant,
    carry: Tensor | None,
    decay: float,
    threshold: float,
) -> Scanned | None:
    """`scan` without a gate in C++, in one pass over the memory, where that is allowed and
    possible; in float32 bit for bit the same."""
    if not native.is_allowed() or constant.value.device.type != "cpu":
        return None
    value, shared, factors, _ = constant
    u = several(value, len(factors)) if current is None else current
    steps, channels = len(factors), u.shape[1]
    rows = u.numel() // channels // steps
    seen = [(u, steps * rows), (value, 1 if shared else rows)]
    if carry is not None:
        seen.append((carry, rows))
    for x, length in seen:
        found = rows_of(x)
        if found is None or found.shape != (length, channels) or x.dtype != u.dtype:
            return None
    library = native.library("scan") if u.dtype in (torch.float32, torch.bfloat16) else None
    if library is None:
        return None
    fired = native.call(
        library[f"accumulate_{native.type_of(u)}"],
        *(u, current is not None, value, shared, carry, factors),
        *(steps, rows, channels, float(decay), float(threshold)),
    )
    return Scanned(u, None, torch.tensor(float(fired)))
