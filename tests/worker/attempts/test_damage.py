"""Data sets that are damaged before, while and after a job trains on them."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import select, update

from api.settings import Settings
from api.store.tables.base import Blob
from api.store.tables.jobs import Job, Status
from api.store.tables.results import Checkpoint
from api.store.tables.uploads import Dataset
from saf.data import Dataset as Samples
from saf.data import save
from tests.waiting import until
from tests.worker.attempts.test_supervisor import final_state
from tests.worker.conftest import Crew, Desk, undisturbed
from worker.runner import Runner


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """What is tested here does not depend on the database."""
    return sqlite_url


@pytest.fixture
def stored(desk: Desk, tmp_path: Path) -> Path:
    """The file in the store of a data set `ds_1`, of 3 MB."""
    random = np.random.default_rng(0)
    samples = {
        split: random.integers(0, 255, (count, 3, 32, 32), np.uint8)
        for split, count in (("train", 900), ("test", 100))
    }
    dataset = Samples(
        x_train=samples["train"],
        y_train=np.arange(900) % 2,
        x_test=samples["test"],
        y_test=np.arange(100) % 2,
        class_names=("a", "b"),
    )
    saved = save(dataset, tmp_path / "data")
    incoming = desk.store.receive(tmp_path / "data")
    with desk.database.writing() as session:
        sha256 = desk.store.keep(session, incoming)
        session.add(
            Dataset(
                id="ds_1",
                name="mine",
                format="npz",
                status="ready",
                problems=[],
                upload_bytes=saved.bytes,
                sha256=sha256,
                created_at=0.0,
            )
        )
    path: Path = desk.files.path(sha256)
    os.utime(path, (0, 0))
    return path


def checkpoints(desk: Desk, job_id: str) -> list[Checkpoint]:
    with desk.database.reading() as session:
        query = select(Checkpoint).where(Checkpoint.job_id == job_id)
        return list(session.scalars(query.order_by(Checkpoint.step)))


def flip(path: Path) -> None:
    """14 kB of other bytes in the middle of a file."""
    with path.open("r+b") as file:
        file.seek(1_500_000)
        found = file.read(14_000)
        file.seek(1_500_000)
        file.write(bytes(byte ^ 0x55 for byte in found))


def submit(desk: Desk, **metadata: str) -> str:
    job_id = desk.submit(**metadata)
    with desk.database.writing() as session:
        session.execute(update(Job).where(Job.id == job_id).values(dataset_id="ds_1"))
    return job_id


def assert_failed_for_its_data(desk: Desk, job_id: str) -> None:
    job = desk.job(job_id)
    assert (job.status, (job.error or {})["code"]) == (Status.failed, "data")
    assert "the data set mine is damaged" in (job.error or {})["message"]
    assert "upload the original files again" in (job.error or {})["hint"]
    assert desk.artifacts(job_id) == {}
    assert desk.processes(job_id) == []


def test_a_job_does_not_train_on_a_data_set_that_was_damaged(
    desk: Desk, runner: Runner, stored: Path
) -> None:
    job_id = submit(desk, steps="20")
    flip(stored)

    runner.work()

    assert_failed_for_its_data(desk, job_id)
    assert "running" not in desk.kinds(job_id)
    with desk.database.reading() as session:
        assert session.get_one(Blob, stored.name).damaged_at is not None


@pytest.mark.parametrize("damage", [flip, lambda path: os.truncate(path, 1_000_000)])
def test_a_data_set_that_is_damaged_while_a_job_trains_ends_the_job_and_leaves_no_file(
    desk: Desk,
    crew: Crew,
    runner: Runner,
    stored: Path,
    damage: Callable[[Path], None],
    tmp_path: Path,
) -> None:
    damaged = tmp_path / "damaged"
    job_id = submit(desk, steps="100000", hold_at="15", hold_until=str(damaged))

    def kept() -> list[int]:
        with desk.database.reading() as session:
            return list(session.scalars(select(Checkpoint.step)))

    crew.message(runner)
    until(kept)
    damage(stored)
    damaged.touch()

    until(lambda: desk.job(job_id).status == Status.failed)

    assert_failed_for_its_data(desk, job_id)
    assert kept() == [10], "no checkpoint of what came after was kept"


def test_a_data_set_that_is_damaged_at_the_end_is_noticed_before_the_job_succeeds(
    desk: Desk, crew: Crew, runner: Runner, stored: Path, tmp_path: Path
) -> None:
    damaged = tmp_path / "damaged"
    job_id = submit(desk, steps="40", hold_at="35", hold_until=str(damaged))
    crew.message(runner)
    desk.wait(job_id, Status.running)
    flip(stored)
    damaged.touch()

    until(lambda: desk.job(job_id).status in (Status.failed, Status.succeeded))

    assert_failed_for_its_data(desk, job_id)


def swap(path: Path) -> None:
    """A whole file in the place of one that was damaged, as when the same data are uploaded."""
    whole = path.with_name("whole")
    whole.write_bytes(path.read_bytes())
    flip(path)
    whole.rename(path)


def flip_twice(path: Path) -> None:
    flip(path)
    flip(path)


@pytest.mark.parametrize("harm", [flip_twice, swap, os.utime])
def test_what_was_computed_while_a_data_set_may_have_been_damaged_is_not_kept(
    desk: Desk, crew: Crew, runner: Runner, stored: Path, harm: Callable[[Path], None]
) -> None:
    job_id = submit(desk, steps="40", hold_at="25")
    crew.message(runner)
    desk.wait_for_step(job_id, 12)

    harm(stored)  # between two looks of the worker
    until(lambda: desk.job(job_id).status == Status.recovering)
    until(lambda: runner.work() or desk.job(job_id).status == Status.succeeded)

    job = desk.job(job_id)
    assert (job.attempt, job.started_step % 10) == (2, 0)
    assert desk.steps(job_id) == undisturbed(40)
    (why,) = [e.data["reason"] for e in desk.events(job_id) if e.type == Status.recovering]
    assert why.startswith("the file of its data set was written to while the attempt read it")


def test_the_same_data_uploaded_again_disturb_no_job(
    desk: Desk, crew: Crew, runner: Runner, stored: Path, tmp_path: Path
) -> None:
    uploaded = tmp_path / "uploaded"
    job_id = submit(desk, steps="60", hold_at="25", hold_until=str(uploaded))
    crew.message(runner)
    desk.wait_for_step(job_id, 12)
    (tmp_path / "again").write_bytes(stored.read_bytes())
    incoming = desk.store.receive(tmp_path / "again")
    with desk.database.writing() as session:
        desk.store.keep(session, incoming)
    uploaded.touch()

    desk.wait(job_id, Status.succeeded)

    assert desk.job(job_id).attempt == 1


def test_a_checkpoint_that_is_damaged_after_it_was_verified_is_not_gone_on_from(
    desk: Desk, crew: Crew, settings: Settings, tmp_path: Path
) -> None:
    """Between the worker's look and the training's."""
    damaged = tmp_path / "damaged"
    job_id = desk.submit(steps="60", resume_after=str(damaged), spin_at="25")
    runner = crew.hire(settings)
    crew.message(runner)
    desk.wait_for_step(job_id, 25)
    until(lambda: [c.step for c in checkpoints(desk, job_id)] == [10, 20])
    for pid in desk.trainees(job_id):
        os.kill(pid, signal.SIGKILL)
    until(lambda: list((settings.data_dir / "work").glob(f"*/{job_id}-2/order.json")))
    newest = desk.files.path(checkpoints(desk, job_id)[-1].sha256)
    saved = json.loads(newest.read_text())
    newest.write_text(json.dumps(saved | {"state": "damaged"}))
    damaged.touch()
    until(lambda: runner.work() or desk.job(job_id).status == Status.succeeded)

    assert (desk.job(job_id).attempt, desk.job(job_id).started_step) == (3, 10)
    assert desk.steps(job_id) == undisturbed(60)
    assert desk.artifacts(job_id) == {"lif.safetensors": final_state(60)}
