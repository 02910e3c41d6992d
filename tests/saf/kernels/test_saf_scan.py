"""The scan over time, and the gradient through it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from saf.kernels import saf_scan as scans
from saf.kernels.saf_scan import Constant, scan, spike_scan
from saf.neurons.dynamics import accumulated_one, saf_step

K, B, SHAPE = 5, 3, (4, 6, 6)
DECAY, V = 0.7, 0.9
C = [accumulated_one(t, DECAY) for t in range(3, 3 + K)]


def draw(
    dtype: torch.dtype = torch.float64, *, channels_last: bool = False, per_sample: bool = False
) -> tuple[Tensor, Tensor, Tensor]:
    """A current, a constant and a carry; every step of every sample another."""
    generator = torch.Generator().manual_seed(0)
    layout = torch.channels_last if channels_last else torch.contiguous_format

    def normal(*shape: int) -> Tensor:
        drawn = torch.randn(shape, generator=generator, dtype=torch.float64)
        return drawn.to(dtype).contiguous(memory_format=layout)

    value = normal(B, *SHAPE) if per_sample else normal(1, SHAPE[0], 1, 1)
    return 2 * normal(K * B, *SHAPE) + 1, 0.2 * value, normal(B, *SHAPE).abs()


def by_steps(
    current: Tensor | None, value: Tensor, carry: Tensor
) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
    """s[t], â[t] and u[t] by the step of the neuron."""
    spikes, accumulations, potentials = [], [carry], []
    for k, c in enumerate(C):
        potential = (0 if current is None else current[k * B : (k + 1) * B]) + c * value
        potential = potential.expand(B, *SHAPE)
        potentials.append(potential - V * DECAY * accumulations[-1])
        s, a = saf_step(potential, accumulations[-1], DECAY, V)
        spikes.append(s)
        accumulations.append(a)
    return spikes, accumulations, potentials


@pytest.mark.parametrize("block", [1, 2**30])
@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("per_sample", [False, True])
def test_scan_is_the_step_repeated_in_blocks_of_any_size(
    per_sample: bool, channels_last: bool, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scans, "BLOCK_BYTES", block)
    current, value, carry = draw(channels_last=channels_last, per_sample=per_sample)
    spikes, accumulations, potentials = by_steps(current, value, carry)
    assert 0.1 < torch.cat(spikes).mean() < 0.9
    found = scan(
        current.clone(), Constant(value, not per_sample, C, C), carry, DECAY, V, lambda u, _: u
    )
    torch.testing.assert_close(found.accumulation, torch.cat(accumulations[1:]))
    torch.testing.assert_close(found.derivative, torch.cat(potentials))
    assert float(found.fired) == float(torch.cat(spikes).sum())
    for tensor in found[:2]:
        assert tensor is not None
        assert tensor.is_contiguous(memory_format=torch.channels_last) == channels_last
    plain = scan(current, Constant(value, not per_sample, C, C), carry, DECAY, V, None)
    assert torch.equal(plain.accumulation, found.accumulation)
    assert plain.derivative is None


def test_scan_of_a_constant_alone() -> None:
    _, value, carry = draw(per_sample=True)
    spikes, accumulations, _ = by_steps(None, 5 * value, carry)
    assert 0.1 < torch.cat(spikes).mean() < 0.9
    found = scan(None, Constant(5 * value, False, C, C), carry, DECAY, V, None)
    torch.testing.assert_close(found.accumulation, torch.cat(accumulations[1:]))


def test_scan_can_be_cut_anywhere_and_starts_from_zero_without_a_carry() -> None:
    current, value, carry = draw()
    carry.zero_()
    whole = scan(current.clone(), Constant(value, True, C, C), carry, DECAY, V, None)
    head = scan(current[: 2 * B].clone(), Constant(value, True, C[:2], C[:2]), None, DECAY, V, None)
    last = head.accumulation[-B:]
    tail = scan(current[2 * B :].clone(), Constant(value, True, C[2:], C[2:]), last, DECAY, V, None)
    assert torch.equal(torch.cat([head.accumulation, tail.accumulation]), whole.accumulation)
    assert float(head.fired + tail.fired) == float(whole.fired)


@pytest.mark.parametrize("shape", [(4, 6, 6), (4, 1, 1), (1, 1, 1), (1, 6, 6), (5,)])
@pytest.mark.parametrize("samples", [1, 3])
@pytest.mark.parametrize("shared", [False, True])
def test_a_constant_is_shared_because_it_says_so_and_not_by_its_size(
    shared: bool, samples: int, shape: tuple[int, ...]
) -> None:
    """One sample is not what all samples share, even where both have the same shape."""
    generator = torch.Generator().manual_seed(0)

    def normal(*of: int) -> Tensor:
        return torch.randn(of, generator=generator, dtype=torch.float64)

    current, by = 2 * normal(K * samples, *shape), normal(K * samples, *shape)
    value = normal(1, shape[0], *(1 for _ in shape[1:])) if shared else normal(samples, *shape)
    value.requires_grad_()
    constant = Constant(value, shared, C, [1.0] * K)
    accumulation, _ = spike_scan(current.clone(), constant, None, DECAY, V, lambda u, _: u.cos())
    (accumulation * by).sum().backward()
    steps, before = [], torch.zeros(samples, *shape, dtype=torch.float64)
    for now, c in zip(current.chunk(K), C, strict=True):
        u = now + c * value.detach() - V * DECAY * before
        steps.append(u.cos())
        before = DECAY * before + (u >= V)
    expected = sum(d * b for d, b in zip(steps, by.chunk(K), strict=True))
    if shared:
        expected = expected.sum((0, *range(2, 1 + len(shape))), keepdim=True)  # type: ignore[union-attr]
    torch.testing.assert_close(value.grad, expected)


@pytest.mark.parametrize(("per_sample", "alone"), [(False, False), (True, False), (True, True)])
def test_gradient_of_the_scan_takes_the_past_as_a_constant(per_sample: bool, alone: bool) -> None:
    current, value, carry = draw(channels_last=True, per_sample=per_sample)
    if alone:
        value = 5 * value
    of_gradient = [1.0, 0.5, 2.0, 3.0, 0.25]
    _, _, potentials = by_steps(None if alone else current, value, carry)
    by = torch.randn(K * B, *SHAPE, generator=torch.Generator().manual_seed(1)).double()
    current.requires_grad_()
    value.requires_grad_()
    accumulation, _ = spike_scan(
        None if alone else current.clone(),
        Constant(value, not per_sample, C, of_gradient),
        carry,
        DECAY,
        V,
        lambda u, _: u.cos(),
    )
    (accumulation * by).sum().backward()
    expected = by * torch.cat(potentials).detach().cos()
    if not alone:
        torch.testing.assert_close(current.grad, expected)
    weighted = torch.stack(
        [f * g for f, g in zip(of_gradient, expected.chunk(K), strict=True)]
    ).sum(0)
    if not per_sample:
        weighted = weighted.sum((0, 2, 3), keepdim=True)
    torch.testing.assert_close(value.grad, weighted)


def test_the_gate_sees_the_accumulation_of_the_step_before() -> None:
    current, value, carry = draw()
    _, accumulations, _ = by_steps(current, value, carry)

    def gate(u: Tensor, before: Tensor | None) -> Tensor:
        assert before is not None
        return before

    found = scan(current, Constant(value, True, C, C), carry, DECAY, V, gate)
    torch.testing.assert_close(found.derivative, torch.cat(accumulations[:-1]))


def test_scan_saves_nothing_but_the_derivative_and_that_in_the_place_of_the_current() -> None:
    saved: list[tuple[torch.Size, int]] = []
    current, value, carry = draw(torch.bfloat16)
    current.requires_grad_()
    with torch.autograd.graph.saved_tensors_hooks(
        lambda t: saved.append((t.shape, t.data_ptr())) or t, lambda t: t
    ):
        fresh = current.clone()
        constant = Constant(value, True, C, C)
        accumulation, _ = spike_scan(fresh, constant, carry, DECAY, V, lambda u, _: u.cos())
        assert saved == [(fresh.shape, fresh.data_ptr())]
        assert accumulation.element_size() == 2
        spike_scan(current.clone(), constant, carry, DECAY, V, None)
        with torch.no_grad():
            spike_scan(current.clone(), constant, carry, DECAY, V, lambda u, _: u.cos())
    assert len(saved) == 1


def test_spikes_are_counted_exactly_in_low_precision() -> None:
    """A sum in bfloat16 would stop at 256."""
    current = torch.ones(2, 5000, dtype=torch.bfloat16)
    found = scan(
        current, Constant(torch.zeros(1, 1).bfloat16(), True, [1.0], [1.0]), None, 0.5, 1.0, None
    )
    assert float(found.fired) == 10_000
