"""Trainings that hang are ended and go on elsewhere; slow ones and paused ones are left alone."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from api.settings import Settings
from api.store.runs import logs
from api.store.tables.jobs import Status
from api.store.tables.results import Event
from saf.training.events import Converting, Epoch, Evaluation, Started, Step
from tests.waiting import join, until
from tests.worker.conftest import Crew, Desk, undisturbed
from worker.attempts.watchdog import Phase, Watchdog


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """What is tested here does not depend on the database."""
    return sqlite_url


@pytest.fixture
def impatient(settings: Settings) -> Settings:
    """Half a second without progress is a stall, once the pace is known, and thirty times the
    longest gap: seconds for the trainings of this file, which on a busy machine stand still too."""
    return settings.model_copy(
        update={
            "stall_seconds": 0.5,
            "stall_factor": 30.0,
            "stall_setup_seconds": 60.0,
            "stop_grace_seconds": 1.0,
            "retry_seconds": 0.1,
        }
    )


def stalls(desk: Desk, job_id: str) -> list[Event]:
    return [event for event in desk.events(job_id) if event.type == "stalled"]


def printed(desk: Desk, job_id: str) -> str:
    with desk.database.reading() as session:
        return logs.read(session, job_id).text


def test_a_training_that_somebody_stopped_goes_on_from_a_checkpoint_of_where_it_was(
    desk: Desk, crew: Crew, impatient: Settings
) -> None:
    job_id = desk.submit(steps="40", step_seconds="0.15", suspend_at="25")
    # It writes its checkpoint however slow the machine is; a second is for those that cannot.
    runner = crew.hire(impatient.model_copy(update={"stop_grace_seconds": 30.0}))
    crew.message(runner)

    until(lambda: runner.work() or desk.job(job_id).status == Status.succeeded)
    job = desk.job(job_id)

    (stall,) = stalls(desk, job_id)
    assert stall.data["phase"] == Phase.training
    assert stall.data["state"] == "somebody stopped it by a signal"
    assert stall.data["silent_seconds"] > stall.data["allowed_seconds"] >= 0.5
    assert job.attempt == 2
    # Reports of the last tenth of a second were still in the process that stood.
    assert job.started_step >= 25 >= stall.data["step"] >= 12
    assert desk.steps(job_id) == undisturbed(40)
    (why,) = [e.data["reason"] for e in desk.events(job_id) if e.type == Status.recovering]
    assert why.startswith("the training hung: no progress for ")


@pytest.mark.parametrize(("hangs", "where"), [("spin_at", "spin"), ("deadlock_at", "next_batch")])
def test_an_endless_loop_and_a_dead_lock_are_killed_and_their_place_is_in_the_log(
    desk: Desk, crew: Crew, impatient: Settings, hangs: str, where: str
) -> None:
    job_id = desk.submit(steps="40", step_seconds="0.15", **{hangs: "25"})
    runner = crew.hire(impatient)
    crew.message(runner)

    until(lambda: desk.job(job_id).status == Status.recovering)
    assert desk.processes(job_id) == []
    until(lambda: runner.work() or desk.job(job_id).status == Status.succeeded)

    (stall,) = stalls(desk, job_id)
    assert stall.data["step"] == 25
    assert f"in {where}" in printed(desk, job_id)
    job = desk.job(job_id)
    assert (job.attempt, job.started_step) == (2, 20)
    assert desk.steps(job_id) == undisturbed(40)


def test_a_training_that_hangs_each_time_fails_as_stalled(
    desk: Desk, crew: Crew, impatient: Settings
) -> None:
    job_id = desk.submit(steps="9", hang_at="8")
    # Limits that do not follow the pace, so that the second one is twice the first.
    fixed = {"max_losses": 1, "stall_seconds": 3.0, "stall_factor": 1.0}
    runner = crew.hire(impatient.model_copy(update=fixed))

    until(lambda: runner.work() or desk.job(job_id).status == Status.failed)

    job = desk.job(job_id)
    assert job.error is not None
    assert job.error["code"] == "stalled"
    assert "SAF_STALL_SECONDS" in job.error["hint"]
    first, second = stalls(desk, job_id)
    assert second.data["allowed_seconds"] > first.data["allowed_seconds"]


def test_a_training_that_is_slow_but_steady_is_left_alone(
    desk: Desk, crew: Crew, impatient: Settings
) -> None:
    job_id = desk.submit(steps="8", step_seconds="0.8")
    crew.hire(impatient).work()

    assert desk.job(job_id).status == Status.succeeded
    assert stalls(desk, job_id) == []


def test_an_evaluation_may_take_longer_than_a_step(
    desk: Desk, crew: Crew, impatient: Settings
) -> None:
    job_id = desk.submit(steps="20", step_seconds="0.3", evaluation_seconds="2")
    crew.hire(impatient).work()

    assert desk.job(job_id).status == Status.succeeded
    assert stalls(desk, job_id) == []


def test_a_paused_job_is_no_stall(desk: Desk, crew: Crew, impatient: Settings) -> None:
    job_id = desk.submit(steps="100000", step_seconds="0.2")
    runner = crew.hire(impatient)
    thread = crew.message(runner)
    desk.wait_for_step(job_id, 12)
    desk.pause(job_id)
    join(thread)
    assert desk.job(job_id).status == Status.paused

    other = desk.submit(steps="10", step_seconds="0.8")  # time in which the paused one does nothing
    runner.work()
    assert desk.job(other).status == Status.succeeded
    assert desk.job(job_id).status == Status.paused
    assert stalls(desk, job_id) == []


def test_a_job_that_is_asked_to_pause_while_it_hangs_is_paused(
    desk: Desk, crew: Crew, impatient: Settings
) -> None:
    job_id = desk.submit(steps="60", spin_at="12")
    crew.message(crew.hire(impatient.model_copy(update={"stall_seconds": 60.0})))
    desk.wait_for_step(job_id, 12)

    desk.pause(job_id)

    desk.wait(job_id, Status.paused)
    assert stalls(desk, job_id) == []
    assert desk.processes(job_id) == []


@dataclass
class Clock:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now


class Training:
    """Reports at times of the test's choosing; somebody looks ten times a second."""

    def __init__(self, *, losses: int = 0, **settings: float) -> None:
        self._clock = Clock()
        chosen = {"stall_seconds": 10.0, "stall_factor": 5.0, "stall_setup_seconds": 100.0}
        self.dog = Watchdog(
            Settings.model_validate(chosen | settings), losses=losses, clock=self._clock
        )
        self.stalled_after = 0.0

    def silent(self, seconds: float) -> bool:
        """Whether so long a silence is a stall."""
        for _ in range(round(10 * seconds)):
            self._clock.now += 0.1
            if self.dog.look() is not None:
                return True
        return False

    def start(self, *, steps_per_epoch: int = 10) -> None:
        self.dog.saw(
            Started(
                step=0, steps_total=99, steps_per_epoch=steps_per_epoch, parameters=1, device="cpu"
            )
        )

    def steps(self, count: int, seconds: float) -> None:
        for number in range(count):
            assert not self.silent(seconds)
            self.dog.saw(Step(step=number + 1, epoch=0.0, metrics={}))


