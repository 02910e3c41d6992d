"""Samples for testing and for validation are both new: a network is as right on the ones as on the
others."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from saf.data.baseline import Baselines
from saf.data.dataset import Dataset
from saf.data.findings import Finding
from saf.training.checkpoint import Progress
from saf.training.evaluation import health
from tests.saf.training.trainings import labelled, run, specification, summary

WITHOUT = Baselines(
    most_frequent=0.25, most_frequent_class=0, linear=1.0, linear_reason=None, seconds=0.0
)
EPOCH = {"train_loss": 1.0, "val_accuracy": 0.9}


def found(
    correct: int,
    validation: float,
    *,
    samples: int = 100,
    val_samples: int = 50,
    epochs: int = 1,
    **job: Any,
) -> list[Finding]:
    tested = health.Tested(
        *(correct, samples, correct / samples, 0.25, 4, {"layer1": 0.1}),
        against_linear=(0, samples - correct),
        linear_balanced=1.0,
        val_accuracy=validation,
        val_samples=val_samples,
    )
    progress = Progress(history=[EPOCH] * epochs, initial_loss=1.0, best_epoch=1)
    return health.findings(specification(**job), progress, tested, WITHOUT)


def test_a_network_that_is_right_on_validation_samples_alone_is_not_told_to_learn_more() -> None:
    (unlike, chance) = found(20, 1.0)
    assert (unlike.code, chance.code) == ("test_unlike_validation", "at_chance")
    assert "right on 20.00% of the test samples and on 100.00% of the validation" in unlike.message
    assert "classes are numbered" in unlike.hint
    assert chance.hint == "check that labels and samples belong together"


def test_validation_samples_that_a_first_network_may_know_say_nothing_of_the_test_samples() -> None:
    """Of another seed or share, the job that `init` names may have learned from them."""
    assert "test_unlike_validation" in [each.code for each in found(60, 1.0)]
    started = found(60, 1.0, init={"job": "job_1"})
    assert "test_unlike_validation" not in [each.code for each in started]
    (known, *_) = found(82, 0.3, init={"job": "job_1"})
    assert known.code == "test_unlike_validation"


def test_a_network_that_is_right_on_test_samples_alone_may_know_them() -> None:
    (unlike, below) = found(82, 0.3)
    assert (unlike.code, below.code) == ("test_unlike_validation", "below_linear")
    assert "training samples with small changes" in unlike.message


@pytest.mark.parametrize(
    ("correct", "samples", "validation", "val_samples", "epochs"),
    [
        (82, 100, 1.0, 50, 1),  # 18 points
        (7, 10, 1.0, 5, 1),  # few samples
        (22, 30, 1.0, 24, 40),  # the best of many epochs
        (9, 10, 0.6, 10, 1),
    ],
)
def test_what_luck_and_choice_do_is_not_told(
    correct: int, samples: int, validation: float, val_samples: int, epochs: int
) -> None:
    codes = [
        each.code
        for each in found(
            correct, validation, samples=samples, val_samples=val_samples, epochs=epochs
        )
    ]
    assert "test_unlike_validation" not in codes


def test_test_labels_that_are_numbered_otherwise_are_told(tmp_path: Path) -> None:
    (x, y), (x_test, y_test) = labelled(90, 1, 8, 8), labelled(60, 1, 8, 8)
    data = Dataset(x_train=x, y_train=y, x_test=x_test, y_test=y_test, class_names=("a", "b", "c"))
    job = specification(epochs=6, validation_share=0.2, batch_size=16)
    good = summary(run(job, data, tmp_path / "good"))
    assert "test_unlike_validation" not in [each["code"] for each in good["findings"]]
    swapped = replace(data, y_test=np.array([1, 0, 2])[y_test])
    found = summary(run(job, swapped, tmp_path / "swapped"))
    assert found["val_accuracy"] > 0.9
    assert found["findings"][0]["code"] == "test_unlike_validation"
