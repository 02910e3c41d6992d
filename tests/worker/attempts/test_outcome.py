"""What follows from how an attempt ended."""

from __future__ import annotations

import errno
import os

import pytest

from api.settings import Settings
from api.store.tables.jobs import Status
from saf.config import ResolvedSpecification
from tests.saf.training.trainings import resolved
from tests.waiting import until
from tests.worker.conftest import Crew, Desk, undisturbed
from worker.processes import oom
from worker.processes.child import failure_of
from worker.runner import Runner


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """What is tested here does not depend on the database."""
    return sqlite_url


def job(**changes: object) -> ResolvedSpecification:
    metadata = {"steps": "40", "samples_that_fit": "32"}
    return resolved({"batch_size": 128, "metadata": metadata} | changes)


def test_memory_that_runs_out_splits_batches_until_they_fit(desk: Desk, runner: Runner) -> None:
    job_id = desk.submit(job())
    runner.work()
    done = desk.job(job_id)
    assert (done.status, done.micro_batches, done.attempt) == (Status.succeeded, 4, 3)
    reasons = [e.data["reason"] for e in desk.events(job_id) if e.type == Status.recovering]
    assert [reason.partition(";")[0] for reason in reasons] == [
        "128 do not fit",
        "64 do not fit",
    ]
    assert "each batch is computed in 4 parts" in reasons[1]
    assert done.specification["micro_batches"] == 1, "what was sent stays as it was sent"
    assert desk.steps(job_id) == undisturbed(40)
    assert desk.attempts(job_id, "loss")[3][0] == 11, "it goes on from the checkpoint"


@pytest.mark.parametrize(
    "changes",
    [
        {"on_out_of_memory": "fail"},
        {"method": {"name": "ottt-o"}},
        {"method": {"name": "saf-e", "update": "step"}},
        {"batch_size": 1, "metadata": {"samples_that_fit": "0"}},
    ],
)
def test_memory_that_runs_out_fails_where_splitting_is_not_wanted_or_not_possible(
    desk: Desk, runner: Runner, changes: dict[str, object]
) -> None:
    job_id = desk.submit(job(**changes))
    runner.work()
    ended = desk.job(job_id)
    assert (ended.status, ended.attempt) == (Status.failed, 1)
    assert ended.error is not None
    assert (ended.error["code"], ended.error["hint"]) == ("out_of_memory", "take less")


def test_a_lost_device_is_tried_again_after_a_wait(
    desk: Desk, settings: Settings, crew: Crew
) -> None:
    job_id = desk.submit(steps="20", lose_device_at="5")
    runner = crew.hire(settings.model_copy(update={"retry_seconds": 60.0}))
    runner.work()
    waits = desk.job(job_id)
    assert (waits.status, waits.attempt) == (Status.recovering, 1)
    assert waits.retry_at is not None
    # From the beginning, since there was no checkpoint: the device is lost again, and again.
    for _ in range(2):
        desk.retry_now(job_id)
        runner.work()
    assert desk.job(job_id).attempt == 3
    seconds = [e.data["retry_in_seconds"] for e in desk.events(job_id) if e.type == "recovering"]
    assert seconds == [60.0, 120.0, 240.0]


@pytest.mark.parametrize("wish", [{"diverge_at": "5"}, {"crash_at": "5"}])
def test_errors_that_come_again_are_not_tried_again(
    desk: Desk, runner: Runner, wish: dict[str, str]
) -> None:
    job_id = desk.submit(steps="20", **wish)
    runner.work()
    assert (desk.job(job_id).status, desk.job(job_id).attempt) == (Status.failed, 1)


def test_tries_end_with_the_error_that_they_met(desk: Desk, settings: Settings, crew: Crew) -> None:
    job_id = desk.submit(steps="20", lose_device_at="5")
    runner = crew.hire(settings.model_copy(update={"retry_seconds": 0.01, "max_losses": 2}))
    until(lambda: runner.work() or desk.job(job_id).status == Status.failed)
    ended = desk.job(job_id)
    assert ended.error is not None
    assert ended.error["code"] == "internal"
    assert ended.error["message"].endswith("3 times without a checkpoint in between")
    assert ended.attempt == 3


@pytest.mark.parametrize(
    ("error", "code", "transient"),
    [
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), "internal", True),
        (OSError(errno.ENOENT, "gone"), "internal", False),
        (RuntimeError("CUDA error: uncorrectable ECC error encountered"), "internal", True),
        (RuntimeError("CUDA error: device-side assert triggered"), "internal", False),
        (MemoryError("64 GiB"), "out_of_memory", False),
        (KeyError("x"), "internal", False),
    ],
)
def test_errors_are_told_apart(error: Exception, code: str, transient: bool) -> None:
    failure = failure_of(error)
    assert (failure.code, failure.transient) == (code, transient)
    assert failure.hint


def test_kills_for_memory_are_counted() -> None:
    assert oom.kills() >= 0
