"""Data sets that are damaged before, while and after a job trains on them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import select, update

from api.store.tables import Blob, Checkpoint, Dataset, Job, Status
from saf.data import Dataset as Samples
from saf.data import save
from tests.worker.conftest import Crew, Desk, until
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
        f"x_{split}": random.integers(0, 255, (count, 3, 32, 32), np.uint8)
        for split, count in (("train", 900), ("test", 100))
    }
    labels = {"y_train": np.arange(900) % 2, "y_test": np.arange(100) % 2}
    saved = save(Samples(**samples, **labels, class_names=("a", "b")), tmp_path / "data")
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
    path: Path = desk.store.path(sha256)
    os.utime(path, (0, 0))
    return path


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
    desk: Desk, crew: Crew, runner: Runner, stored: Path, damage: Callable[[Path], None]
) -> None:
    job_id = submit(desk, steps="4000", step_seconds="0.05")

    def kept() -> list[int]:
        with desk.database.reading() as session:
            return list(session.scalars(select(Checkpoint.step)))

    crew.message(runner)
    before = until(kept)
    damage(stored)

    until(lambda: desk.job(job_id).status == Status.failed)

    assert_failed_for_its_data(desk, job_id)
    assert max(kept()) <= max(before) + 10, "no checkpoint of what came after was kept"


def test_a_data_set_that_is_damaged_at_the_end_is_noticed_before_the_job_succeeds(
    desk: Desk, crew: Crew, runner: Runner, stored: Path
) -> None:
    job_id = submit(desk, steps="40", step_seconds="0.02")
    crew.message(runner)
    desk.wait(job_id, Status.running)
    flip(stored)

    until(lambda: desk.job(job_id).status in (Status.failed, Status.succeeded))

    assert_failed_for_its_data(desk, job_id)


def test_a_data_set_that_is_only_touched_does_not_end_a_job(
    desk: Desk, crew: Crew, runner: Runner, stored: Path
) -> None:
    job_id = submit(desk, steps="40", step_seconds="0.02")
    crew.message(runner)
    desk.wait(job_id, Status.running)
    os.utime(stored)

    desk.wait(job_id, Status.succeeded)
