"""The two neurons."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from saf.kernels.lif_scan import LIFState
from saf.neurons.dynamics import accumulated_one, heaviside, lif_step, saf_step


def double(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_lif_neuron_follows_a_sequence_worked_out_by_hand() -> None:
    """λ = ½, V = 1.

    current   0.75   0.75    0.625    0      2.5     0
    u         0.75   1.125   0.6875   0.34…  2.671…  0.8359375
    s         0      1       0        0      1       0
    """
    currents = [0.75, 0.75, 0.625, 0.0, 2.5, 0.0]
    potentials = [0.75, 1.125, 0.6875, 0.34375, 2.671875, 0.8359375]
    spikes = [0.0, 1.0, 0.0, 0.0, 1.0, 0.0]
    state = LIFState(u=double(0.0), s=double(0.0))
    for current, u, s in zip(currents, potentials, spikes, strict=True):
        fired, state = lif_step(double(current), state, decay=0.5, threshold=1.0)
        assert (float(state.u), float(fired), float(state.s)) == (u, s, s)


def test_a_potential_at_the_threshold_fires() -> None:
    zero = LIFState(u=double(0.0), s=double(0.0))
    assert float(lif_step(double(0.5), zero, 0.5, 0.5)[0]) == 1.0
    assert float(saf_step(double(0.5), double(0.0), 0.5, 0.5)[0]) == 1.0
    assert heaviside(double(-1e-300, 0.0, 1e-300)).tolist() == [0.0, 1.0, 1.0]


def test_reset_subtracts_the_threshold_and_no_more() -> None:
    """λ = 1: what exceeds the threshold stays, so a current of 2.5 V fires at every step."""
    state = LIFState(u=double(0.0), s=double(0.0))
    for step in range(1, 5):
        s, state = lif_step(double(5.0), state, decay=1.0, threshold=2.0)
        assert float(s) == 1.0
        assert float(state.u) == 5.0 * step - 2.0 * (step - 1)


def test_saf_neuron_accumulates_its_spikes_by_hand() -> None:
    """λ = ½, V = 1, the currents of the LIF sequence above, accumulated.

    Û  0.75  1.125  1.1875  0.59375  2.796875  1.3984375;   â  0  1  0.5  0.25  1.125  0.5625
    """
    potentials = [0.75, 1.125, 1.1875, 0.59375, 2.796875, 1.3984375]
    accumulations = [0.0, 1.0, 0.5, 0.25, 1.125, 0.5625]
    accumulation = double(0.0)
    for potential, expected in zip(potentials, accumulations, strict=True):
        before = accumulation
        s, accumulation = saf_step(double(potential), accumulation, 0.5, 1.0)
        assert float(accumulation) == expected
        assert float(s) == float(accumulation - 0.5 * before)


@pytest.mark.parametrize(("t", "expected"), [(0, 0.0), (1, 1.0), (2, 1.5), (4, 1.875)])
def test_a_constant_one_accumulates_to_a_geometric_sum(t: int, expected: float) -> None:
    assert accumulated_one(t, 0.5) == expected
    assert accumulated_one(t, 1.0) == t


@settings(max_examples=60, deadline=None)
@given(
    decay=st.floats(0.05, 1.0),
    threshold=st.floats(0.2, 3.0),
    steps=st.integers(1, 12),
    seed=st.integers(0, 2**32 - 1),
)
def test_both_neurons_fire_alike(decay: float, threshold: float, steps: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    current = threshold * torch.randn(steps, 50, generator=generator, dtype=torch.float64)
    zero = torch.zeros(50, dtype=torch.float64)
    state, accumulation, potential = LIFState(zero, zero), zero, zero
    for k in range(steps):
        potential = decay * potential + current[k]
        before = accumulation
        s_lif, state = lif_step(current[k], state, decay, threshold)
        s_saf, accumulation = saf_step(potential, accumulation, decay, threshold)
        assert torch.equal(s_lif, s_saf)
        u = potential - threshold * decay * before
        torch.testing.assert_close(u, state.u, rtol=1e-10, atol=1e-10 * threshold)
