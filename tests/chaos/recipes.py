"""The trainings that the suite runs: small, real, and all different in what they must remember."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from saf.data.builtin import digits
from saf.data.dataset import Dataset

PACE = "pace_ms"
SLOTS = 2  # of each worker; a training of each has its share of the processors
DATASET = "digits by upload"  # so that trainings read a file of the artifact store
FRAGILE = "digits that are damaged"  # another file, so that few jobs fail with it
FRAGILE_RECIPE = "saf-f, of damaged data"

RECIPES: dict[str, dict[str, Any]] = {
    "saf-f, moving average, augmented": {
        "method": {"name": "saf-f"},
        "network": {"name": "mlp", "features": [24]},
        "average_decay": 0.9,
        "augment": ["crop"],
        "seed": 11,
    },
    "saf-e, adamw, convolutions": {
        "method": {"name": "saf-e"},
        "network": {"name": "convnet", "channels": [4, 6]},
        "optimizer": {"name": "adamw", "learning_rate": 0.01},
        "seed": 12,
    },
    "ottt-o, warm-up, clipped": {
        "method": {"name": "ottt-o"},
        "network": {"name": "mlp", "features": [24, 24]},
        "schedule": {"name": "cosine", "warmup_epochs": 1.5},
        "max_gradient_norm": 1.0,
        "seed": 13,
    },
    "bptt, weight decay": {
        "method": {"name": "bptt"},
        "network": {"name": "mlp", "features": [32]},
        "optimizer": {"name": "sgd", "learning_rate": 0.05, "weight_decay": 0.001},
        "seed": 14,
    },
    FRAGILE_RECIPE: {
        "dataset": FRAGILE,
        "method": {"name": "saf-f"},
        "network": {"name": "mlp", "features": [20]},
        "seed": 15,
    },
}


def recipe_of(key: str) -> str:
    """What is submitted under an idempotency key."""
    return random.Random(key).choice(list(RECIPES))


def specification(recipe: str, *, epochs: int, pace_ms: int) -> dict[str, Any]:
    """What is submitted: `epochs` of six iterations, each followed by a rest of `pace_ms`.

    The rest makes a job last long enough to be hit without keeping a processor busy.
    """
    return {
        "name": recipe,
        "dataset": DATASET,
        "timesteps": 3,
        "batch_size": 240,
        "epochs": epochs,
        "metadata": {PACE: str(pace_ms)},
        **RECIPES[recipe],
    }


def dataset(name: str = DATASET) -> Dataset:
    """The handwritten digits, laid out in memory as they are when they were read from a file; each
    data set names its classes otherwise.

    The kernel that torch takes for a convolution depends on the strides.
    """
    data = digits()
    return replace(
        data,
        x_train=data.x_train.copy(),
        x_test=data.x_test.copy(),
        class_names=tuple(f"{digit} of {name}" for digit in data.class_names),
    )


def write_dataset(path: Path, *, name: str = DATASET) -> None:
    """The same as a file to upload."""
    data = dataset(name)
    np.savez(
        path,
        x_train=data.x_train,
        y_train=data.y_train,
        x_test=data.x_test,
        y_test=data.y_test,
        class_names=np.array(data.class_names),
    )
