"""What a worker gives a training that starts from the checkpoint of another job."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest

from api.store.runs import checkpoints, logs
from api.store.tables.jobs import Status
from api.store.tables.results import Checkpoint
from saf.config import Init
from tests.saf.training.trainings import resolved
from tests.worker.conftest import Desk
from worker.runner import Runner

ORIGIN = checkpoints.ORIGIN


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """What is tested here does not depend on the database."""
    return sqlite_url


def keep(desk: Desk, job_id: str, directory: Path, text: str, *, step: int) -> Path:
    """Keep a file as what a job starts from; its path in the store."""
    path = directory / f"origin-{job_id}"
    path.write_text(text)
    incoming = desk.store.receive(path)
    with desk.database.writing() as session:
        sha256 = desk.store.keep(session, incoming)
        checkpoints.begin_from(session, job_id, sha256=sha256, step=step)
    stored: Path = desk.files.path(sha256)
    return stored


def start_with(desk: Desk, **metadata: str) -> str:
    return desk.submit(resolved(metadata=metadata, init=Init(job="job_source").model_dump()))


def held(desk: Desk, job_id: str) -> list[tuple[int, int]]:
    with desk.database.reading() as session:
        rows = session.query(Checkpoint).filter_by(job_id=job_id).order_by(Checkpoint.step)
        return [(row.step, row.attempt) for row in rows]


def test_a_job_starts_with_the_weights_that_it_has_kept(
    desk: Desk, runner: Runner, tmp_path: Path
) -> None:
    job_id, plain = start_with(desk), desk.submit()
    keep(desk, job_id, tmp_path, "weights", step=0)
    runner.work()
    assert desk.job(job_id).status == desk.job(plain).status == Status.succeeded
    assert desk.steps(job_id)["loss"] == list(range(1, 41))
    assert desk.artifacts(job_id)["lif.safetensors"] != desk.artifacts(plain)["lif.safetensors"]
    assert held(desk, job_id) == [(0, ORIGIN), (30, 1), (40, 1)]


def test_after_a_crash_it_goes_on_from_its_own_checkpoint(
    desk: Desk, runner: Runner, tmp_path: Path
) -> None:
    undisturbed, job_id = start_with(desk), start_with(desk, die_at="25")
    for each in (undisturbed, job_id):
        keep(desk, each, tmp_path, "weights", step=0)
    runner.work()
    desk.wait(job_id, Status.recovering, Status.succeeded)
    runner.work()
    job = desk.wait(job_id, Status.succeeded)
    assert (job.attempt, job.started_step) == (2, 20)
    assert desk.artifacts(job_id) == desk.artifacts(undisturbed)


def test_a_start_that_is_damaged_or_gone_fails_with_what_to_change(
    desk: Desk, runner: Runner, tmp_path: Path
) -> None:
    damaged, gone, removed = (start_with(desk) for _ in range(3))
    keep(desk, damaged, tmp_path, "weights", step=0).write_text("others")
    keep(desk, gone, tmp_path, "other weights", step=0).unlink()
    runner.work()
    for job_id, said in (
        (damaged, "is damaged"),
        (gone, "is not in the artifact store"),
        (removed, "was removed"),
    ):
        error = desk.wait(job_id, Status.failed).error
        assert error is not None
        assert error["code"] == "data"
        assert f"the checkpoint of job_source that the job starts from {said}" in error["message"]
        assert "another job in init" in error["hint"]


def test_a_job_goes_on_where_the_one_that_it_continues_ended_and_never_before(
    desk: Desk, runner: Runner, tmp_path: Path
) -> None:
    """Also where none of its own checkpoints can be read."""
    job_id = desk.submit(resolved(metadata={"steps": "60", "die_at": "99", "hang_at": "55"}))
    end = json.dumps({"step": 20, "state": "end of the other"})
    keep(desk, job_id, tmp_path, end, step=20)
    with desk.database.writing() as session:
        for step in (30, 40):
            sha256 = desk.store.keep(session, desk.store.receive(_written(tmp_path, step)))
            session.add(
                Checkpoint(job_id=job_id, step=step, attempt=1, sha256=sha256, created_at=1.0)
            )
            session.flush()
            desk.files.path(sha256).write_text("damaged")
    desk.pause(job_id)
    desk.resume(job_id)
    working = threading.Thread(target=runner.work)
    working.start()
    desk.wait_for_step(job_id, 50)
    desk.cancel(job_id)
    working.join()
    assert desk.steps(job_id)["loss"][0] == 21
    assert (20, ORIGIN) in held(desk, job_id)
    assert "from the checkpoint of another job" in _log(desk, job_id)


def _written(directory: Path, step: int) -> Path:
    path = directory / f"step-{step}"
    path.write_text(json.dumps({"step": step, "state": "of its own"}))
    return path


def _log(desk: Desk, job_id: str) -> str:
    with desk.database.reading() as session:
        return str(logs.tail(session, job_id, 500))
