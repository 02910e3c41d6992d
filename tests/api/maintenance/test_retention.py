from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update

from api.maintenance.collector import Janitor
from api.settings import Settings
from api.store.blobs import references
from api.store.blobs.base import ArtifactStore
from api.store.blobs.directory import DirectoryStore
from api.store.database import Database, now
from api.store.ids import new_id
from api.store.jobs import lifecycle
from api.store.runs import artifacts, checkpoints, logs, metrics
from api.store.tables.base import Blob
from api.store.tables.jobs import Job, Status
from api.store.tables.results import Artifact, Checkpoint, LogChunk, MetricChunk
from api.store.tables.uploads import Dataset
from tests.api.store.conftest import files
from tests.waiting import until

Submit = Callable[..., str]
LONG_AGO = 1_000_000_000.0


def keep(store: ArtifactStore, database: Database, content: bytes, tmp_path: Path) -> str:
    """A file with a row, and nothing that refers to it."""
    (tmp_path / "source").write_bytes(content)
    incoming = store.receive(tmp_path / "source")
    with database.writing() as session:
        return store.keep(session, incoming)


def finish(
    store: ArtifactStore, database: Database, submit: Submit, tmp_path: Path, end: str = "succeed"
) -> str:
    """A job that left two checkpoints, an artifact, metrics and a log, and ended long ago."""
    job_id = submit()
    with database.writing() as session:
        claim = lifecycle.claim(session, worker_id="wrk_1", device="cpu", lease_seconds=600)
    assert claim is not None
    for step in (1, 2):
        sha256 = keep(store, database, f"{job_id} {step}".encode(), tmp_path)
        with database.writing() as session:
            checkpoints.add(session, claim, step=step, sha256=sha256)
    sha256 = keep(store, database, f"{job_id} lif".encode(), tmp_path)
    with database.writing() as session:
        artifacts.register(session, job_id=job_id, name="lif", kind="lif", sha256=sha256)
        metrics.append(session, job_id, claim.attempt, {"loss": [(1, 2.0)]})
        logs.append(session, job_id, claim.attempt, "a line\n")
        if end == "succeed":
            lifecycle.succeed(session, claim)
        elif end == "fail":
            lifecycle.fail(session, claim, code="data", message="m", hint="h")
    with database.writing() as session:
        if end != "run":
            session.execute(update(Job).where(Job.id == job_id).values(finished_at=LONG_AGO))
        session.execute(update(Blob).values(created_at=LONG_AGO))
    return job_id


def janitor(database: Database, store: ArtifactStore, tmp_path: Path, **settings: Any) -> Janitor:
    return Janitor(database, store, Settings(data_dir=tmp_path, **settings))


def found(cleaner: Janitor) -> list[tuple[str, str]]:
    return [(item.kind, item.name) for item in cleaner.find()]


def sound(database: Database, store: ArtifactStore) -> bool:
    """Every file that a row refers to is there."""
    with database.reading() as session:
        hashes = {h for c in references.REFERRING for h in session.scalars(select(c)) if h}
    return all(store.find(sha256) is not None for sha256 in hashes)


def test_by_default_only_superseded_checkpoints_of_succeeded_jobs_go(
    database: Database, store: ArtifactStore, submit: Submit, tmp_path: Path
) -> None:
    succeeded = finish(store, database, submit, tmp_path)
    failed = finish(store, database, submit, tmp_path, "fail")
    finish(store, database, submit, tmp_path, "run")
    cleaner = janitor(database, store, tmp_path)
    (item,) = cleaner.find()
    assert (item.kind, item.name) == ("checkpoint", f"{succeeded} step 1")
    assert item.bytes == len(f"{succeeded} 1")
    assert found(cleaner), "a look removes nothing"
    assert cleaner.collect() == {"checkpoint": item.bytes}
    assert found(cleaner) == []
    with database.reading() as session:
        rows = session.execute(select(Checkpoint.job_id, Checkpoint.step)).all()
        assert session.scalar(select(Blob).where(Blob.sha256.not_in(_used(session)))) is None
    assert (succeeded, 2) in rows
    assert {step for job_id, step in rows if job_id == failed} == {1, 2}
    assert sound(database, store)


def _used(session: Any) -> set[str]:
    return {h for c in references.REFERRING for h in session.scalars(select(c)) if h}


