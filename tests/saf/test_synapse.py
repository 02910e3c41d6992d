"""Maps in bfloat16 on a CPU that has no instructions for it."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from saf import synapse
from saf.architecture import Conv, Linear, Operation
from saf.synapse import apply, apply_traced

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
    monkeypatch.setattr(synapse, "_multiplies_bfloat16", lambda: has_instructions)
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
    monkeypatch.setattr(synapse, "_multiplies_bfloat16", lambda: False)
    assert synapse.products_in(low) is torch.float32
    assert synapse.products_in(full) is torch.float32
    assert synapse.products_in(full.double()) is torch.float64
    monkeypatch.setattr(synapse, "_multiplies_bfloat16", lambda: True)
    assert synapse.products_in(low) is torch.bfloat16