def test_each_phase_has_an_allowance_of_its_own() -> None:
    training = Training()
    assert not training.silent(99)  # loading
    training.start()
    assert not training.silent(99)  # the first iteration, with whatever is compiled in it
    training.steps(6, 1.0)
    assert not training.silent(9)
    assert training.silent(2)


def test_the_longest_gap_so_far_says_what_is_usual() -> None:
    training = Training()
    training.start()
    training.steps(6, 8.0)
    assert not training.silent(39)
    assert training.silent(2)


def test_an_iteration_as_long_as_the_first_is_usual_until_the_pace_is_known() -> None:
    training = Training(stall_setup_seconds=20.0)
    training.start()
    assert not training.silent(19)
    training.dog.saw(Step(step=1, epoch=0.0, metrics={}))
    assert not training.silent(30)


def test_an_evaluation_may_take_as_long_as_some_epochs() -> None:
    training = Training(stall_setup_seconds=1.0)
    training.start(steps_per_epoch=10)
    training.steps(10, 0.9)
    training.dog.saw(Epoch(step=10, epoch=1, metrics={}))
    assert not training.silent(35)
    training.dog.saw(Evaluation(step=10, epoch=1, metrics={}))
    training.dog.saw(Converting(step=10))
    assert not training.silent(35)
    assert training.silent(5)


def test_a_worker_that_was_stopped_itself_does_not_blame_the_training() -> None:
    training = Training()
    training.start()
    training.steps(6, 1.0)
    training._clock.now += 1000
    assert not training.silent(8)


def test_with_each_lost_attempt_it_is_twice_as_patient() -> None:
    training = Training(losses=2)
    training.start()
    training.steps(6, 1.0)
    assert not training.silent(39)
    assert training.silent(2)


def test_it_can_be_switched_off() -> None:
    training = Training(stall_seconds=0.0)
    assert not training.silent(10_000)
