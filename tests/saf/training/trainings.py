"""Small trainings for tests: their data, their specification, what they report."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from saf.config import JobSpecification, ResolvedSpecification
from saf.data.dataset import Dataset
from saf.training.events import Finished, Report
from saf.training.loop import train


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


AS_PUBLISHED: dict[str, Any] = {
    "optimizer": {"name": "sgd", "learning_rate": 0.1},
    "max_gradient_norm": None,
    "validation_share": 0.0,
    "batch_size": 128,
    "epochs": 10,
}


def resolved(changes: Mapping[str, Any] | None = None, **more: Any) -> ResolvedSpecification:
    """A specification without automatic settings: the optimizer published with OTTT, weights from
    gains of 1, no validation samples."""
    values: dict[str, Any] = {**AS_PUBLISHED, "network": {"name": "convnet"}}
    values |= {**(changes or {}), **more}
    if not isinstance(values["network"], dict):
        values["network"] = values["network"].model_dump()
    values["network"] = {"gain": 1.0, **values["network"]}
    if isinstance(optimizer := values["optimizer"], dict):
        rate = {"sgd": 0.1, "adamw": 0.001, "auto": 0.1}[optimizer["name"]]
        values["optimizer"] = {"learning_rate": rate, **optimizer}
        if optimizer["name"] == "auto":
            values["optimizer"]["name"] = "sgd"
    return ResolvedSpecification.model_validate(values)


def specification(**changes: Any) -> ResolvedSpecification:
    values: dict[str, Any] = {
        "network": {"name": "convnet", "channels": [4, 4]},
        "timesteps": 3,
        "epochs": 2,
        "batch_size": 6,
    }
    return resolved(**values | changes)


def run(job: JobSpecification, data: Dataset, directory: Path) -> list[Report]:
    return list(train(job, data, directory, device="cpu"))


def summary(reports: list[Report]) -> dict[str, Any]:
    assert isinstance(reports[-1], Finished)
    return reports[-1].summary
