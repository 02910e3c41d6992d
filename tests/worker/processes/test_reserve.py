"""Training processes that are started ahead: used once, and gone whenever they should be."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from api.settings import Settings
from api.store.tables.jobs import Status
from saf.config import JobSpecification
from saf.networks.mlp import MLP
from tests.waiting import join, until
from tests.worker.conftest import Crew, Desk, WorkerProcess, processes_with, undisturbed
from worker.processes.process import TRAINING
from worker.runner import Runner

Start = Callable[[Settings], WorkerProcess]


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    return sqlite_url


@pytest.fixture
def settings(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Workers as they are unless told: with a process in reserve."""
    monkeypatch.setenv("SAF_WARM_PROCESSES", "1")  # for a worker that is a process of its own
    return settings.model_copy(update={"warm_processes": True})


@pytest.fixture
def runner(crew: Crew, settings: Settings, desk: Desk) -> Runner:
    """A worker that has a process in reserve."""
    runner = crew.hire(settings)
    runner.start()
    until(lambda: waiting(runner))
    return runner


def waiting(runner: Runner) -> int | None:
    """The process that waits for an order."""
    (reserve,) = runner._reserves.values()
    return reserve.waiting_pid


def of_the_worker(settings: Settings) -> list[int]:
    return processes_with(f"SAF_ATTEMPT={settings.data_dir.absolute()}/work/")


