"""Maps in bfloat16 on a CPU that has no instructions for it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from saf.kernels import precision
from saf.model.operations import apply, apply_traced
from saf.networks.architecture import Conv, Linear, Operation, Upsample

CONV = Conv(out_channels=6, kernel=3, padding=1)
CASES: dict[str, tuple[Operation, tuple[int, ...], tuple[int, ...]]] = {
    "convolution": (CONV, (2, 4, 8, 8), (6, 4, 3, 3)),
    "linear": (Linear(out_features=6), (3, 40), (6, 40)),
}


def exact(operation: Operation, weight: Tensor, x: Tensor) -> Tensor:
    return F.conv2d(x, weight, padding=1) if isinstance(operation, Conv) else F.linear(x, weight)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
@pytest.mark.parametrize("has_instructions", [False, True])
def test_results_and_gradients_are_rounded_to_bfloat16(
    case: tuple[Operation, tuple[int, ...], tuple[int, ...]],
    has_instructions: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(precision, "_multiplies_bfloat16", lambda: has_instructions)
    operation, of_x, of_weight = case
    generator = torch.Generator().manual_seed(0)
    x, trace, weight = (
        torch.randn(shape, generator=generator).bfloat16() for shape in (of_x, of_x, of_weight)
    )
    for traced in (False, True):
        leaves = [x.clone().requires_grad_(), weight.clone().requires_grad_()]
        if traced:
            result = apply_traced([operation], [leaves[1]], leaves[0], trace)
        else:
            result = apply([operation], [leaves[1]], leaves[0])
        towards = torch.randn(result.shape, generator=generator).bfloat16()
        found = torch.autograd.grad(result, leaves, towards)

        learnt_at = (trace if traced else x).double().requires_grad_()
        wide = weight.double().requires_grad_()
        expected = exact(operation, wide, learnt_at)
        gradients = torch.autograd.grad(expected, [learnt_at, wide], towards.double())
        assert result.dtype == torch.bfloat16
        of = exact(operation, weight.double(), x.double())
        for one, other in zip((result, *found), (of, *gradients), strict=True):
            assert one.dtype == torch.bfloat16
            # With the instructions sums may be rounded on their way, too.
            atol = 0.2 if has_instructions else 1e-4
            torch.testing.assert_close(one.double(), other, rtol=2**-8, atol=atol)


def test_maps_are_computed_in_float32_where_the_processor_cannot_multiply_bfloat16(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    low, full = torch.zeros(1).bfloat16(), torch.zeros(1)
    monkeypatch.setattr(precision, "_multiplies_bfloat16", lambda: False)
    assert precision.products_in(low) is torch.float32
    assert precision.products_in(full) is torch.float32
    assert precision.products_in(full.double()) is torch.float64
    monkeypatch.setattr(precision, "_multiplies_bfloat16", lambda: True)
    assert precision.products_in(low) is torch.bfloat16


def test_a_strided_map_of_single_pixels_has_the_gradients_of_the_convolution() -> None:
    """In a process of its own: oneDNN's own may write where it must not and end the process."""
    code = """
import torch
import torch.nn.functional as F
from saf.networks.architecture import Conv
from saf.model.operations import apply, apply_traced, channels_last
operation = Conv(out_channels=13, kernel=1, stride=2, padding=0)
for _ in range(5):
    for channels in (5, 6, 7):
        x = channels_last(torch.randn(4, channels, 16, 16)).requires_grad_()
        weight = torch.randn(13, channels, 1, 1, requires_grad=True)
        for found in (apply([operation], [weight], x), apply_traced([operation], [weight], x, x)):
            towards = torch.randn_like(found)
            ours = torch.autograd.grad(found, (x, weight), towards)
            wide = x.detach().double().requires_grad_(), weight.detach().double().requires_grad_()
            expected = F.conv2d(*wide, stride=2)
            theirs = torch.autograd.grad(expected, wide, towards.double())
            for one, other in zip((found, *ours), (expected, *theirs)):
                torch.testing.assert_close(one.double(), other, rtol=1e-4, atol=1e-4)
"""
    environment = {  # of glibc: what was written beyond its end is found when memory is given back
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "LD_PRELOAD": "libc_malloc_debug.so.0",
        "GLIBC_TUNABLES": "glibc.malloc.check=3",
    }
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_a_pixel_that_is_repeated_can_be_written_to() -> None:
    """A scan overwrites what arrives, which may come from a repeated pixel without a map."""
    repeated = apply([Upsample(factor=3)], [], torch.ones(2, 4, 1, 1))
    repeated[0, 0, 0, 0] = 5.0
    assert repeated.sum() == 2 * 4 * 9 + 4


@pytest.mark.parametrize("stride", [1, 4, 12345])
@pytest.mark.parametrize("shape", [(1, 4, 8, 8), (2, 4, 1, 8), (2, 4, 8, 1), (1, 4, 1, 1)])
@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_the_stride_of_an_axis_with_one_entry_changes_no_gradient(
    layout: torch.memory_format, groups: int, shape: tuple[int, ...], stride: int
) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(shape, generator=generator, dtype=torch.float64)
    weight = torch.randn(4, 4 // groups, 3, 3, generator=generator, dtype=torch.float64)
    weight = weight.contiguous(memory_format=torch.channels_last)
    x = x.contiguous(memory_format=layout)
    strides = [stride if n == 1 else s for n, s in zip(shape, x.stride(), strict=True)]
    operations = (Conv(out_channels=4, groups=groups, standardised=False),)
    found = []
    for one in (x.clone(), x.as_strided(shape, strides)):
        leaves = one.requires_grad_(), weight.clone().requires_grad_()
        for result in (
            apply(operations, leaves[1:], leaves[0]),
            apply_traced(operations, leaves[1:], leaves[0], leaves[0]),
        ):
            towards = torch.arange(result.numel()).view(result.shape).double()
            found.append((result.detach(), *torch.autograd.grad(result, leaves, towards)))
    expected, *others = found
    for other in others:
        for ours, theirs in zip(other, expected, strict=True):
            torch.testing.assert_close(ours, theirs)
