"""Small trainings for tests: their data, their specification, what they report."""

from pathlib import Path
from typing import Any

import numpy as np

from saf.config import JobSpecification
from saf.data.dataset import Dataset
from saf.reports import (
    Finished,
    Report,
)
from saf.training import train


def labelled(samples: int, *shape: int, dtype: type = np.uint8) -> tuple[np.ndarray, np.ndarray]:
    """Samples of three classes, told apart by which columns are bright."""
    generator = np.random.default_rng(samples)
    y = np.arange(samples) % 3
    x = generator.integers(0, 100, (samples, *shape))
    for number, label in enumerate(y):
        x[number, ..., 2 * label : 2 * label + 2] += 150
    scaled = x if dtype == np.uint8 else x / 255
    return scaled.astype(dtype), y.astype(np.int64)


def dataset(*shape: int, samples: int = 26, dtype: type = np.uint8) -> Dataset:
    shape = shape or (1, 8, 8)
    (x_train, y_train), (x_test, y_test) = (
        labelled(samples, *shape, dtype=dtype),
        labelled(12, *shape, dtype=dtype),
    )
    return Dataset(
        x_train=x_train, y_train=y_train, x_test=x_test, y_test=y_test, class_names=tuple("abc")
    )


def specification(**changes: Any) -> JobSpecification:
    values: dict[str, Any] = {
        "network": {"name": "convnet", "channels": [4, 4]},
        "timesteps": 3,
        "epochs": 2,
        "batch_size": 6,
    }
    return JobSpecification.model_validate(values | changes)


def run(job: JobSpecification, data: Dataset, directory: Path) -> list[Report]:
    return list(train(job, data, directory, device="cpu"))


def summary(reports: list[Report]) -> dict[str, Any]:
    assert isinstance(reports[-1], Finished)
    return reports[-1].summary
