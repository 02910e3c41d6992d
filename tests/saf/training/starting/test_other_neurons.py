"""Trainings of neurons with more than weights: what is learned is what fires, from the next
iteration on, and a training that was stopped goes on with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from saf import load_lif
from saf.config import NEURONS, SGD, AdamW
from saf.lif.convert import decays_of
from saf.neurons.models.plif import ParametricLIF
from saf.training.checkpoint import Checkpoint
from saf.training.events import Checkpoint as CheckpointReport
from saf.training.loop import train
from saf.training.optimisation.optimizers import optimizer_of
from tests.saf.training.starting.continuations import (
    after,
    assert_same_training,
    going_on,
    left,
)
from tests.saf.training.trainings import dataset, run, specification

SGD_RECIPE = {"name": "sgd", "learning_rate": 0.3}
ADAMW_RECIPE = {"name": "adamw", "learning_rate": 0.05}
RECIPES = pytest.mark.parametrize(
    "recipe", [SGD_RECIPE, ADAMW_RECIPE], ids=lambda recipe: str(recipe["name"])
)


@RECIPES
def test_neurons_have_the_decay_that_was_learned_after_each_step(recipe: dict[str, Any]) -> None:
    """torch's fused optimizers change a parameter without raising its version."""
    neurons = ParametricLIF(decay=0.5).neurons((4,))
    assert neurons.logit is not None
    kind = SGD if recipe["name"] == "sgd" else AdamW
    optimizer = optimizer_of(kind.model_validate(recipe), dict(neurons.named_parameters()))
    for _ in range(3):
        before = neurons.decay
        neurons.logit.grad = torch.ones(())
        optimizer.step()
        assert neurons.decay < before
        learned = float(torch.sigmoid(neurons.logit.detach()))
        assert neurons.decay == pytest.approx(learned, abs=1e-6)


@pytest.mark.slow
@RECIPES
@pytest.mark.parametrize("neuron", sorted(NEURONS.names()))
def test_a_stopped_training_ends_with_the_bits_of_the_undisturbed_one(
    neuron: str, recipe: dict[str, Any], tmp_path: Path
) -> None:
    data = dataset()
    job = specification(
        method={"name": "ottt-a"}, neuron={"name": neuron}, optimizer=recipe, precision="float64"
    )
    run(job, data, tmp_path / "whole")
    *_, killed = train(job, data, tmp_path / "part", device="cpu", stop=after(4))
    assert isinstance(killed, CheckpointReport)
    going_on(job, killed.path, tmp_path / "rest", data)
    assert_same_training(tmp_path / "whole", tmp_path / "rest")
    saved = Checkpoint.read(left(tmp_path / "whole")).weights
    learned = {
        name.partition(".")[0]: float(torch.sigmoid(value))
        for name, value in saved.items()
        if name.endswith(".neuron.logit")
    }
    assert bool(learned) == (neuron == "plif")
    delivered = decays_of(load_lif(tmp_path / "whole" / "lif.safetensors"))
    for name, decay in learned.items():
        assert delivered[name] == pytest.approx(decay)
        assert abs(decay - 0.5) > 1e-3
