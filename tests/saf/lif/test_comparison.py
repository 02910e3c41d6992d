"""Spikes of SAF neurons compared with those of LIF neurons while they run."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from saf.kernels import native
from saf.kernels.lif_scan import LIFState, lif_scan
from saf.kernels.saf_scan import Constant, scan
from saf.lif.comparison import compared_scan

DECAY, THRESHOLD = 0.5, 1.0


def neurons(shape: tuple[int, ...], steps: int, shared: bool) -> tuple[Tensor, Constant, Tensor]:
    """What arrives at two samples of some neurons, and an accumulation before."""
    generator = torch.Generator().manual_seed(2)

    def last(x: Tensor) -> Tensor:
        return x.contiguous(memory_format=torch.channels_last) if x.dim() == 4 else x

    current = last(torch.randn(steps * 2, *shape, generator=generator))
    of_value = (1, shape[0], *(1,) * (len(shape) - 1)) if shared else (2, *shape)
    value = last(0.3 * torch.randn(of_value, generator=generator))
    carry = last(torch.randint(0, 2, (2, *shape), generator=generator).float())
    factors = [1.0 + 0.5 * k for k in range(steps)]
    return current, Constant(value, shared, factors, factors), carry


@pytest.mark.parametrize("in_cpp", [False, True])
@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("shape", [(16, 8, 8), (1100,)])
def test_differences_are_counted_where_they_are_with_the_margin_of_the_neuron_farther_off(
    shape: tuple[int, ...], shared: bool, in_cpp: bool
) -> None:
    current, constant, carry = neurons(shape, 3, shared)
    expected = scan(current.clone(), constant, carry, DECAY, THRESHOLD, lambda u, _: u)
    u = expected.derivative
    assert u is not None
    spikes = (u >= THRESHOLD).float()
    potentials = u + 0.25
    wrong = (torch.arange(spikes.numel()) % 97 == 0).view(spikes.shape)
    spikes[wrong] = 1 - spikes[wrong]
    with native.allowed(in_cpp):
        accumulation, found = compared_scan(
            current, constant, carry, DECAY, THRESHOLD, spikes, potentials
        )
    assert torch.equal(accumulation, expected.accumulation)
    assert found.fired == int((u >= THRESHOLD).sum())
    assert found.differing == int(wrong.sum()) > 10
    margins = torch.maximum((u - THRESHOLD).abs(), (potentials - THRESHOLD).abs())[wrong].double()
    assert found.largest == float(margins.max())
    assert found.total == pytest.approx(float(margins.sum()), rel=1e-12)


def test_lif_and_saf_neurons_of_one_current_agree_spike_by_spike() -> None:
    steps, shape = 6, (8, 4, 4)
    generator = torch.Generator().manual_seed(0)
    arriving = torch.randn(steps * 3, *shape, generator=generator, dtype=torch.float64)
    accumulated, total = [], torch.zeros(3, *shape, dtype=torch.float64)
    for of_step in arriving.chunk(steps):
        total = DECAY * total + of_step
        accumulated.append(total)
    rest = LIFState(*(torch.zeros(3, *shape, dtype=torch.float64) for _ in range(2)))
    potentials = torch.empty_like(arriving)
    spikes, _ = lif_scan(arriving, rest, DECAY, THRESHOLD, potentials=potentials)
    nothing = Constant(torch.zeros(1, 8, 1, 1).double(), True, [0.0] * steps, [0.0] * steps)
    _, found = compared_scan(
        torch.cat(accumulated), nothing, None, DECAY, THRESHOLD, spikes, potentials
    )
    assert found.differing == 0
    assert 0.05 < found.fired / spikes.numel() < 0.95
