"""Attempts under a supervisor, with a real training process, on both databases."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import threading
import time

import pytest
from sqlalchemy import select

from api.settings import Settings
from api.store.runs import logs
from api.store.tables.jobs import Job, Status
from api.store.tables.results import Checkpoint
from api.store.tables.uploads import Dataset
from tests.saf.training.trainings import resolved
from tests.waiting import join, until
from tests.worker.conftest import Crew, Desk, undisturbed
from worker.runner import Runner


def final_state(steps: int) -> bytes:
    state = "seed"
    for step in range(1, steps + 1):
        state = hashlib.sha256(f"{state}{step}".encode()).hexdigest()
    return state.encode()


def test_a_job_succeeds_with_all_its_metrics_files_and_events(desk: Desk, runner: Runner) -> None:
    job_id = desk.submit(steps="40")

    runner.work()

    job = desk.job(job_id)
    assert job.status == Status.succeeded
    assert (job.step, job.steps_total, job.epoch, job.attempt) == (40, 40, 4.0, 1)
    assert job.best_accuracy == 0.04
    assert job.latest == {"loss": 1 / 40, "train_loss": 1 / 40, "val_accuracy": 0.04}
    assert desk.steps(job_id) == undisturbed(40)
    assert desk.artifacts(job_id) == {"lif.safetensors": final_state(40)}
    assert desk.kinds(job_id) == ["queued", "starting", "running", "converting", "succeeded"]
    assert desk.events(job_id)[-1].data["summary"] == {"val_accuracy": 0.04, "odd": None}
    assert desk.processes(job_id) == []


def test_nothing_is_left_on_disk_but_what_rows_refer_to(
    desk: Desk, runner: Runner, settings: Settings
) -> None:
    job_id = desk.submit(steps="60")

    runner.work()

    with desk.database.reading() as session:
        kept = {checkpoint.step for checkpoint in session.scalars(select(Checkpoint))}
        hashes = set(session.scalars(select(Checkpoint.sha256)))
    assert kept == {50, 60}
    files = {path.name for path in desk.files.directory.rglob("*") if path.is_file()}
    assert files == hashes | {hashlib.sha256(final_state(60)).hexdigest()}
    assert not list((settings.data_dir / "work").rglob(f"{job_id}*"))


def test_the_training_process_has_no_credentials(
    desk: Desk, runner: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    secrets = {
        "DATABASE_URL": "postgresql://u:hunter2@h/d",
        "SAF_BROKER_URL": "redis://:hunter2@h",
        "AWS_SECRET_ACCESS_KEY": "hunter2",
        "PGPASSWORD": "hunter2",
    }
    for name, value in secrets.items():
        monkeypatch.setenv(name, value)
    job_id = desk.submit(steps="1")

    runner.work()

    with desk.database.reading() as session:
        text = logs.read(session, job_id).text
    line = next(line for line in text.splitlines() if line.startswith("environment"))
    environment = json.loads(line.removeprefix("environment"))
    assert "hunter2" not in text
    assert not {name for name in environment if name.endswith("_URL")}
    assert environment["PATH"] == os.environ["PATH"]
    assert int(environment["OMP_NUM_THREADS"]) >= 1


def test_an_error_of_the_training_is_the_jobs_error(desk: Desk, runner: Runner) -> None:
    job_id = desk.submit(diverge_at="7")

    runner.work()

    job = desk.job(job_id)
    assert job.status == Status.failed
    assert job.error == {
        "code": "diverged",
        "message": "the loss is NaN at step 7",
        "hint": "lower the learning rate",
    }
    assert desk.steps(job_id)["loss"] == list(range(1, 8))


def test_a_defect_is_internal_and_its_traceback_is_in_the_log(desk: Desk, runner: Runner) -> None:
    job_id = desk.submit(crash_at="3")

    runner.work()

    job = desk.job(job_id)
    assert job.status == Status.failed
    assert job.error is not None
    assert job.error["code"] == "internal"
    assert job.error["message"] == "RuntimeError: a defect"
    with desk.database.reading() as session:
        assert "Traceback" in logs.read(session, job_id).text


def test_killed_training_process_goes_on_from_its_checkpoint(desk: Desk, runner: Runner) -> None:
    job_id = desk.submit(steps="30", step_seconds="0.04", die_at="25")

    runner.work()

    job = desk.job(job_id)
    assert job.status == Status.succeeded
    assert job.attempt == 2
    assert job.started_step == 20
    assert desk.steps(job_id) == undisturbed(30)
    assert desk.attempts(job_id, "loss") == {1: list(range(1, 21)), 2: list(range(21, 31))}
    assert desk.artifacts(job_id) == {"lif.safetensors": final_state(30)}
    ended = next(event for event in desk.events(job_id) if event.type == "process_ended")
    assert "SIGKILL" in ended.data["reason"]
    assert "environment" in ended.data["log_tail"]
    assert "recovering" in desk.kinds(job_id)


def test_a_process_that_always_dies_fails_as_worker_lost(
    desk: Desk, crew: Crew, settings: Settings
) -> None:
    job_id = desk.submit(steps="9", die_at="1")

    crew.hire(settings.model_copy(update={"max_losses": 1})).work()

    job = desk.job(job_id)
    assert job.status == Status.failed
    assert job.attempt == 2
    assert job.error is not None
    assert job.error["code"] == "worker_lost"


def test_a_damaged_checkpoint_is_passed_over_with_a_line_in_the_timeline(
    desk: Desk, runner: Runner, crew: Crew
) -> None:
    job_id = desk.submit(steps="40", hang_at="35")
    thread = crew.message(runner)
    desk.wait_for_step(job_id, 35)
    with desk.database.reading() as session:
        newest = session.scalars(
            select(Checkpoint).where(Checkpoint.job_id == job_id).order_by(Checkpoint.step.desc())
        ).first()
    assert newest is not None
    assert newest.step == 30
    desk.files.path(newest.sha256).write_text("damaged")
    with desk.database.writing() as session:
        job = session.get_one(Job, job_id)
        job.specification = {**job.specification, "metadata": {"steps": "40"}}
    os.kill(leader(desk, job_id), signal.SIGKILL)

    join(thread)

    job = desk.job(job_id)
    assert job.status == Status.succeeded
    assert job.started_step == 20
    note = next(event for event in desk.events(job_id) if event.type == "note")
    assert note.data["text"] == "the checkpoint of step 30 is damaged; it is passed over"
    assert desk.steps(job_id) == undisturbed(40)
    assert desk.artifacts(job_id) == {"lif.safetensors": final_state(40)}


def test_cancel_kills_the_whole_group_though_it_ignores_term(
    desk: Desk, runner: Runner, crew: Crew
) -> None:
    job_id = desk.submit(steps="100000", ignore_term="yes", ignore_stop="yes", grandchild="yes")
    thread = crew.message(runner)
    desk.wait_for_step(job_id, 1)
    assert len(desk.processes(job_id)) == 2

    desk.cancel(job_id)
    until(lambda: desk.job(job_id).status == Status.cancelled)
    assert desk.processes(job_id) == []

    join(thread)
    assert desk.kinds(job_id)[-2:] == ["cancelling", "cancelled"]


def test_paused_job_goes_on_where_it_was_when_it_is_resumed(
    desk: Desk, runner: Runner, crew: Crew
) -> None:
    job_id = desk.submit(steps="40", hold_at="25")
    thread = crew.message(runner)
    desk.wait_for_step(job_id, 5)
    desk.pause(job_id)
    paused = desk.wait(job_id, Status.paused)
    join(thread)
    assert desk.processes(job_id) == []
    assert 5 <= paused.step < 40

    desk.resume(job_id)
    runner.work()

    job = desk.job(job_id)
    assert job.status == Status.succeeded
    assert job.started_step == paused.step
    assert desk.steps(job_id) == undisturbed(40)
    assert desk.artifacts(job_id) == {"lif.safetensors": final_state(40)}


def test_a_check_under_way_is_shown_paused_and_done_anew_when_the_job_is_resumed(
    desk: Desk, runner: Runner, crew: Crew, settings: Settings
) -> None:
    job_id = desk.submit(steps="10", step_seconds="0.02", samples_to_check="100000")
    thread = crew.message(runner)
    until(lambda: (desk.job(job_id).checked or 0) >= 100)
    assert desk.job(job_id).status == Status.converting
    assert desk.job(job_id).to_check == 100_000
    before = desk.job(job_id).lease_until
    assert before is not None
    until(lambda: (desk.job(job_id).lease_until or 0) > before)  # it is renewed meanwhile
    desk.pause(job_id)
    paused = desk.wait(job_id, Status.paused)
    join(thread)
    assert desk.processes(job_id) == []
    assert (paused.checked or 0) < 100_000

    desk.resume(job_id)
    again = crew.hire(settings)
    thread = crew.message(again)
    desk.wait(job_id, Status.converting)
    again.close()  # a worker that leaves hands it back
    join(thread)
    assert desk.job(job_id).status == Status.queued
    thread = crew.message(crew.hire(settings))
    desk.wait(job_id, Status.converting)
    desk.cancel(job_id)
    assert desk.wait(job_id, Status.cancelled).step == 10
    join(thread)
    assert desk.processes(job_id) == []
    assert desk.artifacts(job_id) == {}


def test_a_worker_that_closes_hands_the_job_back_with_a_checkpoint(
    desk: Desk, runner: Runner, crew: Crew, settings: Settings
) -> None:
    job_id = desk.submit(steps="40", hold_at="25")
    thread = crew.message(runner)
    desk.wait_for_step(job_id, 5)

    runner.close()
    join(thread)
    assert desk.job(job_id).status == Status.queued
    handed_back_at = desk.job(job_id).step

    crew.hire(settings).work()
    job = desk.job(job_id)
    assert job.status == Status.succeeded
    assert job.started_step == handed_back_at
    assert desk.steps(job_id) == undisturbed(40)


def test_a_training_that_ignores_its_time_limit_is_ended(
    desk: Desk, crew: Crew, settings: Settings
) -> None:
    job_id = desk.submit(resolved(max_runtime_seconds=0.1, metadata={"steps": "100000"}))

    crew.hire(settings.model_copy(update={"stop_grace_seconds": 0.1})).work()

    job = desk.job(job_id)
    assert job.status == Status.failed
    assert job.error is not None
    assert job.error["code"] == "time_limit"


def test_a_flood_of_log_lines_is_cut_with_a_note(desk: Desk, runner: Runner) -> None:
    job_id = desk.submit(steps="2", print_at_1="0123456789", times="600000")

    runner.work()

    with desk.database.reading() as session:
        text = logs.tail(session, job_id, 100).text
    assert desk.job(job_id).status == Status.succeeded
    assert len(text) < 5.1 * 2**20
    assert text.endswith("what follows was left out]\n")


def test_a_long_line_survives_that_its_process_is_suspended_in_the_middle_of_it(
    desk: Desk, runner: Runner, crew: Crew
) -> None:
    job_id = desk.submit(steps="9", step_seconds="0.05", print_at_1="0123456789", times="300000")
    thread = crew.message(runner)
    until(lambda: desk.trainees(job_id))
    while thread.is_alive():
        for pid in desk.trainees(job_id):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
                time.sleep(0.002)
                os.kill(pid, signal.SIGCONT)
        time.sleep(0.002)

    with desk.database.reading() as session:
        text = logs.tail(session, job_id, 100).text
    assert "0123456789" * 300_000 + "\n" in text


def test_a_data_set_whose_file_is_gone_is_an_error_of_the_data(desk: Desk, runner: Runner) -> None:
    job_id = desk.submit()
    with desk.database.writing() as session:
        session.add(
            Dataset(
                id="ds_1",
                name="mine",
                format="npz",
                status="ready",
                problems=[],
                summary=None,
                upload_bytes=1,
                created_at=0.0,
            )
        )
        session.flush()
        session.get_one(Job, job_id).dataset_id = "ds_1"

    runner.work()

    job = desk.job(job_id)
    assert job.status == Status.failed
    assert job.error is not None
    assert job.error["code"] == "data"


def leader(desk: Desk, job_id: str) -> int:
    return next(pid for pid in desk.processes(job_id) if os.getpgid(pid) == pid)


def test_an_attempt_whose_lease_has_no_thread_fails_and_leaves_none(
    desk: Desk, runner: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = desk.submit()
    start = threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        if thread.name == "lease":
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    runner.work()

    assert [thread for thread in threading.enumerate() if thread.name == "lease"] == []
    assert desk.job(job_id).status == Status.failed
