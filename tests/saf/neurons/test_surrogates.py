"""Surrogate derivatives of the step function."""

from __future__ import annotations

import math

import pytest
import torch

from saf.config import Surrogate
from saf.config.neurons import SURROGATES
from saf.neurons.fire import derivative, fire

NAMES = SURROGATES.names()
PEAK = {"sigmoid": 0.25, "triangle": 1.0, "rectangle": 1.0, "arctan": 0.5}  # times the slope


@pytest.mark.parametrize("slope", [0.5, 1.0, 4.0, 25.0])
@pytest.mark.parametrize("name", NAMES)
def test_every_surrogate_has_unit_area(name: str, slope: float) -> None:
    sigma = derivative(Surrogate(name=name, slope=slope))
    # Substituting x = tan(φ) takes the whole line, and the arctan's long tails, to an interval.
    phi = torch.linspace(-math.pi / 2, math.pi / 2, 2_000_003, dtype=torch.float64)[1:-1]
    values = sigma(phi.tan()) / phi.cos() ** 2
    assert float(torch.trapezoid(values, phi)) == pytest.approx(1.0, abs=2e-4)


@pytest.mark.parametrize("name", NAMES)
def test_every_surrogate_is_even_and_largest_at_the_threshold(name: str) -> None:
    sigma = derivative(Surrogate(name=name, slope=3.0))
    x = torch.linspace(0, 4, 1001, dtype=torch.float64)
    torch.testing.assert_close(sigma(x), sigma(-x))
    assert (sigma(x).diff() <= 1e-15).all()
    assert (sigma(x) >= 0).all()
    assert float(sigma(x)[0]) == pytest.approx(3.0 * PEAK[name])


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("sigmoid", 4 * math.exp(-1) / (1 + math.exp(-1)) ** 2),
        ("triangle", 0.0),
        ("rectangle", 0.0),
        ("arctan", 2 / (1 + (math.pi / 2) ** 2)),
    ],
)
def test_surrogates_have_their_published_values(name: str, expected: float) -> None:
    """At x = ¼ with slope 4."""
    sigma = derivative(Surrogate(name=name, slope=4.0))
    assert float(sigma(torch.tensor(0.25, dtype=torch.float64))) == pytest.approx(expected)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", NAMES)
def test_surrogates_keep_type_and_shape_and_stay_finite_far_away(
    name: str, dtype: torch.dtype
) -> None:
    x = torch.tensor([[-1e4, -1.0, 0.0], [1.0, 1e4, 1e9]], dtype=dtype)
    values = derivative(Surrogate(name=name))(x)
    assert values.dtype == dtype
    assert values.shape == x.shape
    assert values.isfinite().all()


def test_fire_spikes_forward_and_is_smooth_backward() -> None:
    x = torch.tensor([-1.0, 0.0, 0.25], dtype=torch.float64, requires_grad=True)
    sigma = derivative(Surrogate(name="triangle", slope=2.0))
    spikes = fire(x, sigma)
    assert spikes.tolist() == [0.0, 1.0, 1.0]
    (spikes * torch.tensor([1.0, 3.0, 5.0])).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [0.0, 6.0, 5.0]
