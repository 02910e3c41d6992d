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
        else torch.optim.AdamW([theirs], lr=0.01, betas=(0.8, 0.99), weight_decay=0.02)
    )
    assert torch.equal(
        trajectory(optimizer_of(recipe, {"weight": ours}), ours), trajectory(reference, theirs)
    )


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
