"""A training that goes on after its end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from saf import config
from saf.errors import UserConfigError
from saf.training.checkpoint import Checkpoint
from saf.training.events import Checkpoint as CheckpointReport
from saf.training.events import Finished, Started, Step
from saf.training.loop import train
from saf.training.optimisation.schedule import learning_rate
from tests.saf.training.starting.continuations import (
    ADAMW,
    METHODS,
    after,
    assert_same_bits,
    assert_same_training,
    epochs,
    first,
    going_on,
    left,
    metrics_of_test,
    of_classes,
)
from tests.saf.training.test_meta_device import run_until_read
from tests.saf.training.trainings import dataset, run, specification

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "more",
    [
        {},
        {"optimizer": ADAMW, "average_decay": 0.9, "validation_share": 0.3},
    ],
    ids=["sgd", "adamw, average, validation"],
)
def test_more_epochs_are_those_of_a_training_that_was_killed_in_the_middle_of_them(
    method: str, more: dict[str, Any], tmp_path: Path
) -> None:
    asked = {"method": {"name": method}, **more}
    data = dataset()
    run(specification(epochs=1, **asked), data, tmp_path / "short")
    longer = specification(epochs=3, schedule={"start_epoch": 1}, **asked)
    whole = going_on(longer, left(tmp_path / "short"), tmp_path / "whole", data)
    assert epochs(whole) == [2, 3]
    *_, killed = going_on(longer, left(tmp_path / "short"), tmp_path / "part", data, stop=after(3))
    assert isinstance(killed, CheckpointReport)
    assert killed.step > first(whole, Started).step
    resumed = going_on(longer, killed.path, tmp_path / "rest", data)
    assert epochs(resumed)[-1] == 3
    assert_same_training(tmp_path / "whole", tmp_path / "rest")


def test_with_a_constant_rate_more_epochs_are_those_of_a_longer_training(tmp_path: Path) -> None:
    asked: dict[str, Any] = {"schedule": {"name": "constant"}, "average_decay": 0.9}
    data = dataset()
    run(specification(epochs=2, **asked), data, tmp_path / "short")
    longer = specification(epochs=4, **asked)
    run(longer, data, tmp_path / "whole")
    going_on(longer, left(tmp_path / "short"), tmp_path / "on", data)
    assert_same_training(tmp_path / "whole", tmp_path / "on")


def test_the_schedule_begins_anew_where_the_training_ended(tmp_path: Path) -> None:
    data = dataset()
    run(specification(epochs=2), data, tmp_path / "short")
    schedule = {"start_epoch": 2, "warmup_epochs": 0.4}
    longer = specification(
        epochs=4, schedule=schedule, optimizer={"name": "sgd", "learning_rate": 0.02}
    )
    reports = going_on(longer, left(tmp_path / "short"), tmp_path / "on", data)
    rates = [r.metrics["learning_rate"] for r in reports if isinstance(r, Step)]
    assert rates[:2] == [pytest.approx(0.01), pytest.approx(0.02)]
    assert rates[-1] < 0.005
    alone = specification(epochs=2, schedule={"warmup_epochs": 0.4}, optimizer=longer.optimizer)
    assert rates == [learning_rate(alone, step, 5) for step in range(10)]


def test_a_training_that_ended_early_goes_on_also_for_fewer_epochs_than_it_had(
    tmp_path: Path,
) -> None:
    data = dataset()
    asked: dict[str, Any] = {
        "validation_share": 0.3,
        "patience": 1,
        "optimizer": {"name": "sgd", "learning_rate": 1e-20},
    }
    early = run(specification(epochs=9, **asked), data, tmp_path / "early")
    done = epochs(early)[-1]
    assert done < 9
    again = going_on(
        specification(epochs=9, **asked), left(tmp_path / "early"), tmp_path / "again", data
    )
    assert epochs(again) == []  # taken up again as it is, it stays ended
    assert isinstance(again[-1], Finished)
    longer = specification(
        epochs=done + 3, schedule={"start_epoch": done}, **{**asked, "patience": 2}
    )
    reports = going_on(longer, left(tmp_path / "early"), tmp_path / "on", data)
    # Its patience counts from where it went on: two epochs that were no better.
    assert epochs(reports) == [done + 1, done + 2]


def test_the_best_weights_of_the_first_part_stay_the_best_until_they_are_beaten(
    tmp_path: Path,
) -> None:
    data = dataset()
    asked: dict[str, Any] = {"validation_share": 0.3}
    source = run(specification(epochs=3, **asked), data, tmp_path / "short")
    before = Checkpoint.read(left(tmp_path / "short"))
    assert before.progress.best_epoch > 0
    still = {"name": "sgd", "learning_rate": 1e-12, "momentum": 0.9}
    longer = specification(
        epochs=5, schedule={"start_epoch": 3}, **asked, optimizer=still
    ).model_copy(update={"conversion": config.Conversion(weights="best")})
    # Nothing is learnt, so no epoch is better.
    reports = going_on(longer, left(tmp_path / "short"), tmp_path / "on", data)
    now = Checkpoint.read(left(tmp_path / "on"))
    assert epochs(reports) == [4, 5]
    assert now.progress.best_epoch == before.progress.best_epoch
    assert_same_bits(now.best, before.best)
    assert metrics_of_test(reports) == metrics_of_test(source)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"timesteps": 4}, "another timesteps"),
        ({"batch_size": 5}, "another epochs, batch_size"),
        ({"optimizer": {"name": "adamw"}}, "another optimizer"),
        ({"optimizer": {"name": "sgd", "momentum": 0.1}}, "another optimizer"),
        ({"epochs": 1}, "2 epochs behind it, and epochs is 1"),
        ({"schedule": {"start_epoch": 3}}, "start_epoch is 3, and the checkpoint has 2 epochs"),
    ],
)
def test_what_may_not_change_after_the_end_is_refused_in_words(
    change: dict[str, Any], said: str, tmp_path: Path
) -> None:
    data = dataset()
    run(specification(epochs=2), data, tmp_path / "short")
    longer = specification(**{"epochs": 4, **change})
    with pytest.raises(UserConfigError, match=said):
        going_on(longer, left(tmp_path / "short"), tmp_path / "on", data)


def test_other_epochs_are_refused_in_the_middle_of_a_training(tmp_path: Path) -> None:
    data = dataset()
    *_, stopped = train(specification(), data, tmp_path, device="cpu", stop=after(3))
    assert isinstance(stopped, CheckpointReport)
    with pytest.raises(UserConfigError, match="another epochs"):
        going_on(specification(epochs=4), stopped.path, tmp_path / "on", data)


def test_a_schedule_of_a_later_epoch_is_refused_without_the_training_before_it(
    tmp_path: Path,
) -> None:
    job = specification(epochs=4, schedule={"start_epoch": 2, "warmup_epochs": 1})
    with pytest.raises(UserConfigError, match="2 epochs were done before, and there is no"):
        run(job, dataset(), tmp_path)


def test_other_data_are_refused(tmp_path: Path) -> None:
    run(specification(epochs=1), dataset(), tmp_path / "short")
    with pytest.raises(UserConfigError, match="other training data"):
        going_on(specification(), left(tmp_path / "short"), tmp_path / "on", of_classes(4))


def test_the_time_of_the_training_before_does_not_count(tmp_path: Path) -> None:
    data = dataset()
    run(specification(epochs=2), data, tmp_path / "short")
    before = Checkpoint.read(left(tmp_path / "short")).progress.counted_seconds()
    longer = specification(epochs=3, max_runtime_seconds=1e6)
    reports = going_on(longer, left(tmp_path / "short"), tmp_path / "on", data, inherited=True)
    assert isinstance(reports[-1], Finished)
    progress = Checkpoint.read(left(tmp_path / "on")).progress
    assert progress.earlier_seconds == pytest.approx(before)


# The weights of another training


def test_more_epochs_leave_nothing_on_the_host(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = dataset(samples=16)
    run(specification(epochs=1, optimizer=ADAMW), data, tmp_path / "source")
    job = specification(epochs=2, schedule={"start_epoch": 1}, optimizer=ADAMW)
    run_until_read(job, data, tmp_path, monkeypatch, resume_from=left(tmp_path / "source"))