def children(state: str) -> list[int]:
    """Of this process, those in a state of /proc."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = entry.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == os.getpid() and fields[0] in state:
            found.append(int(entry.parent.name))
    return found


def test_the_process_in_reserve_takes_the_job_and_the_next_job_another_one(
    desk: Desk, runner: Runner, crew: Crew, tmp_path: Path
) -> None:
    first = waiting(runner)
    looked = tmp_path / "looked"
    job_id = desk.submit(steps="100", hold_at="50", hold_until=str(looked))
    thread = crew.message(runner)
    desk.wait_for_step(job_id, 1)
    assert desk.trainees(job_id) == [first]
    until(lambda: waiting(runner))
    assert waiting(runner) != first
    looked.touch()
    join(thread)
    assert desk.steps(job_id) == undisturbed(100)
    assert len(desk.artifacts(job_id)) == 1


def test_a_process_that_dies_while_it_waits_is_replaced(
    desk: Desk, runner: Runner, crew: Crew
) -> None:
    first = waiting(runner)
    assert first is not None
    os.kill(first, signal.SIGKILL)
    until(lambda: waiting(runner) not in (None, first))
    job_id = desk.submit(steps="5")
    runner.work()
    assert (desk.job(job_id).status, desk.job(job_id).attempt) == (Status.succeeded, 1)


def test_one_that_has_just_died_costs_the_job_no_attempt(desk: Desk, runner: Runner) -> None:
    pid = waiting(runner)
    assert pid is not None
    job_id = desk.submit(steps="5")
    os.kill(pid, signal.SIGKILL)
    runner.work()
    assert (desk.job(job_id).status, desk.job(job_id).attempt) == (Status.succeeded, 1)


def test_one_that_dies_with_its_order_unread_is_a_lost_attempt_and_the_next_one_succeeds(
    desk: Desk, runner: Runner, crew: Crew
) -> None:
    pid = waiting(runner)
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    job_id = desk.submit(steps="10")
    thread = crew.message(runner)
    until(lambda: desk.job(job_id).status == Status.starting)
    until(lambda: waiting(runner) not in (None, pid))
    os.kill(pid, signal.SIGKILL)
    join(thread)
    assert (desk.job(job_id).status, desk.job(job_id).attempt) == (Status.succeeded, 2)
    assert desk.steps(job_id) == undisturbed(10)


def test_pause_resume_and_cancel_reach_a_process_from_the_reserve(
    desk: Desk, runner: Runner, crew: Crew
) -> None:
    job_id = desk.submit(steps="100000", step_seconds="0.02", grandchild="yes")
    thread = crew.message(runner)
    desk.wait_for_step(job_id, 3)
    desk.pause(job_id)
    paused = desk.wait(job_id, Status.paused)
    join(thread)
    assert desk.processes(job_id) == []

    desk.resume(job_id)
    thread = crew.message(runner)
    desk.wait_for_step(job_id, paused.step + 1)
    desk.cancel(job_id)
    desk.wait(job_id, Status.cancelled)
    join(thread)
    assert desk.processes(job_id) == []


def test_nothing_waits_any_more_once_the_worker_closes(runner: Runner, settings: Settings) -> None:
    pid = waiting(runner)
    assert of_the_worker(settings) == [pid]
    runner.close()
    until(lambda: not of_the_worker(settings))
    runner.stop()
    assert of_the_worker(settings) == []
    assert pid not in children("Z")


def test_a_training_writes_its_checkpoint_although_the_reserve_is_closed(
    desk: Desk, runner: Runner, crew: Crew
) -> None:
    job_id = desk.submit(steps="100000", step_seconds="0.02")
    thread = crew.message(runner)
    desk.wait_for_step(job_id, 5)
    runner.close()
    join(thread)
    assert desk.job(job_id).status == Status.queued
    assert desk.job(job_id).step >= 5
    assert "process_ended" not in desk.kinds(job_id)


def open_files(database: Path) -> list[str]:
    """What is open in this process, without the database: its pool holds as many connections, of
    two files each, as threads have been in it at once."""
    found = []
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):  # the one that lists them
            name = os.readlink(entry)
            if not name.startswith(str(database)):
                found.append(name)
    return found


def test_twenty_jobs_leave_no_open_file_and_no_zombie(
    desk: Desk, runner: Runner, settings: Settings
) -> None:
    database = Path(settings.database.removeprefix("sqlite:///"))
    desk.submit(steps="1", step_seconds="0")
    runner.work()
    until(lambda: waiting(runner))
    before = open_files(database)
    jobs = [desk.submit(steps="1", step_seconds="0") for _ in range(20)]
    runner.work()
    assert {desk.job(job_id).status for job_id in jobs} == {Status.succeeded}
    until(lambda: waiting(runner))
    # Threads of the worker look into a file now and then; what leaks stays open.
    until(lambda: len(open_files(database)) <= len(before))
    assert children("Z") == []


def test_it_knows_no_credentials_and_has_its_slot(
    crew: Crew, settings: Settings, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://u:hunter2@h/d")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2")
    runner = crew.hire(settings)
    runner.start()
    pid = until(lambda: waiting(runner))
    until(lambda: Path(f"/proc/{pid}/environ").read_bytes())
    environment = Path(f"/proc/{pid}/environ").read_bytes()
    assert b"hunter2" not in environment
    for name, value in runner.slots[0].environment.items():
        assert f"{name}={value}".encode() in environment


def test_without_the_setting_nothing_waits_and_jobs_run(
    crew: Crew, settings: Settings, desk: Desk
) -> None:
    runner = crew.hire(settings.model_copy(update={"warm_processes": False}))
    runner.start()
    job_id = desk.submit(steps="5")
    runner.work()
    assert desk.job(job_id).status == Status.succeeded
    assert of_the_worker(settings) == []


def test_a_killed_worker_takes_what_waits_with_it(
    desk: Desk, service: Settings, start_worker: Start
) -> None:
    worker = start_worker(service)
    until(lambda: of_the_worker(service))
    worker.kill()
    until(lambda: not of_the_worker(service))


def test_it_has_torch_loaded_and_goes_first_where_memory_runs_out_until_it_trains(
    desk: Desk, crew: Crew, settings: Settings
) -> None:
    runner = crew.hire(settings.model_copy(update={"worker_threads": 1}), TRAINING)
    runner.start()
    pid = until(lambda: waiting(runner))
    until(lambda: "libtorch_cpu" in Path(f"/proc/{pid}/maps").read_text())
    score = Path(f"/proc/{pid}/oom_score_adj")
    assert score.read_text().strip() == "1000"

    job = JobSpecification(network=MLP(features=(8,)), epochs=100_000, timesteps=1)
    job_id = desk.submit(job)  # type: ignore[arg-type]
    thread = crew.message(runner)
    until(lambda: desk.job(job_id).step > 0)
    assert desk.trainees(job_id) == [pid]
    assert score.read_text() == Path("/proc/self/oom_score_adj").read_text()
    desk.cancel(job_id)
    join(thread)
    assert not Path(f"/proc/{pid}").exists()
