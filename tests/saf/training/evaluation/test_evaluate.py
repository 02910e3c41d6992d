"""The loss of an evaluation is the quantity that the training minimises."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from saf.data.dataset import Dataset
from saf.training.events import Epoch, Evaluation
from tests.saf.config.specifications import methods
from tests.saf.training.trainings import labelled, run, specification

STILL = [
    {"name": "sgd", "learning_rate": 1e-30},
    {"name": "adamw", "learning_rate": 1e-30},
]


def on_itself(*shape: int) -> Dataset:
    x, y = labelled(17, *shape)
    return Dataset(x_train=x, y_train=y, x_test=x, y_test=y, class_names=tuple("abc"))


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 2, 8, 8)], ids=["images", "frames"])
@pytest.mark.parametrize("method", methods(), ids=str)
def test_at_rest_the_training_loss_is_the_test_loss_of_the_same_samples(
    method: dict[str, Any], shape: tuple[int, ...], tmp_path: Path
) -> None:
    job = specification(
        method=method,
        optimizer=STILL[len(shape) % 2],
        schedule={"name": "constant"},
        loss={"mse_share": 0.3, "label_smoothing": 0.1},
        neuron={"threshold": 0.3, "decay": 0.7},
        precision="float64",
        epochs=1,
    )
    reports = run(job, on_itself(*shape), tmp_path)
    (epoch,) = (report.metrics for report in reports if isinstance(report, Epoch))
    (tested,) = (report.metrics for report in reports if isinstance(report, Evaluation))
    rates = [value for name, value in epoch.items() if name.startswith("firing_rate/")]
    assert min(rates) > 0, "of silent layers every loss is the same"
    assert tested["test_loss"] == pytest.approx(epoch["train_loss"], rel=1e-10)
    assert tested["test_accuracy"] == epoch["train_accuracy"]


@pytest.mark.parametrize("at_once", [1, 2, 3])
def test_the_loss_does_not_depend_on_how_samples_and_time_are_cut(
    at_once: int, tmp_path: Path
) -> None:
    found = []
    for method in ("saf-e", "saf-f"):
        job = specification(
            method={"name": method},
            timesteps_at_once=at_once,
            micro_batches=2 * at_once,
            optimizer=STILL[0],
            precision="float64",
            epochs=1,
        )
        reports = run(job, on_itself(1, 8, 8), tmp_path / method)
        found += [report.metrics for report in reports if isinstance(report, Evaluation | Epoch)]
    assert found[0]["train_loss"] == pytest.approx(found[1]["test_loss"], rel=1e-10)
    assert found[2]["train_loss"] == pytest.approx(found[3]["test_loss"], rel=1e-10)
