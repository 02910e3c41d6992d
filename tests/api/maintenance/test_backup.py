from __future__ import annotations

import os
import sqlite3
import threading
from pathlib import Path

import pytest
from sqlalchemy import select

from api.maintenance import backup
from api.maintenance.backup import BackupError
from api.maintenance.restore import restore
from api.settings import Settings
from api.store.blobs import references
from api.store.blobs.directory import DirectoryStore
from api.store.database import Database
from api.store.jobs import lifecycle
from api.store.migrate import migrate
from api.store.tables.jobs import Job
from tests.api.maintenance.backups import at, contents, file, leave, settings

pytestmark = pytest.mark.slow
__all__ = ["file", "settings"]


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
