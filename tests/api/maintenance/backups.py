"""A data directory, its backup, and how a backup is refused."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from api.maintenance import backup
from api.maintenance.backup import BackupError
from api.maintenance.restore import restore
from api.settings import Settings
from api.store.blobs.directory import DirectoryStore
from api.store.database import Database
from api.store.ids import new_id
from api.store.jobs import lifecycle
from api.store.migrate import migrate
from api.store.runs import artifacts
from api.store.tables.jobs import Job
from api.store.tables.results import Artifact
from api.store.tables.uploads import Dataset


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
