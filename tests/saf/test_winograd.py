"""Winograd's convolution against torch's."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from saf import winograd
from saf.architecture import Conv
from saf.synapse import apply, apply_traced


def gradients(of: Tensor, at: tuple[Tensor, ...], towards: Tensor) -> tuple[Tensor, ...]:
    return torch.autograd.grad(of, at, towards)


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 30),
    st.integers(1, 7),
    st.integers(1, 5),
    st.integers(1, 21),
    st.integers(1, 21),
    st.booleans(),
    st.booleans(),
    st.integers(0, 99),
)
def test_it_is_the_convolution_with_its_gradients(
    samples: int,
    channels: int,
    out: int,
    height: int,
    width: int,
    last: bool,
    in_pieces: bool,
    seed: int,
) -> None:
    """`in_pieces`: an image a block and six groups of weights, as where there are many channels."""
    with pytest.MonkeyPatch.context() as patch:
        if in_pieces:
            patch.setattr(winograd, "BLOCK_BYTES", 1)
            patch.setattr(winograd, "WEIGHT_BYTES", 1)
        compare(samples, channels, out, height, width, last, seed)


def compare(
    samples: int, channels: int, out: int, height: int, width: int, last: bool, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(samples, channels, height, width, dtype=torch.float64, generator=generator)
    weight = torch.randn(out, channels, 3, 3, dtype=torch.float64, generator=generator)
    if last:
        x, weight = (t.contiguous(memory_format=torch.channels_last) for t in (x, weight))
    x.requires_grad_()
    weight.requires_grad_()
    expected, found = F.conv2d(x, weight, padding=1), winograd.convolution(x, weight)
    torch.testing.assert_close(found, expected)
    towards = torch.randn(expected.shape, dtype=torch.float64, generator=generator)
    of_x, of_weight = gradients(expected, (x, weight), towards)
    assert winograd.convolution(x, weight).is_contiguous(memory_format=torch.channels_last)
    found_of_x, found_of_weight = gradients(found, (x, weight), towards)
    torch.testing.assert_close(found_of_x, of_x)
    torch.testing.assert_close(found_of_weight, of_weight)


def test_with_a_trace_the_weight_learns_there_and_the_value_is_that_of_the_input() -> None:
    generator = torch.Generator().manual_seed(0)
    x, trace = torch.randn(2, 3, 96, 24, 24, generator=generator)
    weight = torch.randn(96, 96, 3, 3, generator=generator) / 30
    x.requires_grad_()
    weight.requires_grad_()
    operations = [Conv(out_channels=96, kernel=3, padding=1)]
    expected = apply_traced(operations, [weight], x, trace)
    with winograd.allowed():
        found = apply_traced(operations, [weight], x, trace)
    assert not torch.equal(found, expected)  # it was taken
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    towards = torch.randn(expected.shape, generator=generator)
    for one, other in zip(
        gradients(found, (x, weight), towards),
        gradients(expected, (x, weight), towards),
        strict=True,
    ):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(("dtype", "error"), [(torch.float32, 2e-6), (torch.bfloat16, 2e-2)])
@pytest.mark.parametrize("channels", [256, 640])  # one group of weights, and several
def test_rounding_errors_stay_within_what_is_stated(
    dtype: torch.dtype, error: float, channels: int
) -> None:
    generator = torch.Generator().manual_seed(0)
    x = (torch.rand(4, channels, 16, 16, generator=generator) < 0.2).to(dtype)
    weight = torch.randn(channels, channels, 3, 3, generator=generator)
    weight = (weight / (9 * channels) ** 0.5).to(dtype)
    exact = F.conv2d(x.double(), weight.double(), padding=1)
    difference = winograd.convolution(x, weight).double() - exact
    assert (difference.pow(2).mean() / exact.var()).sqrt() < error


def test_it_is_taken_only_where_it_is_allowed_and_pays() -> None:
    x, weight = torch.rand(8, 96, 16, 16), torch.rand(96, 96, 3, 3)
    plain = (1, 1, 1, 1)
    assert not winograd.chosen(x, weight, *plain)
    with winograd.allowed():
        assert winograd.chosen(x, weight, *plain)
        assert not winograd.chosen(x.double(), weight.double(), *plain)
        assert not winograd.chosen(x[:5], weight, *plain)  # too few tiles
        assert not winograd.chosen(x[:, :64], weight[:, :64], *plain)  # too few channels
        assert not winograd.chosen(x[:, :, :, :5], weight, *plain)  # most of a tile unused
        assert not winograd.chosen(x, weight[:, :, :1, :1], 1, 0, 1, 1)
        for other in [(2, 1, 1, 1), (1, 0, 1, 1), (1, 1, 2, 1), (1, 1, 1, 2)]:
            assert not winograd.chosen(x, weight, *other)
    assert not winograd.chosen(x, weight, *plain)


def test_the_maps_of_a_network_are_as_exact_as_before_where_it_is_not_allowed() -> None:
    x, weight = torch.rand(8, 96, 16, 16), torch.rand(96, 96, 3, 3)
    operations = [Conv(out_channels=96, kernel=3, padding=1)]
    assert torch.equal(apply(operations, [weight], x), F.conv2d(x, weight, padding=1))
