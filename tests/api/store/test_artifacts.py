from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import select

from api.store import artifacts, lifecycle
from api.store.artifacts import ArtifactStore
from api.store.database import Database
from api.store.tables import Blob

Submit = Callable[..., str]


def keep(database: Database, store: ArtifactStore, job_id: str, name: str, file: Path) -> str:
    incoming = store.receive(file)
    with database.writing() as session:
        sha256 = store.keep(session, incoming)
        artifacts.register(session, job_id=job_id, name=name, kind="report", sha256=sha256)
    return sha256


def delete(database: Database, store: ArtifactStore, job_id: str) -> int:
    with database.writing() as session:
        hashes = artifacts.hashes_of_job(session, job_id)
        lifecycle.delete(session, job_id)
        return store.remove_unused(session, hashes)


def test_the_same_content_is_stored_once_and_goes_with_its_last_job(
    database: Database, store: ArtifactStore, submit: Submit, tmp_path: Path
) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"weights")
    first, second = submit(), submit()
    sha256 = keep(database, store, first, "a", file)
    assert keep(database, store, second, "b", file) == sha256
    assert store.path(sha256).read_bytes() == b"weights"
    assert [path.name for path in store.directory.rglob("*") if path.is_file()] == [sha256]
    for job_id in (first, second):
        with database.writing() as session:
            lifecycle.cancel(session, job_id)
    assert delete(database, store, first) == 0
    assert store.path(sha256).exists()
    assert delete(database, store, second) == 7
    assert not store.path(sha256).exists()
    with database.reading() as session:
        assert session.scalars(select(Blob)).all() == []


def test_a_file_of_the_same_name_is_replaced(
    database: Database, store: ArtifactStore, submit: Submit, tmp_path: Path
) -> None:
    job_id = submit()
    for content in (b"one", b"two"):
        (tmp_path / "file").write_bytes(content)
        sha256 = keep(database, store, job_id, "report.json", tmp_path / "file")
    with database.reading() as session:
        assert artifacts.hashes_of_job(session, job_id) == [sha256]


def test_a_file_that_cannot_be_read_leaves_nothing_behind(
    store: ArtifactStore, tmp_path: Path
) -> None:
    with pytest.raises(OSError, match="missing"):
        store.receive(tmp_path / "missing")
    assert list(store.directory.iterdir()) == []


def test_an_address_that_is_no_directory_is_refused_with_the_remedy() -> None:
    with pytest.raises(ValueError, match="give a directory"):
        ArtifactStore("ftp://somewhere/else")
