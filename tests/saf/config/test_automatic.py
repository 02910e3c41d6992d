"""Automatic settings: what numbers they become, and that these hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from saf.config import JobSpecification, ResolvedSpecification, as_before_validation
from saf.config.automatic import (
    FEWEST_EPOCHS,
    LARGEST_BATCH,
    MOST_EPOCHS,
    SMALLEST_BATCH,
    DataFacts,
    resolve,
)
from saf.data import digits
from saf.training.events import Finished, Started
from saf.training.loop import train
from tests.saf.training.trainings import dataset, run, summary

EVERYTHING = (
    "/timesteps",
    "/validation_share",
    "/batch_size",
    "/epochs",
    "/optimizer",
    "/max_gradient_norm",
)


@settings(deadline=None)  # the first example imports what is registered
@given(st.integers(1, 10**7), st.integers(0, 10**6))
def test_every_automatic_setting_becomes_a_number_that_a_job_may_have(
    train: int, validation: int
) -> None:
    found = resolve(JobSpecification(), DataFacts(train, validation))
    assert ResolvedSpecification.model_validate(found.model_dump()) == found
    assert set(found.automatic) == set(EVERYTHING)
    assert SMALLEST_BATCH <= found.batch_size <= LARGEST_BATCH
    assert FEWEST_EPOCHS <= found.epochs <= MOST_EPOCHS
    assert (found.validation_share == 0) == (validation > 0)
    assert 0 < found.learning_rate < 0.1


def test_what_was_asked_for_stays() -> None:
    asked: dict[str, Any] = {
        "timesteps": 5,
        "epochs": 7,
        "batch_size": 33,
        "validation_share": 0.3,
        "max_gradient_norm": None,
        "optimizer": {"name": "sgd", "learning_rate": 0.3},
    }
    found = resolve(JobSpecification.model_validate(asked), DataFacts(1000))
    assert found.automatic == ()
    assert found.model_dump(include=set(asked))["optimizer"]["learning_rate"] == 0.3
    assert (found.epochs, found.batch_size, found.max_gradient_norm) == (7, 33, None)


def test_a_rate_alone_can_be_automatic() -> None:
    job = JobSpecification.model_validate({"optimizer": {"name": "sgd", "momentum": 0.5}})
    found = resolve(job, DataFacts(1000))
    assert "/optimizer/learning_rate" in found.automatic
    assert found.optimizer.name == "sgd"
    assert found.optimizer.momentum == 0.5


def test_a_small_batch_lowers_the_rate_of_sgd_alone() -> None:
    """AdamW's updates do not grow with the noise of a small batch; lowered, `saf-f` with convnet
    learned drawn images 7 to 21 points worse."""

    def rate(optimizer: str, batch_size: int) -> float:
        asked = {"optimizer": {"name": optimizer}, "batch_size": batch_size}
        return resolve(JobSpecification.model_validate(asked), DataFacts(1000)).learning_rate

    assert rate("adamw", 8) == rate("adamw", 32) == rate("adamw", 128)
    assert rate("sgd", 8) < rate("sgd", 32) == rate("sgd", 128)


@pytest.mark.parametrize("optimizer", ["auto", {"name": "sgd", "learning_rate": "auto"}])
def test_a_network_says_how_large_its_rate_is(optimizer: object) -> None:
    def rate(network: str, **settings: object) -> float:
        asked = {"network": {"name": network, **settings}, "optimizer": optimizer}
        return resolve(JobSpecification.model_validate(asked), DataFacts(1000)).learning_rate

    usual = rate("convnet")
    factors = {"mlp": 1, "vgg11": 0.5, "vgg11-f": 0.5, "vgg16": 0.5, "resnet50": 1, "mobilenet": 4}
    for name, factor in factors.items():
        assert rate(name) == pytest.approx(usual * factor, rel=0.02), name
    for layers, factor in {1: 1, 6: 1, 7: 0.5, 8: 0.5}.items():
        assert rate("convnet", channels=[8] * layers) == pytest.approx(usual * factor, rel=0.02)


def test_what_was_resolved_resolves_to_itself_and_still_says_what_was_automatic() -> None:
    once = resolve(JobSpecification(), DataFacts(500))
    again = resolve(JobSpecification.model_validate(once.model_dump()), DataFacts(10**6))
    assert again == once


def test_auto_may_be_written_wherever_there_is_a_default_of_that_name() -> None:
    job = JobSpecification.model_validate(
        {"optimizer": "auto", "neuron": {"threshold": "auto"}, "network": {"gain": "auto"} | NET}
    )
    assert job == JobSpecification()


NET = {"name": "convnet"}


def test_a_batch_has_room_for_its_parts() -> None:
    job = JobSpecification.model_validate({"micro_batches": 200})
    assert resolve(job, DataFacts(100)).batch_size == 200


def test_a_specification_with_auto_is_no_resolved_one() -> None:
    with pytest.raises(ValidationError):
        ResolvedSpecification.model_validate({})
    with pytest.raises(ValidationError, match="learning_rate has to be a number"):
        ResolvedSpecification.model_validate(
            {
                "epochs": 1,
                "batch_size": 1,
                "validation_share": 0,
                "max_gradient_norm": None,
                "optimizer": {"name": "sgd"},
            }
        )


def test_what_was_written_before_there_was_validation_keeps_its_meaning() -> None:
    before = {"epochs": 3, "network": {"name": "mlp"}, "conversion": {"grid_bits": 8}}
    found = JobSpecification.model_validate(as_before_validation(before))
    assert (found.validation_share, found.network.gain) == (0.0, 1.0)
    assert (found.conversion.weights, found.conversion.grid_bits) == ("last", 8)


def test_a_training_starts_with_numbers_and_its_report_has_them(tmp_path: Path) -> None:
    job = JobSpecification.model_validate(
        {"network": {"name": "convnet", "channels": [4]}, "timesteps": 2, "epochs": 1}
    )
    reports = run(job, dataset(), tmp_path)
    started = next(report for report in reports if isinstance(report, Started))
    assert started.steps_per_epoch == 3  # 26 samples, 6 of them for validation, 8 a batch
    assert summary(reports)["val_accuracy"] is not None


@pytest.mark.slow
@pytest.mark.parametrize("method", ["saf-e", "bptt"])
def test_defaults_learn_digits_in_few_epochs(method: str, tmp_path: Path) -> None:
    job = JobSpecification.model_validate(
        {
            "network": {"name": "convnet", "channels": [8, 16]},
            "method": {"name": method},
            "timesteps": 3,
            "epochs": 4,
        }
    )
    *_, last = train(job, digits(), tmp_path, device="cpu")
    assert isinstance(last, Finished)
    assert last.summary["test_accuracy"] > 0.9
    assert last.summary["findings"] == []


@pytest.mark.parametrize(("fixed", "steps"), [(None, 6), (29, 29)])
def test_automatic_timesteps_are_those_of_the_samples_or_six(fixed: int | None, steps: int) -> None:
    found = resolve(JobSpecification(), DataFacts(100, timesteps=fixed))
    assert found.timesteps == steps
    assert "/timesteps" in found.automatic


def test_automatic_timesteps_hold_what_other_settings_ask_of_them() -> None:
    job = JobSpecification.model_validate({"conversion": {"grid_bits": 8}})
    with pytest.raises(ValidationError, match=r"timesteps of at most 23 .*, not 24"):
        resolve(job, DataFacts(100, timesteps=24))
    job = JobSpecification.model_validate({"timesteps_at_once": 4, "method": {"name": "saf-e"}})
    with pytest.raises(ValidationError, match="only 3 timesteps"):
        resolve(job, DataFacts(100, timesteps=3))
