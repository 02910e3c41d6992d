from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import select

from api.settings import Settings
from api.store.blobs import references
from api.store.blobs.base import ArtifactStore
from api.store.blobs.open import open_store
from api.store.database import Database
from api.store.jobs import lifecycle
from api.store.runs import artifacts
from api.store.tables.base import Blob
from tests.api.store.conftest import files

Submit = Callable[..., str]
NOWHERE = 64 * "0"


def keep(database: Database, store: ArtifactStore, job_id: str, name: str, file: Path) -> str:
    incoming = store.receive(file)
    with database.writing() as session:
        sha256 = store.keep(session, incoming)
        artifacts.register(session, job_id=job_id, name=name, kind="report", sha256=sha256)
    return sha256


def delete(database: Database, store: ArtifactStore, job_id: str) -> int:
    with database.writing() as session:
        return store.remove_unused(session, lifecycle.delete(session, job_id))


def test_the_same_content_is_stored_once_and_goes_with_its_last_job(
    database: Database, store: ArtifactStore, submit: Submit, tmp_path: Path
) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"weights")
    first, second = submit(), submit()
    sha256 = keep(database, store, first, "a", file)
    assert keep(database, store, second, "b", file) == sha256
    with store.open(sha256) as opened:
        assert opened.read() == b"weights"
    assert files(store) == {sha256}
    assert list(store.old_leftovers(-1e9)) == []
    for job_id in (first, second):
        with database.writing() as session:
            lifecycle.cancel(session, job_id)
    assert delete(database, store, first) == 0
    assert store.find(sha256) is not None
    assert delete(database, store, second) == 7
    assert store.find(sha256) is None
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
        assert references.hashes_of_job(session, job_id) == [sha256]


def test_a_file_that_cannot_be_read_leaves_nothing_behind(
    store: ArtifactStore, tmp_path: Path
) -> None:
    with pytest.raises(OSError, match="missing"):
        store.receive(tmp_path / "missing")
    assert files(store) == set()
    assert list(store.old_leftovers(-1e9)) == []


def test_a_file_is_read_from_any_position(store: ArtifactStore, tmp_path: Path) -> None:
    content = bytes(range(256)) * 1000
    (tmp_path / "file").write_bytes(content)
    incoming = store.receive(tmp_path / "file")
    store._place(incoming)
    assert incoming.sha256 == hashlib.sha256(content).hexdigest()
    found = store.find(incoming.sha256)
    assert found is not None
    assert found.bytes == len(content)
    with store.open(incoming.sha256) as opened:
        assert opened.read(10) == content[:10]
        opened.seek(-300, os.SEEK_END)
        assert opened.read() == content[-300:]
        opened.seek(100_000)
        assert opened.read(70_000) == content[100_000:170_000]
    assert store.local(incoming.sha256).read_bytes() == content


def test_a_file_that_is_not_there_is_told_from_a_store_that_is_not(
    store: ArtifactStore, tmp_path: Path
) -> None:
    (tmp_path / "file").write_bytes(b"weights")
    store._place(store.receive(tmp_path / "file"))
    assert store.find(NOWHERE) is None
    for look in (store.open, store.local):
        with pytest.raises(FileNotFoundError):
            look(NOWHERE)


def test_what_was_received_twice_and_given_up_once_is_kept(
    database: Database, store: ArtifactStore, submit: Submit, tmp_path: Path
) -> None:
    (tmp_path / "one").write_bytes(b"weights")
    (tmp_path / "two").write_bytes(b"weights")
    given_up, incoming = store.receive(tmp_path / "one"), store.receive(tmp_path / "two")
    store.discard(given_up)
    job_id = submit()
    with database.writing() as session:
        sha256 = store.keep(session, incoming)
        artifacts.register(session, job_id=job_id, name="a", kind="lif", sha256=sha256)
    store.discard(incoming)
    assert store.find(sha256) is not None
    assert (tmp_path / "two").exists()


@pytest.mark.parametrize(
    ("address", "remedy"),
    [
        ("ftp://somewhere/else", "give a directory"),
        ("s3://", "s3://BUCKET/PREFIX"),
        ("s3://bucket/saf?versionId=3", "s3://BUCKET/PREFIX"),
        ("s3://key:the-secret@bucket/saf", "AWS_ACCESS_KEY_ID"),
    ],
)
def test_an_address_of_no_store_is_refused_with_the_remedy(address: str, remedy: str) -> None:
    with pytest.raises(ValueError, match=remedy) as refusal:
        open_store(Settings(artifacts_url=address))
    assert "the-secret" not in str(refusal.value)


def test_a_bucket_without_its_library_is_refused_with_the_remedy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delitem(sys.modules, "api.store.blobs.s3", raising=False)
    monkeypatch.setitem(sys.modules, "botocore", None)
    with pytest.raises(ValueError, match="scripts/install s3"):
        open_store(Settings(artifacts_url="s3://bucket/saf"))