def test_each_setting_lets_go_its_own_of_jobs_that_have_ended(
    database: Database, store: ArtifactStore, submit: Submit, tmp_path: Path
) -> None:
    ended = finish(store, database, submit, tmp_path, "fail")
    running = finish(store, database, submit, tmp_path, "run")
    one = {"metrics": MetricChunk, "logs": LogChunk}
    for name, table in one.items():
        freed = janitor(database, store, tmp_path, **{f"retain_{name}_days": 1}).collect()
        assert sum(freed.values()) > 0
        with database.reading() as session:
            assert set(session.scalars(select(table.job_id))) == {running}  # type: ignore[attr-defined]
    janitor(database, store, tmp_path, retain_artifacts_days=1).collect()
    with database.reading() as session:
        assert set(session.scalars(select(Artifact.job_id))) == {running}
        assert set(session.scalars(select(Checkpoint.job_id))) == {running}
        assert session.get_one(Job, ended).status == Status.failed
    assert sound(database, store)
    assert len(files(store)) == 3


def test_data_sets_go_when_they_are_invalid_or_unused_for_long(
    database: Database, store: ArtifactStore, submit: Submit, tmp_path: Path
) -> None:
    rows = {"invalid": "invalid", "unused": "ready", "needed": "ready", "young": "invalid"}
    ids = {}
    for name, status in rows.items():
        sha256 = keep(store, database, name.encode(), tmp_path) if status == "ready" else None
        ids[name] = new_id("ds")
        with database.writing() as session:
            at = session.scalar(select(now())) if name == "young" else LONG_AGO
            session.add(
                Dataset(
                    id=ids[name],
                    name=name,
                    format="npz",
                    status=status,
                    problems=[],
                    upload_bytes=1,
                    sha256=sha256,
                    created_at=at,
                    checked_at=at,
                )
            )
    job_id = submit()
    with database.writing() as session:
        session.execute(update(Job).where(Job.id == job_id).values(dataset_id=ids["needed"]))
    cleaner = janitor(database, store, tmp_path)
    assert found(cleaner) == [("data set", f"{ids['invalid']} invalid")]
    cleaner = janitor(database, store, tmp_path, retain_unused_datasets_days=30)
    items = list(cleaner.find())
    assert {item.name for item in items} == {f"{ids[n]} {n}" for n in ("invalid", "unused")}
    with database.writing() as session:  # a job that is submitted between the look and the removal
        session.execute(update(Job).where(Job.id == job_id).values(dataset_id=ids["unused"]))
    removed = {item.name: item.remove() for item in items}
    assert removed[f"{ids['unused']} unused"] is False
    assert removed[f"{ids['invalid']} invalid"] is True
    assert sound(database, store)


@pytest.mark.parametrize("store", ["directory"], indirect=True)
def test_files_that_nothing_refers_to_go_after_the_grace_time_and_not_before(
    database: Database, store: DirectoryStore, submit: Submit, tmp_path: Path
) -> None:
    finish(store, database, submit, tmp_path, "run")
    unused = keep(store, database, b"unused", tmp_path)
    orphan = "ab" + 62 * "0"
    (store.directory / "ab").mkdir(exist_ok=True)
    files = [store.path(orphan), store.directory / ".incoming-1"]
    for file in files:
        file.write_bytes(b"12345")
    foreign = store.directory / "ab" / "notes.txt"
    foreign.write_text("not ours")
    (store.directory / ".backup-1").mkdir()
    cleaner = janitor(database, store, tmp_path)
    assert found(cleaner) == []
    with database.writing() as session:
        session.execute(update(Blob).where(Blob.sha256 == unused).values(created_at=LONG_AGO))
    for path in (*files, foreign, store.directory / ".backup-1"):
        os.utime(path, (LONG_AGO, LONG_AGO))
    assert {(kind, name) for kind, name in found(cleaner)} == {
        ("unused file", unused),
        ("file without row", orphan),
        ("temporary file", ".incoming-1"),
        ("temporary folder", ".backup-1"),
    }
    assert sum(cleaner.collect().values()) == 6 + 5 + 5
    assert found(cleaner) == []
    assert foreign.exists()
    assert not store.path(unused).exists()
    assert sound(database, store)


def test_a_file_that_a_job_stores_again_between_the_look_and_the_removal_stays(
    database: Database, store: ArtifactStore, submit: Submit, tmp_path: Path
) -> None:
    content = b"the same weights"
    sha256 = keep(store, database, content, tmp_path)
    orphan_source = tmp_path / "orphan"
    orphan_source.write_bytes(b"an orphan")
    orphan = store.receive(orphan_source)
    store._place(orphan)
    cleaner = janitor(database, store, tmp_path, gc_grace_hours=0.1 / 3600)
    # A bucket tells the age of its files in whole seconds, the database that of their rows exactly.
    until(lambda: {item.name for item in cleaner.find()} == {sha256, orphan.sha256})
    items = list(cleaner.find())
    job_id = submit()
    for name, source in (("a", tmp_path / "source"), ("b", orphan_source)):
        incoming = store.receive(source)
        with database.writing() as session:
            kept = store.keep(session, incoming)
            artifacts.register(session, job_id=job_id, name=name, kind="lif", sha256=kept)
    assert [item.remove() for item in items] == [False, False]
    assert sound(database, store)


