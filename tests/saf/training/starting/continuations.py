"""Trainings that go on after their end or begin with weights of another, and what they left."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from saf import config
from saf.config import ResolvedSpecification
from saf.data.dataset import Dataset
from saf.training.checkpoint import Checkpoint
from saf.training.events import Epoch, Evaluation, Report
from saf.training.loop import train
from saf.training.trainer import Trainer
from tests.saf.training.trainings import labelled

METHODS = sorted(str(model.model_fields["name"].default) for model in config.METHODS)
ADAMW = {"name": "adamw", "learning_rate": 0.002, "weight_decay": 0.1}


def left(directory: Path) -> Path:
    return directory / "checkpoint.safetensors"


def of_classes(classes: int, *shape: int) -> Dataset:
    """Samples of the tests' data, with other labels."""
    shape = shape or (1, 8, 8)
    (x_train, _), (x_test, _) = labelled(26, *shape), labelled(12, *shape)
    return Dataset(
        x_train=x_train,
        y_train=np.arange(26) % classes,
        x_test=x_test,
        y_test=np.arange(12) % classes,
        class_names=tuple(f"class {number}" for number in range(classes)),
    )


def after(iterations: int) -> Callable[[], bool]:
    asked = iter(range(iterations))
    return lambda: next(asked, iterations) >= iterations - 1


def going_on(
    job: ResolvedSpecification, source: Path, directory: Path, data: Dataset, **how: Any
) -> list[Report]:
    return list(train(job, data, directory, device="cpu", resume_from=source, **how))


def starting(
    job: ResolvedSpecification, source: Path, directory: Path, data: Dataset
) -> list[Report]:
    return list(train(job, data, directory, device="cpu", init_from=source))


def epochs(reports: list[Report]) -> list[int]:
    return [report.epoch for report in reports if isinstance(report, Epoch)]


def first(reports: list[Report], kind: type[Report]) -> Any:
    return next(report for report in reports if isinstance(report, kind))


def metrics_of_test(reports: list[Report]) -> dict[str, float]:
    found = [r.metrics for r in reports if isinstance(r, Evaluation) and "test_loss" in r.metrics]
    return found[-1]


def assert_same_bits(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    assert one.keys() == other.keys()
    for name, value in one.items():
        assert torch.equal(value, other[name]), name


def assert_same_training(one: Path, other: Path) -> None:
    a, b = Checkpoint.read(left(one)), Checkpoint.read(left(other))
    assert_same_bits(a.weights, b.weights)
    assert_same_bits(a.average, b.average)
    assert_same_bits(a.best, b.best)
    assert a.optimizer.keys() == b.optimizer.keys()
    for name in a.optimizer:
        assert_same_bits(a.optimizer[name], b.optimizer[name])
    assert a.progress.best_epoch == b.progress.best_epoch
    assert len(a.progress.history) == len(b.progress.history)


# More epochs


def begun(job: ResolvedSpecification, source: Path, data: Dataset) -> Trainer:
    from saf.networks.build import build

    architecture = build(job.network, data.sample_shape, data.classes)
    cpu = torch.device("cpu")
    return Trainer(job, data, architecture, cpu, resume_from=None, init_from=source)
