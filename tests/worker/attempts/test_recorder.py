"""A database that goes away in the middle loses nothing and doubles nothing."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import select
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from api.settings import Settings
from api.store.database import Database
from api.store.jobs import leases, lifecycle
from api.store.migrate import migrate
from api.store.runs import logs, spike_stats
from api.store.tables.base import Blob
from api.store.tables.jobs import Status
from api.store.tables.results import Checkpoint
from saf.training.events import Checkpoint as CheckpointReport
from saf.training.events import SpikeStatistics, Started, Step
from tests.postgres import PostgresServer
from tests.waiting import join
from tests.worker.conftest import Crew, Desk, undisturbed
from worker.attempts.recorder import Record
from worker.processes.protocol import encode
from worker.processes.spool import Outbox


class Flaky(Database):
    """Loses the connection around each commit: before it, after it, or not at all."""

    fails: str = ""

    @contextmanager
    def writing(self, *, patience: float | None = None) -> Iterator[Session]:
        fails, self.fails = self.fails, ""
        with super().writing(patience=patience) as session:
            yield session
            if fails == "before":
                raise OperationalError("COMMIT", {}, Exception("connection lost"))
        if fails == "after":
            raise OperationalError("COMMIT", {}, Exception("connection lost"))


@pytest.mark.parametrize("fails", ["before", "after"])
def test_a_commit_that_nobody_knows_of_is_done_once(
    desk: Desk, database_url: str, tmp_path: Path, fails: str
) -> None:
    job_id = desk.submit()
    database = Flaky(database_url)
    with database.writing() as session:
        claim = lifecycle.claim(session, worker_id="w", device="cpu", lease_seconds=60)
    assert claim is not None
    outbox = Outbox(tmp_path / "spool")
    record = Record(database, desk.store, claim, outbox, notes=["a note"])
    started = Started(
        step=0,
        steps_total=9,
        steps_per_epoch=3,
        parameters=1,
        device="cpu",
        environment={"python": "3"},
    )
    file = tmp_path / "checkpoint"
    file.write_text("weights")
    outbox.put(encode(started).encode())
    for number in (1, 2):
        outbox.put(encode(Step(step=number, epoch=0, metrics={"loss": 1.0})).encode())
    look = SpikeStatistics(step=1, epoch=0, samples=1, readout_gradient_norm=math.nan, layers={})
    outbox.put(encode(look).encode())
    outbox.put_log(b"a line\n")
    outbox.put(encode(CheckpointReport(step=2, epoch=0, path=file)).encode())

    database.fails = fails
    with pytest.raises(OperationalError):
        record.write()
    outbox.put_log(b"another line\n")
    while record.write():
        pass
    record.close()

    assert desk.steps(job_id) == {"loss": [1, 2]}
    assert desk.kinds(job_id) == ["queued", "starting", "note", "running"]
    assert desk.events(job_id)[-1].data == {"environment": {"python": "3"}}
    with desk.database.reading() as session:
        assert logs.read(session, job_id).text == "a line\nanother line\n"
        (kept,) = spike_stats.read(session, job_id)
        assert (kept.attempt, kept.data["readout_gradient_norm"]) == (1, None)
        checkpoint = session.scalars(select(Checkpoint)).one()
        assert desk.files.path(checkpoint.sha256).read_text() == "weights"
        assert [blob.sha256 for blob in session.scalars(select(Blob))] == [checkpoint.sha256]
    assert not file.exists()
    assert not list(desk.files.directory.glob(".incoming-*"))
    database.dispose()


@pytest.mark.parametrize("fails", ["before", "after"])
def test_a_file_whose_commit_failed_goes_with_an_attempt_that_never_commits_it(
    desk: Desk, database_url: str, tmp_path: Path, fails: str
) -> None:
    """Another attempt took the job before this one could try again; a file whose commit was done
    after all belongs to the job."""
    desk.submit()
    database = Flaky(database_url)
    with database.writing() as session:
        claim = lifecycle.claim(session, worker_id="w", device="cpu", lease_seconds=0.0)
    assert claim is not None
    outbox = Outbox(tmp_path / "spool")
    record = Record(database, desk.store, claim, outbox)
    file = tmp_path / "checkpoint"
    file.write_text("weights")
    outbox.put(encode(CheckpointReport(step=2, epoch=0, path=file)).encode())
    database.fails = fails
    with pytest.raises(OperationalError):
        record.write()
    with desk.database.writing() as session:
        lifecycle.expire_leases(session, max_losses=5)
        lifecycle.claim(session, worker_id="another", device="cpu", lease_seconds=60.0)
    with pytest.raises(leases.Fenced):
        record.write()
    record.close()

    with desk.database.reading() as session:
        of_job = session.scalars(select(Checkpoint.sha256)).all()
        assert session.scalars(select(Blob.sha256)).all() == of_job
    assert len(of_job) == (1 if fails == "after" else 0)
    files = [path.name for path in desk.files.directory.rglob("*") if path.is_file()]
    assert files == of_job
    database.dispose()


@pytest.mark.parametrize("what", ["a point", "a line"])
def test_an_overtaken_attempt_cannot_write(desk: Desk, tmp_path: Path, what: str) -> None:
    job_id = desk.submit()
    with desk.database.writing() as session:
        claim = lifecycle.claim(session, worker_id="w", device="cpu", lease_seconds=0.0)
    assert claim is not None
    outbox = Outbox(tmp_path / "spool")
    record = Record(desk.database, desk.store, claim, outbox)
    with desk.database.writing() as session:
        lifecycle.expire_leases(session, max_losses=5)
        lifecycle.claim(session, worker_id="another", device="cpu", lease_seconds=60.0)

    if what == "a point":
        outbox.put(encode(Step(step=1, epoch=0, metrics={"loss": 1.0})).encode())
    else:
        outbox.put_log(b"a line\n")
    with pytest.raises(leases.Fenced):
        record.write()

    assert desk.steps(job_id) == {}
    with desk.database.reading() as session:
        assert logs.read(session, job_id).text == ""


def test_a_database_that_is_away_for_seconds_loses_and_doubles_nothing(
    settings_on_own_server: tuple[Settings, PostgresServer], crew: Crew
) -> None:
    settings, server = settings_on_own_server
    database = Database(settings.database)
    migrate(database)
    runner = crew.hire(settings.model_copy(update={"lease_seconds": 60.0}))
    desk = Desk(database, runner.store)
    job_id = desk.submit(steps="150", step_seconds="0.02")
    thread = crew.message(runner)
    desk.wait_for_step(job_id, 12)

    for _ in range(2):
        server.stop()
        thread.join(timeout=1.2)
        server.start()
        thread.join(timeout=0.5)
    join(thread)

    job = desk.job(job_id)
    assert (job.status, job.attempt) == (Status.succeeded, 1)
    assert desk.steps(job_id) == undisturbed(150)
    with database.reading() as session:
        assert logs.read(session, job_id).text.count("environment") == 1
    database.dispose()


@pytest.fixture
def settings_on_own_server(tmp_path: Path) -> Iterator[tuple[Settings, PostgresServer]]:
    server = PostgresServer()
    yield (
        Settings(data_dir=tmp_path, database_url=server.create_database("own")),
        server,
    )
    server.remove()


class Late(Outbox):
    """Something more is printed just after a batch was taken, once."""

    late = True

    def has_more(self) -> bool:
        if self.late:
            self.late = False
            self.put_log(b"a late line\n")
        return super().has_more()


def test_what_comes_while_the_last_batch_is_taken_is_written_too(
    desk: Desk, database: Database, tmp_path: Path
) -> None:
    job_id = desk.submit()
    with database.writing() as session:
        claim = lifecycle.claim(session, worker_id="w", device="cpu", lease_seconds=60)
    assert claim is not None
    record = Record(database, desk.store, claim, Late(tmp_path / "spool"))
    record.finish(lambda session: lifecycle.succeed(session, claim))
    with database.reading() as session:
        assert logs.read(session, job_id).text == "a late line\n"
    assert desk.job(job_id).status == Status.succeeded
