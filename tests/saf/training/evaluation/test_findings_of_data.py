"""What is odd about the data stands beside a bad result, which it may explain."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from saf.data.dataset import Dataset
from tests.saf.training.trainings import labelled, run, specification, summary

FITTED: dict[str, Any] = {
    "network": {"name": "convnet", "channels": [4, 4], "gain": "auto"},
    "optimizer": {"name": "adamw", "learning_rate": 0.002},
}


def codes(directory: Path, *, outlier: float, shuffled: bool = False) -> list[str]:
    (x, y), (x_test, y_test) = labelled(90, 1, 8, 8), labelled(60, 1, 8, 8)
    generator = np.random.default_rng(0)
    x, x_test = (each.astype(np.float32) / 2**17 for each in (x, x_test))
    x[3, 0, 7, 7] = outlier
    data = Dataset(
        x_train=x,
        y_train=generator.permutation(y) if shuffled else y,
        x_test=x_test,
        y_test=y_test,
        class_names=("a", "b", "c"),
    )
    job = specification(epochs=6, validation_share=0.2, batch_size=16, **FITTED)
    return [each["code"] for each in summary(run(job, data, directory))["findings"]]


def test_a_broken_value_that_rules_the_normalisation_is_told_beside_what_comes_of_it(
    tmp_path: Path,
) -> None:
    found = codes(tmp_path / "broken", outlier=1.0)
    assert {"extreme_values", "other_scale"} <= set(found)
    assert {"at_chance", "chance_not_excluded", "below_linear"} & set(found)
    assert found[0] in ("other_scale", "extreme_values")


@pytest.mark.parametrize("shuffled", [False, True])
def test_of_ordinary_data_nothing_is_told_whatever_comes_of_it(
    shuffled: bool, tmp_path: Path
) -> None:
    found = codes(tmp_path, outlier=1e-3, shuffled=shuffled)
    assert not {"extreme_values", "other_scale", "constant_channel"} & set(found)
