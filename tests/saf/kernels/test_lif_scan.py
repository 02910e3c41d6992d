"""Several steps of LIF neurons at once."""

from __future__ import annotations

import pytest
import torch

from saf.kernels import native
from saf.kernels.lif_scan import LIFState, lif_scan
from saf.neurons.dynamics import lif_step


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("shape", [(5, 7, 9), (11,)])
def test_the_scan_has_the_bits_of_the_steps_one_after_another(
    dtype: torch.dtype, shape: tuple[int, ...]
) -> None:
    generator = torch.Generator().manual_seed(0)
    current = torch.randn(6 * 3, *shape, generator=generator).to(dtype)
    state = LIFState(
        u=torch.randn(3, *shape, generator=generator).to(dtype),
        s=torch.randint(2, (3, *shape), generator=generator).to(dtype),
    )
    expected, after = [], state
    for of_step in current.chunk(6):
        spikes, after = lif_step(of_step, after, 0.7, 1.1)
        expected.append(spikes)
    before = LIFState(*(tensor.clone() for tensor in state))
    found, last = lif_scan(current.clone(), state, 0.7, 1.1)
    assert torch.equal(found, torch.cat(expected))
    assert 0.05 < float(found.float().mean()) < 0.95
    assert torch.equal(last.u, after.u)
    assert torch.equal(last.s, after.s)
    assert all(torch.equal(one, other) for one, other in zip(state, before, strict=True))


@pytest.mark.parametrize("in_cpp", [False, True])
@pytest.mark.parametrize("shape", [(16, 8, 8), (1100,)])
def test_the_scan_adds_a_bias_and_tells_every_potential(
    in_cpp: bool, shape: tuple[int, ...]
) -> None:
    generator = torch.Generator().manual_seed(0)
    current = torch.randn(4 * 2, *shape, generator=generator)
    state = LIFState(u=torch.randn(2, *shape, generator=generator), s=torch.zeros(2, *shape))
    if len(shape) == 3:
        last = torch.channels_last
        current = current.contiguous(memory_format=last)
        state = LIFState(*(tensor.contiguous(memory_format=last) for tensor in state))
    bias = torch.randn(1, shape[0], *(1,) * (len(shape) - 1), generator=generator)
    spikes, potentials, after = [], [], state
    for of_step in (current + bias).chunk(4):
        fired, after = lif_step(of_step, after, 0.7, 1.1)
        spikes.append(fired)
        potentials.append(after.u)
    told = torch.empty_like(current)
    with native.allowed(in_cpp):
        found, last_state = lif_scan(current, state, 0.7, 1.1, bias=bias, potentials=told)
    assert torch.equal(found, torch.cat(spikes))
    assert torch.equal(told, torch.cat(potentials))
    assert torch.equal(last_state.u, after.u)
