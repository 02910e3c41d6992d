"""A worker whose files are in a bucket: fetched, waited for, given up."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select

from api.settings import Settings
from api.store.blobs.open import open_store
from api.store.database import Database, now
from api.store.ids import new_id
from api.store.runs import logs
from api.store.tables.base import Blob
from api.store.tables.jobs import Job, Status
from api.store.tables.results import Checkpoint
from api.store.tables.uploads import Dataset
from tests.chaos.proxy import Proxy
from tests.s3 import S3Server
from tests.waiting import join, until
from tests.worker.conftest import Crew, Desk, undisturbed
from tests.worker.test_full_disk import notes


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """What is tested here does not depend on the database."""
    return sqlite_url


@pytest.fixture
def network(s3: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    """What lies between the worker and the bucket."""
    proxy = Proxy(s3.port)
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{proxy.port}")
    yield proxy
    proxy.close()


@pytest.fixture
def settings(settings: Settings, bucket: str, network: Proxy) -> Settings:
    return settings.model_copy(update={"artifacts_url": bucket})


@pytest.fixture
def desk(database: Database, settings: Settings) -> Desk:
    return Desk(database, open_store(settings))


def checkpoints(desk: Desk, job_id: str) -> list[Checkpoint]:
    with desk.database.reading() as session:
        query = select(Checkpoint).where(Checkpoint.job_id == job_id)
        return list(session.scalars(query.order_by(Checkpoint.step)))


def upload(desk: Desk, content: bytes, directory: Path) -> str:
    """A data set that jobs can refer to; its id."""
    (directory / "upload").write_bytes(content)
    incoming = desk.store.receive(directory / "upload")
    dataset_id = new_id("ds")
    with desk.database.writing() as session:
        sha256 = desk.store.keep(session, incoming)
        session.add(
            Dataset(
                id=dataset_id,
                name="mine",
                format="npz",
                status="ready",
                problems=[],
                upload_bytes=len(content),
                sha256=sha256,
                created_at=session.scalar(select(now())),
                checked_at=session.scalar(select(now())),
            )
        )
    return dataset_id


def submit_with(desk: Desk, dataset_id: str, **metadata: str) -> str:
    job_id = desk.submit(**metadata)
    with desk.database.writing() as session:
        session.get_one(Job, job_id).dataset_id = dataset_id
    return job_id


def test_a_bucket_that_is_away_pauses_the_job_and_loses_nothing(
    network: Proxy, settings: Settings, desk: Desk, crew: Crew, tmp_path: Path
) -> None:
    told = tmp_path / "told"
    dataset_id = upload(desk, b"samples", tmp_path)
    runner = crew.hire(settings)
    job_id = submit_with(desk, dataset_id, steps="60", hold_at="25", hold_until=str(told))
    network.cut()
    crew.message(runner)

    until(lambda: notes(desk, job_id))

    (note,) = notes(desk, job_id)
    assert note.startswith(f"the job waits: {desk.store.address} does not answer")
    network.heal()
    desk.wait_for_step(job_id, 5)
    (fetched,) = (settings.data_dir / "work").glob(f"*/{job_id}-1/fetched/*")
    assert fetched.read_bytes() == b"samples"
    network.cut()  # while it trains
    told.touch()
    until(lambda: len(notes(desk, job_id)) == 2)
    network.heal()
    job = desk.wait(job_id, Status.succeeded)

    assert job.attempt == 1
    assert desk.steps(job_id) == undisturbed(60)
    assert [checkpoint.step for checkpoint in checkpoints(desk, job_id)][-1] == 60
    until(lambda: not list((settings.data_dir / "work").glob(f"*/{job_id}-1")))
    with desk.database.reading() as session:
        printed = logs.read(session, job_id).text
    assert "environment" in printed
    assert "AWS_" not in printed, "a training knows nothing of the bucket"
    assert [path.read_bytes() for path in (settings.data_dir / "cache").iterdir()] == [b"samples"]


def test_a_job_goes_on_from_a_checkpoint_in_the_bucket_and_passes_over_a_damaged_one(
    s3: S3Server, settings: Settings, desk: Desk, crew: Crew
) -> None:
    job_id = desk.submit(steps="40", hang_at="35")
    thread = crew.message(crew.hire(settings))
    desk.wait_for_step(job_id, 35)
    until(lambda: [c.step for c in checkpoints(desk, job_id)] == [20, 30])
    newest = checkpoints(desk, job_id)[-1].sha256
    _, _, name, prefix = desk.store.address.split("/")
    s3.client.put_object(Bucket=name, Key=f"{prefix}/{newest[:2]}/{newest}", Body=b"damaged")
    with desk.database.writing() as session:
        job = session.get_one(Job, job_id)
        job.specification = {**job.specification, "metadata": {"steps": "40"}}
    for pid in desk.trainees(job_id):
        os.kill(pid, signal.SIGKILL)

    join(thread)

    job = desk.job(job_id)
    assert (job.status, job.started_step) == (Status.succeeded, 20)
    assert "the checkpoint of step 30 is damaged; it is passed over" in notes(desk, job_id)
    assert desk.steps(job_id) == undisturbed(40)
    with desk.database.reading() as session:
        kept = {c.sha256 for c in session.scalars(select(Checkpoint))}
    assert all(desk.store.find(sha256) for sha256 in kept)


def test_a_data_set_that_is_not_in_the_bucket_fails_the_job_with_the_remedy(
    settings: Settings, desk: Desk, crew: Crew, tmp_path: Path
) -> None:
    dataset_id = upload(desk, b"samples", tmp_path)
    with desk.database.reading() as session:
        dataset = session.get_one(Dataset, dataset_id)
        assert dataset.sha256 is not None
        desk.store._remove(dataset.sha256)
    job_id = submit_with(desk, dataset_id, steps="40")
    crew.message(crew.hire(settings))

    job = desk.wait(job_id, Status.failed)

    assert job.error is not None
    assert job.error["code"] == "data"
    assert "is not in the artifact store" in job.error["message"]


def test_a_job_that_fetches_a_large_data_set_can_be_paused(
    network: Proxy, settings: Settings, desk: Desk, crew: Crew, tmp_path: Path
) -> None:
    dataset_id = upload(desk, b"samples" * 2**20, tmp_path)
    runner = crew.hire(settings)
    network.delay(0.05)  # of every 64 KiB: it would take 5 s and more
    job_id = submit_with(desk, dataset_id, steps="40")
    crew.message(runner)
    until(lambda: list((settings.data_dir / "cache").glob(".part-*")))

    desk.pause(job_id)

    job = desk.wait(job_id, Status.paused)
    assert (job.step, job.attempt) == (0, 1)
    assert not list((settings.data_dir / "cache").iterdir())
    network.heal()
    desk.resume(job_id)
    until(lambda: runner.work() or desk.job(job_id).status == Status.succeeded)
    assert desk.steps(job_id) == undisturbed(40)


def test_a_copy_that_is_damaged_while_a_job_trains_on_it_is_fetched_again(
    settings: Settings, desk: Desk, crew: Crew, tmp_path: Path
) -> None:
    dataset_id = upload(desk, b"samples", tmp_path)
    runner = crew.hire(settings)
    job_id = submit_with(desk, dataset_id, steps="40", hold_at="25")
    crew.message(runner)
    desk.wait_for_step(job_id, 12)
    (copy,) = (settings.data_dir / "cache").iterdir()
    with copy.open("r+b") as file:
        file.write(b"S")

    until(lambda: desk.job(job_id).status == Status.recovering)
    until(lambda: runner.work() or desk.job(job_id).status == Status.succeeded)

    assert desk.job(job_id).attempt == 2
    assert desk.steps(job_id) == undisturbed(40)
    assert copy.read_bytes() == b"samples"
    with desk.database.reading() as session:
        (dataset,) = session.scalars(select(Dataset.sha256))
        assert session.get_one(Blob, dataset).damaged_at is None, "the bucket's is whole"
