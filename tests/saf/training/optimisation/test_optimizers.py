"""The optimizers against torch's own, and what they leave unloaded."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from saf.config import SGD, AdamW
from saf.training.optimisation.optimizers import optimizer_of

SGD_RECIPE = SGD(learning_rate=0.1, momentum=0.9, weight_decay=1e-3)
ADAMW_RECIPE = AdamW(learning_rate=0.01, beta1=0.8, beta2=0.99, weight_decay=0.02)
TRAINING = """
import sys
import torch
from saf.config import SGD, AdamW
from saf.training.optimisation.optimizers import optimizer_of

for recipe in (SGD(learning_rate=0.1), AdamW(learning_rate=0.001)):
    weight = torch.nn.Parameter(torch.ones(3))
    optimizer = optimizer_of(recipe, {"weight": weight})
    for _ in range(2):
        optimizer.zero_grad()
        weight.sum().backward()
        optimizer.step()
    assert (weight < 1).all()
print("torch._dynamo" in sys.modules)
"""


def trajectory(optimizer: torch.optim.Optimizer, weight: torch.nn.Parameter) -> torch.Tensor:
    """The weights after each of 20 steps down a quartic."""
    passed = []
    for _ in range(20):
        optimizer.zero_grad()
        (weight**4).sum().backward()
        optimizer.step()
        passed.append(weight.detach().clone())
    return torch.stack(passed)


@pytest.mark.parametrize("recipe", [SGD_RECIPE, ADAMW_RECIPE], ids=lambda recipe: recipe.name)
def test_steps_are_those_of_torch(recipe: SGD | AdamW) -> None:
    ours, theirs = (torch.nn.Parameter(torch.linspace(-1, 1, 7)) for _ in range(2))
    reference = (
        torch.optim.SGD([theirs], lr=0.1, momentum=0.9, weight_decay=1e-3)
        if isinstance(recipe, SGD)
        else torch.optim.AdamW([theirs], lr=0.01, betas=(0.8, 0.99), weight_decay=0.02, fused=True)
    )
    assert torch.equal(
        trajectory(optimizer_of(recipe, {"weight": ours}), ours), trajectory(reference, theirs)
    )


@pytest.mark.parametrize("recipe", [SGD_RECIPE, ADAMW_RECIPE], ids=lambda recipe: recipe.name)
@pytest.mark.parametrize("shape", [(8, 4, 3, 3), (8, 4, 1, 1), (8, 1, 3, 3), (8, 3, 4), (5, 7)])
def test_gradients_in_any_order_of_memory_are_followed_to_rounding(
    recipe: SGD | AdamW, shape: tuple[int, ...]
) -> None:
    """torch's fused kernel takes gradients in channels-last order for contiguous ones."""
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(shape, generator=generator)
    ours, theirs = (torch.nn.Parameter(start.clone()) for _ in range(2))
    optimizer = optimizer_of(recipe, {"weight": ours})
    reference = (
        torch.optim.SGD([theirs], lr=0.1, momentum=0.9, weight_decay=1e-3)
        if isinstance(recipe, SGD)
        else torch.optim.AdamW([theirs], lr=0.01, betas=(0.8, 0.99), weight_decay=0.02)
    )
    for _ in range(3):
        gradient = torch.randn(shape, generator=generator)
        ours.grad = gradient.movedim(1, -1).contiguous().movedim(-1, 1)
        theirs.grad = gradient
        optimizer.step()
        reference.step()
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


def test_parameters_in_another_order_of_memory_or_without_values_are_not_fused() -> None:
    across = torch.nn.Parameter(torch.ones(3, 5).t())
    for weight in (across, torch.nn.Parameter(torch.ones(2, device="meta"))):
        optimizer = optimizer_of(ADAMW_RECIPE, {"weight": weight})
        weight.grad = torch.ones_like(weight)
        optimizer.step()
        assert not optimizer.param_groups[0]["fused"]
    assert (across < 1).all()
    weight = torch.nn.Parameter(torch.ones(3))
    assert optimizer_of(ADAMW_RECIPE, {"weight": weight}).param_groups[0]["fused"]


@pytest.mark.slow
def test_an_optimizer_does_not_load_the_compiler() -> None:
    run = subprocess.run([sys.executable, "-c", TRAINING], capture_output=True, text=True)
    assert (run.returncode, run.stdout.strip()) == (0, "False"), run.stderr


def test_a_learning_rate_that_is_set_later_is_used() -> None:
    weight = torch.nn.Parameter(torch.ones(1))
    optimizer = optimizer_of(
        SGD(learning_rate=0.5, momentum=0.0, weight_decay=0.0), {"weight": weight}
    )
    optimizer.param_groups[0]["lr"] = 0.25
    weight.sum().backward()
    optimizer.step()
    assert weight.item() == 0.75
