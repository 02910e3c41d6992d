"""Winograd's convolution against torch's, with its transforms in torch and in C++."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from saf.config import ResolvedSpecification
from saf.kernels import native, precision, winograd
from saf.kernels.winograd_transforms import Compiled, Plain, _as_cpp, matrices
from saf.model.operations import apply, apply_traced
from saf.networks.architecture import Architecture, Conv
from saf.networks.build import build
from saf.networks.convnet import ConvNet
from saf.training.checkpoint import Progress
from saf.training.hardware.backends import in_cpp
from tests.saf.kernels.compiler import needs_compiler
from tests.saf.training.trainings import resolved

BACK_ENDS = pytest.mark.parametrize(
    "in_cpp", [False, pytest.param(True, marks=needs_compiler)], ids=["torch", "C++"]
)


def gradients(of: Tensor, at: tuple[Tensor, ...], towards: Tensor) -> tuple[Tensor, ...]:
    return torch.autograd.grad(of, at, towards)


@pytest.mark.slow
@BACK_ENDS
@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 30),
    st.integers(1, 20),
    st.integers(1, 20),
    st.integers(1, 21),
    st.integers(1, 21),
    st.booleans(),
    st.booleans(),
    st.integers(0, 99),
)
def test_it_is_the_convolution_with_its_gradients(
    in_cpp: bool,
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
    with pytest.MonkeyPatch.context() as patch, native.allowed(in_cpp):
        if in_pieces:
            patch.setattr(winograd, "BLOCK_BYTES", 1)
            patch.setattr(winograd, "WEIGHT_BYTES", 1)
            patch.setattr(winograd, "TRANSPOSED_FROM", 1)
        assert isinstance(winograd.transforms(), Compiled if in_cpp else Plain)
        dtype = torch.float32 if in_cpp else torch.float64
        compare(samples, channels, out, height, width, last, seed, dtype)


def compare(
    samples: int,
    channels: int,
    out: int,
    height: int,
    width: int,
    last: bool,
    seed: int,
    dtype: torch.dtype,
) -> None:
    generator = torch.Generator().manual_seed(seed)

    def drawn(*shape: int) -> Tensor:
        return torch.randn(shape, dtype=torch.float64, generator=generator).to(dtype)

    x, weight = drawn(samples, channels, height, width), drawn(out, channels, 3, 3)
    if last:
        x, weight = (t.contiguous(memory_format=torch.channels_last) for t in (x, weight))
    x.requires_grad_()
    weight.requires_grad_()
    expected = F.conv2d(x.double(), weight.double(), padding=1)
    found = winograd.convolution(x, weight)
    assert found.is_contiguous(memory_format=torch.channels_last)
    towards = drawn(*expected.shape)
    for ours, theirs in zip(
        (found, *gradients(found, (x, weight), towards)),
        (expected, *gradients(expected, (x, weight), towards.double())),
        strict=True,
    ):
        assert ours.dtype == dtype
        largest = float(theirs.detach().abs().max())
        error = 1e-5 if dtype == torch.float32 else 1e-13
        torch.testing.assert_close(
            ours.double(), theirs.double(), rtol=0.0, atol=error * max(1.0, largest)
        )


@BACK_ENDS
def test_with_a_trace_the_weight_learns_there_and_the_value_is_that_of_the_input(
    in_cpp: bool,
) -> None:
    generator = torch.Generator().manual_seed(0)
    x, trace = torch.randn(2, 3, 96, 24, 24, generator=generator)
    weight = torch.randn(96, 96, 3, 3, generator=generator) / 30
    x.requires_grad_()
    weight.requires_grad_()
    operations = [Conv(out_channels=96, kernel=3, padding=1)]
    expected = apply_traced(operations, [weight], x, trace)
    with winograd.allowed(), native.allowed(in_cpp):
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


@pytest.mark.slow
@BACK_ENDS
@pytest.mark.parametrize(
    ("dtype", "has_instructions", "error"),
    [
        (torch.float32, True, 2e-6),
        (torch.bfloat16, True, 2e-2),
        (torch.bfloat16, False, 2e-3),  # computed in float32, rounded once
    ],
)
@pytest.mark.parametrize("channels", [256, 640])  # one group of weights, and several
def test_rounding_errors_stay_within_what_is_stated(
    dtype: torch.dtype,
    has_instructions: bool,
    error: float,
    channels: int,
    in_cpp: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(precision, "_multiplies_bfloat16", lambda: has_instructions)
    generator = torch.Generator().manual_seed(0)
    x = (torch.rand(4, channels, 16, 16, generator=generator) < 0.2).to(dtype)
    weight = torch.randn(channels, channels, 3, 3, generator=generator)
    weight = (weight / (9 * channels) ** 0.5).to(dtype)
    towards = torch.randn(4, channels, 16, 16, generator=generator).to(dtype)
    with native.allowed(in_cpp):
        found = value_and_gradients(winograd.convolution, x, weight, towards)
    exact = value_and_gradients(
        partial(F.conv2d, padding=1), x.double(), weight.double(), towards.double()
    )
    for one, other in zip(found, exact, strict=True):
        assert one.dtype == dtype
        assert ((one.double() - other).pow(2).mean() / other.var()).sqrt() < error


def value_and_gradients(
    of: Callable[..., Tensor], x: Tensor, weight: Tensor, towards: Tensor
) -> tuple[Tensor, ...]:
    leaves = x.detach().requires_grad_(), weight.detach().requires_grad_()
    value = of(*leaves)
    return value.detach(), *gradients(value, leaves, towards)


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


@needs_compiler
def test_in_cpp_it_pays_for_fewer_channels_and_tiles() -> None:
    x, weight, plain = torch.rand(1, 48, 16, 16), torch.rand(48, 48, 3, 3), (1, 1, 1, 1)
    with winograd.allowed():
        assert not winograd.chosen(x, weight, *plain)
        with native.allowed():
            assert winograd.chosen(x, weight, *plain)
            assert not winograd.chosen(x[:, :, :12], weight, *plain)
            assert not winograd.chosen(x[:, :47], weight[:, :47], *plain)


def test_the_maps_of_a_network_are_as_exact_as_before_where_it_is_not_allowed() -> None:
    x, weight = torch.rand(8, 96, 16, 16), torch.rand(96, 96, 3, 3)
    operations = [Conv(out_channels=96, kernel=3, padding=1)]
    assert torch.equal(apply(operations, [weight], x), F.conv2d(x, weight, padding=1))


@pytest.mark.slow
@needs_compiler
def test_other_processors_work_on_other_numbers_of_channels_at_a_time() -> None:
    """With AVX-512 16, else 8: both are tried here, whatever this processor has."""
    macro = "__AVX512F__"
    libraries = [
        native.library("winograd", f"{lines}\n{_as_cpp(matrices())}")
        for lines in (f"#undef {macro}\n#define {macro}", f"#undef {macro}")
    ]
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(2, 9, 7, 37, generator=generator)
    weights = torch.randn(5, 3, 3, 37, generator=generator)
    for dtype in (torch.float32, torch.bfloat16):
        found = []
        for library in libraries:
            assert library is not None
            by, rows = Compiled(library), range(6)
            points = by.of_inputs(images.to(dtype), rows, dtype)
            results = torch.empty_like(images, dtype=dtype)
            by.to_results(points, rows, results)
            turned = by.of_weights(weights.to(dtype), rows, dtype, turned=True)
            found.append((points, results, turned))
        for one, other in zip(*found, strict=True):
            assert torch.equal(one, other)


@needs_compiler
def test_what_is_no_number_stays_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "_multiplies_bfloat16", lambda: True)
    x = torch.zeros(1, 8, 4, 4).to(torch.bfloat16)
    x[0, 0, 1, 1] = float("nan")
    x[0, 0, 3, 3] = float("inf")
    with native.allowed():
        found = winograd.convolution(x, torch.ones(1, 8, 3, 3).to(torch.bfloat16))
    assert not found.isfinite().any()


@needs_compiler
def test_trainings_go_on_with_the_transforms_that_they_began_with(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    wide, narrow = (build(ConvNet(channels=(n, n)), (1, 8, 8), 3) for n in (48, 47))
    cpu = torch.device("cpu")
    long, short = resolved(epochs=10_000), resolved(epochs=1)

    def chosen(
        progress: Progress,
        network: Architecture = wide,
        job: ResolvedSpecification = long,
        device: torch.device = cpu,
    ) -> bool:
        return in_cpp(progress, job, network, 1000, device)

    assert not chosen(Progress(), narrow)  # nothing to gain
    assert not chosen(Progress(), job=short)  # less to gain than it takes
    assert not chosen(Progress(), device=torch.device("meta"))
    progress = Progress()
    assert chosen(progress)
    assert progress.native is True
    assert chosen(progress, job=short)
    assert not chosen(Progress(native=False))
    monkeypatch.setattr(
        "saf.training.hardware.backends.compiled", lambda: None
    )  # a machine without a compiler
    assert not chosen(progress)
    assert "its last bits will differ" in caplog.text
    caplog.clear()
    assert not chosen(Progress())
    assert caplog.text == ""
