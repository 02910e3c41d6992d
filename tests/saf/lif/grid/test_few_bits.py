"""Weights of few bits: integers times powers of two."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from saf.lif.grid.few_bits import exponents, grid_of, largest_integer, quantised
from saf.lif.grid.fixed_point import fewest_bits, is_on_grid


@given(
    bits=st.integers(2, 8),
    scale=st.sampled_from(["layer", "channel"]),
    seed=st.integers(0, 10_000),
    size=st.floats(-3, 3),
)
def test_weights_are_few_integers_times_a_power_of_two(
    bits: int, scale: str, seed: int, size: float
) -> None:
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(5, 3, 2, 2, generator=generator) * 10.0**size
    found = exponents(weight, bits, scale, 12)  # type: ignore[arg-type]
    assert found.shape == (5, 1, 1, 1)
    assert ((found <= 12) & (found == found.round())).all()
    if scale == "layer":
        assert len(found.unique()) == 1
    few = quantised(weight, found, bits)
    integers = few.double() * 2.0**found
    assert torch.equal(integers, integers.round())
    assert integers.abs().max() <= largest_integer(bits)
    assert is_on_grid(few, grid_of({"weight": found}))
    assert torch.equal(quantised(few, found, bits), few)


@given(bits=st.integers(2, 8), seed=st.integers(0, 10_000))
def test_no_other_power_of_two_is_better(bits: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(4, 50, generator=generator) * 10 ** torch.randn(4, 1, generator=generator)
    own = exponents(weight, bits, "channel", 30)
    error = (quantised(weight.double(), own, bits) - weight).square().sum(1)
    for other in (own - 1, own + 1):
        assert (error <= (quantised(weight.double(), other, bits) - weight).square().sum(1)).all()


@pytest.mark.parametrize("magnitude", [1e-300, 1e-45, 1e-10, 1.5, 3.0, 1e5, 1e25])
@pytest.mark.parametrize("bits", [2, 8])
def test_weights_of_any_size_have_a_scale_that_fits(magnitude: float, bits: int) -> None:
    weight = torch.tensor([[magnitude, -magnitude / 3, 0.0]], dtype=torch.float64)
    few = quantised(weight, exponents(weight, bits, "layer", 12), bits)
    assert few.isfinite().all()
    if magnitude > 1:
        assert (few - weight).abs().max() <= magnitude / (2 if bits == 2 else 100)


def test_weights_that_are_all_zero_have_a_scale() -> None:
    found = exponents(torch.zeros(2, 3), 4, "channel", 12)
    assert torch.equal(quantised(torch.zeros(2, 3), found, 4), torch.zeros(2, 3))


@pytest.mark.parametrize(("values", "bits"), [([0.0, 2.0], 0), ([0.5], 1), ([0.375, 1.0], 3)])
def test_the_fewest_bits_of_numbers_on_a_grid(values: list[float], bits: int) -> None:
    assert fewest_bits(torch.tensor(values), 8) == bits