def test_an_orphan_is_removed_before_a_job_that_waits_for_its_key_writes_it_anew(
    database: Database, store: ArtifactStore, submit: Submit, tmp_path: Path
) -> None:
    import threading

    job_id = submit()
    source = tmp_path / "orphan"
    source.write_bytes(b"an orphan")
    store._place(store.receive(source))
    incoming = store.receive(source)
    begun = threading.Event()

    def store_again() -> None:
        begun.set()
        with database.writing() as session:
            kept = store.keep(session, incoming)
            artifacts.register(session, job_id=job_id, name="a", kind="lif", sha256=kept)

    job = threading.Thread(target=store_again)
    with database.writing() as session:
        assert store.remove_orphan(session, incoming.sha256)
        job.start()
        begun.wait()
        job.join(0.3)
        assert job.is_alive(), "it waits for the key"
    job.join()
    with store.open(incoming.sha256) as opened:
        assert opened.read() == b"an orphan"
    assert sound(database, store)


KILLED = """
import os, signal, sys
from pathlib import Path
from sqlalchemy import event
from api.maintenance.collector import Janitor
from api.settings import Settings
from api.store.blobs.base import ArtifactStore
from api.store.blobs.directory import DirectoryStore
from api.store.database import Database

url, directory = sys.argv[1], Path(sys.argv[2])
settings = Settings(data_dir=directory, retain_artifacts_days=1, retain_metrics_days=1)

def collect(left):
    def step(*_):
        nonlocal left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
    database = Database(url)
    event.listen(database.writer, "commit", step)
    sys.addaudithook(lambda name, _: step() if name == "os.remove" else None)
    Janitor(database, DirectoryStore(str(directory / "artifacts")), settings).collect()

for line in sys.stdin:
    child = os.fork()
    if not child:
        collect(int(line))
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@pytest.mark.parametrize("store", ["directory"], indirect=True)
def test_a_collection_that_is_killed_at_any_point_loses_nothing_that_is_referred_to(
    database: Database, database_url: str, store: ArtifactStore, submit: Submit, tmp_path: Path
) -> None:
    """Killed before its first, second, third … commit or removal of a file."""
    kept = finish(store, database, submit, tmp_path, "run")
    finish(store, database, submit, tmp_path)
    cleaner = janitor(database, store, tmp_path, retain_artifacts_days=1, retain_metrics_days=1)
    ends: list[Any] = []
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, database_url, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as collector:
        assert collector.stdin is not None
        assert collector.stdout is not None
        while not ends or ends[-1] != 0:
            print(len(ends), file=collector.stdin, flush=True)
            ends.append(int(collector.stdout.readline()))
            assert sound(database, store), ends
        collector.stdin.close()
    assert ends.count(-signal.SIGKILL) == len(ends) - 1 >= 4
    cleaner.collect()
    assert found(cleaner) == []
    with database.reading() as session:
        assert set(session.scalars(select(Artifact.job_id))) == {kept}
        assert set(session.scalars(select(Blob.sha256))) == _used(session)
    assert len(files(store)) == 3


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("store", ["directory"], indirect=True)
def test_folders_of_processes_that_are_gone_go_and_those_that_are_held_stay(
    database: Database, store: ArtifactStore, tmp_path: Path
) -> None:
    from api.host.lock import DirectoryLock

    held = tmp_path / "work" / "wrk_held"
    lock = DirectoryLock(held)
    for path in (tmp_path / "uploads" / "ds_gone", tmp_path / "work" / "wrk_gone"):
        path.mkdir(parents=True)
        (path / "file").write_bytes(b"1234")
        (path / "lock").touch()
        os.utime(path, (LONG_AGO, LONG_AGO))
    os.utime(held, (LONG_AGO, LONG_AGO))
    (tmp_path / "uploads" / "ds_young").mkdir()
    cleaner = janitor(database, store, tmp_path)
    assert found(cleaner) == [("upload", "ds_gone"), ("working folder", "wrk_gone")]
    assert cleaner.collect() == {"upload": 4, "working folder": 4}
    lock.release()
    assert held.is_dir()
    assert (tmp_path / "uploads" / "ds_young").is_dir()
