from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import sqlite3
import tarfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from api.maintenance import backup
from api.maintenance.backup import BackupError
from api.maintenance.restore import restore
from api.settings import Settings
from api.store.blobs import references
from api.store.blobs.directory import DirectoryStore
from api.store.database import Database
from api.store.ids import new_id
from api.store.jobs import lifecycle
from api.store.migrate import migrate
from api.store.runs import artifacts
from api.store.tables.jobs import Job
from api.store.tables.results import Artifact
from api.store.tables.uploads import Dataset

Change = Callable[[list[tuple[tarfile.TarInfo, bytes]]], None]

pytestmark = pytest.mark.slow


def job(session: Any) -> str:
    row = Job(
        id=new_id("job"),
        name="a job",
        specification={"dataset": "digits"},
        method="saf-f",
        network="convnet",
        dataset="digits",
        priority=5,
        parameters=1,
        memory_bytes=1,
        latest={},
    )
    lifecycle.submit(session, row)
    return row.id


def leave(database: Database, store: DirectoryStore, name: str, content: bytes) -> None:
    """A job with one file."""
    source = store.directory.parent / "source"
    source.write_bytes(content)
    incoming = store.receive(source)
    with database.writing() as session:
        sha256 = store.keep(session, incoming)
        artifacts.register(session, job_id=job(session), name=name, kind="lif", sha256=sha256)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A data directory with three jobs and a data set that is being checked."""
    chosen = Settings(data_dir=tmp_path / "data")
    database, store = Database(chosen.database), DirectoryStore(chosen.artifacts)
    migrate(database)
    for name in ("a", "b", "c"):
        leave(database, store, name, f"content of {name}".encode() * 100)
    with database.writing() as session:
        session.add(
            Dataset(
                id="ds_1",
                name="mine",
                format="auto",
                status="checking",
                problems=[],
                upload_bytes=1,
                created_at=1.0,
            )
        )
    database.dispose()
    return chosen


@pytest.fixture
def file(settings: Settings, tmp_path: Path) -> Path:
    backup.write(settings, tmp_path / "backup.tar")
    return tmp_path / "backup.tar"


def at(tmp_path: Path, name: str = "restored") -> Settings:
    return Settings(data_dir=tmp_path / name)


def contents(settings: Settings) -> dict[str, bytes]:
    """What the artifacts hold, by name and hash."""
    database, store = Database(settings.database), DirectoryStore(settings.artifacts)
    with database.reading() as session:
        rows = session.execute(select(Artifact.name, Artifact.sha256)).all()
    database.dispose()
    return {f"{name} {sha256}": store.path(sha256).read_bytes() for name, sha256 in rows}


def test_a_restored_directory_holds_what_the_old_one_held(
    settings: Settings, file: Path, tmp_path: Path
) -> None:
    assert file.stat().st_mode & 0o077 == 0, "others may not read it"
    manifest = restore(at(tmp_path), file)
    assert len(manifest.blobs) == 3
    assert contents(at(tmp_path)) == contents(settings)
    assert {path.name for path in (tmp_path / "restored").iterdir()} == {
        "saf.sqlite3",
        "artifacts",
    }
    with sqlite3.connect(tmp_path / "restored" / "saf.sqlite3") as database:
        status, problems = database.execute("SELECT status, problems FROM datasets").fetchone()
    database.close()
    assert status == "invalid"
    assert "upload" in problems.lower()


def test_a_backup_while_jobs_come_and_go_is_of_one_moment(
    settings: Settings, tmp_path: Path
) -> None:
    database, store = Database(settings.database), DirectoryStore(settings.artifacts)
    stop = threading.Event()
    made = 0

    def churn() -> None:
        nonlocal made
        while not stop.is_set():
            leave(database, store, "new", os.urandom(1000))
            made += 1
            with database.writing() as session:
                first = session.scalar(select(Job.id).order_by(Job.id).limit(1))
                assert first is not None
                lifecycle.cancel(session, first)
                hashes = references.hashes_of_job(session, first)
                lifecycle.delete(session, first)
            store.remove_unused_of(database, hashes)

    thread = threading.Thread(target=churn)
    thread.start()
    try:
        for number in range(5):
            backup.write(settings, tmp_path / f"{number}.tar")
            restore(at(tmp_path, f"r{number}"), tmp_path / f"{number}.tar")
            assert len(contents(at(tmp_path, f"r{number}"))) in (2, 3, 4)
    finally:
        stop.set()
        thread.join()
        database.dispose()
    assert made > 0
    assert list(store.directory.glob(".backup-*")) == []


def test_a_directory_that_is_not_empty_is_left_alone(file: Path, tmp_path: Path) -> None:
    (tmp_path / "restored").mkdir()
    (tmp_path / "restored" / "notes").write_text("mine")
    with pytest.raises(BackupError, match="is not empty; name another directory"):
        restore(at(tmp_path), file)
    assert [path.name for path in (tmp_path / "restored").iterdir()] == ["notes"]


def test_a_backup_replaces_no_file_and_says_where_a_file_is_missing(
    settings: Settings, file: Path, tmp_path: Path
) -> None:
    with pytest.raises(BackupError, match="there already"):
        backup.write(settings, file)
    lost = next(p for p in Path(settings.artifacts).rglob("*") if p.is_file())
    content = lost.read_bytes()
    lost.write_bytes(b"changed")
    with pytest.raises(BackupError, match="damaged"):
        backup.write(settings, tmp_path / "other.tar")
    lost.unlink()
    with pytest.raises(BackupError, match="missing"):
        backup.write(settings, tmp_path / "other.tar")
    lost.write_bytes(content)
    assert {path.name for path in tmp_path.iterdir()} == {"data", "backup.tar"}


def test_another_database_than_sqlite_is_refused_with_what_to_use(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, database_url="postgresql+psycopg://saf@db/saf")
    with pytest.raises(BackupError, match="pg_dump"):
        backup.write(settings, tmp_path / "b.tar")
    with pytest.raises(BackupError, match="unset DATABASE_URL"):
        restore(settings, tmp_path / "b.tar")


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.6, 0.9])
def test_a_backup_that_was_cut_short_is_refused(file: Path, tmp_path: Path, share: float) -> None:
    whole = file.read_bytes()
    file.write_bytes(whole[: int(share * len(whole))])
    refused(file, tmp_path, "")


def test_every_changed_byte_that_matters_is_found(file: Path, tmp_path: Path) -> None:
    whole = file.read_bytes()
    with tarfile.open(file) as archive:
        members = archive.getmembers()
    for member in members[1:]:
        for offset in (member.offset_data, member.offset_data + member.size - 1):
            changed = bytearray(whole)
            changed[offset] ^= 1
            file.write_bytes(changed)
            refused(file, tmp_path, "is damaged")


def repack(file: Path, change: Change) -> None:
    with tarfile.open(file) as archive:
        members = []
        for info in archive:
            content = archive.extractfile(info)
            assert content is not None
            members.append((info, content.read()))
    change(members)
    with tarfile.open(file, "w") as archive:
        for info, data in members:
            info.size = len(data) if info.isreg() else 0
            archive.addfile(info, io.BytesIO(data))


def rename(members: list[Any]) -> None:
    members[2][0].name = "blobs/../../../escaped"


def absolute(members: list[Any]) -> None:
    members[2][0].name = "/tmp/escaped"


def climb(members: list[Any]) -> None:
    """The manifest agrees with the name."""
    manifest = json.loads(members[0][1])
    manifest["blobs"][0]["name"] = manifest["blobs"][0]["sha256"] = "../../escaped"
    members[0] = (members[0][0], json.dumps(manifest).encode())
    members[2][0].name = "../../escaped"


def link(members: list[Any]) -> None:
    members[2][0].type = tarfile.SYMTYPE
    members[2][0].linkname = "/etc/passwd"


def device(members: list[Any]) -> None:
    members[1][0].type = tarfile.CHRTYPE


def twice(members: list[Any]) -> None:
    members.append(members[2])


def more(members: list[Any]) -> None:
    members.append((tarfile.TarInfo("more"), b"more"))


def newer(members: list[Any]) -> None:
    manifest = json.loads(members[0][1]) | {"version": 2}
    members[0] = (members[0][0], json.dumps(manifest).encode())


def deep(members: list[Any]) -> None:
    members[0] = (members[0][0], b"[" * 100_000)


def unknown_tables(members: list[Any]) -> None:
    manifest = json.loads(members[0][1]) | {"revision": "9999"}
    members[0] = (members[0][0], json.dumps(manifest).encode())


def no_manifest(members: list[Any]) -> None:
    del members[0]


@pytest.mark.parametrize(
    "change",
    [
        rename,
        absolute,
        climb,
        link,
        device,
        twice,
        more,
        newer,
        deep,
        unknown_tables,
        no_manifest,
    ],
)
def test_a_hostile_backup_is_refused_and_writes_nowhere(
    file: Path, tmp_path: Path, change: Change
) -> None:
    repack(file, change)
    refused(file, tmp_path, "cannot be restored")


def with_database(file: Path, tmp_path: Path, statements: str) -> None:
    """Put another database into a backup, with hashes that agree."""

    def change(members: list[tuple[tarfile.TarInfo, bytes]]) -> None:
        path = tmp_path / "changed.sqlite3"
        path.write_bytes(members[1][1])
        connection = sqlite3.connect(path)
        connection.executescript(statements)
        connection.close()
        content = path.read_bytes()
        path.unlink()
        manifest = json.loads(members[0][1])
        manifest["database"]["bytes"] = len(content)
        manifest["database"]["sha256"] = hashlib.sha256(content).hexdigest()
        members[0] = (members[0][0], json.dumps(manifest).encode())
        members[1] = (members[1][0], content)

    repack(file, change)


@pytest.mark.parametrize(
    ("statements", "says"),
    [
        ("CREATE TRIGGER t AFTER UPDATE ON jobs BEGIN DELETE FROM jobs; END", "other tables"),
        ("CREATE VIEW v AS SELECT 1", "other tables"),
        ("DROP TABLE events", "other tables"),
        (f"UPDATE artifacts SET sha256 = '{'0' * 64}'", "damaged"),
        (
            "PRAGMA foreign_keys=OFF; INSERT INTO blobs (sha256, bytes, created_at) "
            f"VALUES ('{'0' * 64}', 1, 1); "
            f"UPDATE artifacts SET sha256 = '{'0' * 64}' WHERE name = 'a'",
            "which is not in it",
        ),
        ("UPDATE blobs SET bytes = bytes + 1", "bytes"),
        ("UPDATE jobs SET status = 'bogus' WHERE name = 'a job'", "status is 'bogus'"),
        ("UPDATE jobs SET specification = '[1]'", "specification is no JSON object"),
        ("UPDATE jobs SET specification = '{oops'", "specification is no JSON object"),
        ('UPDATE jobs SET latest = \'{"loss": "low"}\'', "latest holds values"),
        ("UPDATE jobs SET created_at = 9e999", "created_at is not finite"),
        ("UPDATE jobs SET step = 'many'", "step is no integer"),
        ("UPDATE jobs SET attempt = -1", "attempt is -1, out of its range"),
        (
            "PRAGMA foreign_keys=OFF; UPDATE artifacts SET id = '../x' WHERE name = 'a'",
            "is no identifier",
        ),
        ("UPDATE events SET data = '\"x\"'", "data is no JSON object"),
        ("UPDATE datasets SET problems = '{}'", "problems is no JSON list"),
        ("UPDATE datasets SET summary = '{\"shape\": 3}'", "summary has no shape"),
        (
            "INSERT INTO metric_chunks"
            " (job_id, name, attempt, first_step, last_step, count, points)"
            " SELECT id, 'loss', 1, 1, 2, 2, x'00' FROM jobs",
            "points are not as many",
        ),
    ],
)
def test_a_database_that_the_service_did_not_make_is_refused(
    file: Path, tmp_path: Path, statements: str, says: str
) -> None:
    with_database(file, tmp_path, statements)
    refused(file, tmp_path, says)


def test_what_is_no_backup_at_all_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "file"
    for content in (b"", b"nonsense" * 1000, bytes(10240)):
        file.write_bytes(content)
        refused(file, tmp_path, "cannot be restored")


def refused(file: Path, tmp_path: Path, says: str) -> None:
    """In one line, and nothing is left behind or written elsewhere."""
    before = {path for path in tmp_path.rglob("*") if "data" not in path.parts}
    with pytest.raises(BackupError) as caught:
        restore(at(tmp_path), file)
    message = str(caught.value)
    assert says in message
    assert "\n" not in message
    assert len(message) < 400
    assert {path for path in tmp_path.rglob("*") if "data" not in path.parts} == before
    assert not Path("/tmp/escaped").exists()
    shutil.rmtree(tmp_path / "restored", ignore_errors=True)


def test_a_backup_does_not_leave_out_the_files_of_a_bucket_in_silence(
    settings: Settings, bucket: str, tmp_path: Path
) -> None:
    database = Database(settings.database)
    migrate(database)
    database.dispose()
    elsewhere = settings.model_copy(update={"artifacts_url": bucket})
    with pytest.raises(BackupError, match=f"these are in {bucket}; copy the database first"):
        backup.write(elsewhere, tmp_path / "backup")
    assert not (tmp_path / "backup").exists()
    with pytest.raises(BackupError, match="unset DATABASE_URL and ARTIFACTS_URL"):
        restore(elsewhere, tmp_path / "backup")


def test_odd_rows_are_restored_where_that_is_asked_for(file: Path, tmp_path: Path) -> None:
    with_database(file, tmp_path, "UPDATE jobs SET status = 'bogus'")
    there = Settings(data_dir=tmp_path / "there")
    with pytest.raises(BackupError, match="and 2 more rows; --keep-unreadable"):
        restore(there, file)
    restore(there, file, keep_unreadable=True)
    database = Database(there.database)
    with database.reading() as session:
        assert set(session.scalars(select(Job.status))) == {"bogus"}
    database.dispose()
