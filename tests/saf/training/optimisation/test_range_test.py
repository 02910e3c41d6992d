"""The learning rate is tested where its rule is unsure."""

from __future__ import annotations

import json
from math import nan
from pathlib import Path
from typing import Any

import pytest
import torch

from saf.config import JobSpecification
from saf.config.automatic import DataFacts, resolve
from saf.training.checkpoint import Checkpoint
from saf.training.loop import train
from saf.training.optimisation.range_test import LAST, TRIED, is_unsure, rate_that_learns
from tests.saf.training.trainings import dataset


def job(**changes: Any) -> JobSpecification:
    values: dict[str, Any] = {
        "network": {"name": "convnet", "channels": [4, 4]},
        "timesteps": 2,
        "epochs": 2,
        "optimizer": {"name": "sgd"},
    }
    return JobSpecification.model_validate(values | changes)


def test_the_largest_rate_at_which_the_loss_falls_is_taken() -> None:
    asked: list[float] = []

    def losses_at(rate: float, iterations: int) -> list[float]:
        asked.append(rate)
        end = {1.0: nan, 0.25: 9.0, 0.062: 0.5}.get(rate, 0.1)
        return [1.0] * (iterations - LAST) + [end] * LAST

    assert rate_that_learns(1.0, losses_at) == 0.062
    assert asked == [1.0, 0.25, 0.062]
    assert rate_that_learns(1.0, lambda rate, count: [1.0] * count) == float(f"{TRIED[-1]:.2g}")


def test_a_training_of_fewer_iterations_is_judged_by_those_that_it_has() -> None:
    assert rate_that_learns(1.0, lambda rate, count: [1.0, 2.0]) == float(f"{TRIED[-1]:.2g}")
    assert rate_that_learns(1.0, lambda rate, count: [1.0, 0.5]) == 1.0
    assert rate_that_learns(1.03456, lambda rate, count: [1.0]) == 1.03456


def test_only_rates_of_a_rule_that_is_unsure_are_tested() -> None:
    def unsure(**changes: Any) -> bool:
        return is_unsure(resolve(job(**changes), DataFacts(100)))

    assert unsure()
    assert unsure(network={"name": "layers", "layers": [{"kind": "linear", "features": 5}]})
    assert not unsure(optimizer={"name": "sgd", "learning_rate": 0.1})
    assert not unsure(optimizer="auto")


@pytest.mark.parametrize(
    "network", [{}, {"name": "layers", "layers": [{"kind": "linear", "features": 5}]}]
)
def test_a_rate_written_over_that_of_a_report_is_one_that_was_given(
    network: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its specification says what was automatic, and so does one read from it."""
    monkeypatch.setattr("saf.training.optimisation.range_test.TRIED", (0.5,))
    wished = job(**({"network": network} if network else {}), epochs=1)
    list(train(wished, dataset(), tmp_path / "first", device="cpu"))
    report = json.loads((tmp_path / "first" / "report.json").read_text())["specification"]
    for rate in (report["optimizer"]["learning_rate"], 0.25):
        report["optimizer"]["learning_rate"] = rate
        again = JobSpecification.model_validate(report)
        list(train(again, dataset(), tmp_path / str(rate), device="cpu"))
        found = json.loads((tmp_path / str(rate) / "report.json").read_text())["specification"]
        assert found["optimizer"]["learning_rate"] == rate


@pytest.mark.slow
@pytest.mark.parametrize("method", ["saf-f", "ottt-o"])
def test_a_test_leaves_nothing_behind_and_a_resumed_training_keeps_its_rate(
    method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wished = job(method={"name": method})
    rule = resolve(wished, DataFacts(26)).learning_rate
    monkeypatch.setattr("saf.training.optimisation.range_test.TRIED", (0.5,))
    list(train(wished, dataset(), tmp_path / "tested", device="cpu"))
    tested = Checkpoint.read(tmp_path / "tested" / "checkpoint.safetensors")
    assert tested.specification.learning_rate == float(f"{rule / 2:.2g}")
    report = json.loads((tmp_path / "tested" / "report.json").read_text())
    assert report["specification"]["optimizer"]["learning_rate"] < rule
    told = job(
        method={"name": method},
        optimizer={"name": "sgd", "learning_rate": tested.specification.learning_rate},
    )
    list(train(told, dataset(), tmp_path / "told", device="cpu"))
    for name, weight in Checkpoint.read(
        tmp_path / "told" / "checkpoint.safetensors"
    ).weights.items():
        assert torch.equal(weight, tested.weights[name])
    asked = iter([False] * 3 + [True] * 9)
    list(train(wished, dataset(), tmp_path / "half", device="cpu", stop=lambda: next(asked)))
    monkeypatch.setattr("saf.training.optimisation.range_test.TRIED", (0.01,))  # not asked again
    list(
        train(
            wished,
            dataset(),
            tmp_path / "half",
            device="cpu",
            resume_from=tmp_path / "half" / "checkpoints",
        )
    )
    half = Checkpoint.read(tmp_path / "half" / "checkpoint.safetensors")
    for name, weight in half.weights.items():
        assert torch.equal(weight, tested.weights[name])
