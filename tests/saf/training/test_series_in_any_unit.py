"""Series are normalised in whatever unit they are."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from saf.data.dataset import Dataset
from saf.model.inputs import divisors
from tests.saf.training.trainings import run, specification, summary


def test_channels_that_hardly_vary_are_left_as_they_are_unless_all_are_so() -> None:
    none = float(np.float32(1e-6))
    assert divisors([0.3, none, 1e-5, 2e-4]) == [0.3, 1.0, 1.0, 2e-4]
    assert divisors([2e-5, none, 3e-6, 1e-9]) == [2e-5, 1.0, 3e-6, 1.0]
    assert divisors([none, none]) == [1.0, 1.0]


@pytest.mark.parametrize("unit", [2.0**-17, 2.0**-30, 2.0**-43])
def test_volts_and_teslas_are_learnt_as_numbers_about_one_are(unit: float, tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    y = np.arange(90) % 3
    time = np.arange(12)[None, :, None]
    x = np.sin((1 + y[:, None, None]) * time / 2) + 0.3 * generator.normal(size=(90, 12, 2))
    x = x.astype(np.float32)
    whole = Dataset(
        x_train=x[:60], y_train=y[:60], x_test=x[60:], y_test=y[60:], class_names=("a", "b", "c")
    )
    small = replace(whole, x_train=x[:60] * unit, x_test=x[60:] * unit)
    job = specification(
        network={"name": "mlp", "features": [16], "gain": "auto"}, timesteps=12, epochs=6
    )
    expected = summary(run(job, whole, tmp_path / "whole"))["test_accuracy"]
    found = summary(run(job, small, tmp_path / "small"))["test_accuracy"]
    assert found == pytest.approx(expected, abs=0.05)
    assert found > 0.7
