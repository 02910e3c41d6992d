"""Files that change where they lie: broken on purpose in a directory, in a bucket, in a cache."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from api.settings import Settings
from api.store.blobs import verified
from api.store.blobs.base import ArtifactStore
from api.store.blobs.damage import DamageRecord
from api.store.blobs.directory import DirectoryStore
from api.store.blobs.open import open_store
from api.store.blobs.s3 import BucketStore
from api.store.blobs.verified import DamagedError
from api.store.database import Database
from api.store.tables.base import Blob

SMALL = b"weights of a network, in a small file"
LARGE = os.urandom(2**20) * 3


def _flipped(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "a flipped bit": _flipped,
    "cut short": lambda content: content[:-1],
    "made longer": lambda content: content + b"\0",
    "emptied": lambda _content: b"",
    "another file": lambda content: bytes(len(content)),
}


def keep(store: ArtifactStore, database: Database, tmp_path: Path, content: bytes) -> str:
    (tmp_path / "source").write_bytes(content)
    incoming = store.receive(tmp_path / "source")
    with database.writing() as session:
        return store.keep(session, incoming)


def overwrite(store: ArtifactStore, sha256: str, content: bytes) -> None:
    """Change a file where it lies, as a disk or another program would."""
    if isinstance(store, BucketStore):
        key = store._key(sha256)
        store._s3.put_object(Bucket=store._bucket, Key=key, Body=content)
    else:
        assert isinstance(store, DirectoryStore)
        store.path(sha256).write_bytes(content)


def is_marked(database: Database, sha256: str) -> bool:
    with database.reading() as session:
        return session.get_one(Blob, sha256).damaged_at is not None


@pytest.mark.parametrize("content", [SMALL, LARGE], ids=["small", "large"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_never_handed_out_and_the_same_content_heals_it(
    store: ArtifactStore, database: Database, tmp_path: Path, content: bytes, damage: str
) -> None:
    store.damaged = DamageRecord(database).found
    sha256 = keep(store, database, tmp_path, content)
    overwrite(store, sha256, DAMAGES[damage](content))
    for use in (store.open, store.local, lambda name: store.local(name, tmp_path / "work")):
        with pytest.raises(DamagedError, match=sha256):
            use(sha256)
    assert is_marked(database, sha256)
    assert keep(store, database, tmp_path, content) == sha256
    assert not is_marked(database, sha256)
    with store.open(sha256) as opened:
        assert opened.read() == content
    assert store.local(sha256).read_bytes() == content


def test_a_file_that_was_good_and_changes_is_compared_again(
    database: Database, tmp_path: Path
) -> None:
    store = DirectoryStore(str(tmp_path / "artifacts"))
    sha256 = keep(store, database, tmp_path, LARGE)
    _age(store.path(sha256))
    assert store.local(sha256).read_bytes() == LARGE
    overwrite(store, sha256, _flipped(LARGE))
    with pytest.raises(DamagedError):
        store.local(sha256)


def test_a_large_file_is_compared_once_for_each_process(database: Database, tmp_path: Path) -> None:
    """So that what changes without any trace is left to `saf scrub`, as is promised."""
    store = DirectoryStore(str(tmp_path / "artifacts"))
    sha256 = keep(store, database, tmp_path, LARGE)
    path = store.path(sha256)
    _age(path)
    store.local(sha256)
    before = path.stat()
    path.write_bytes(_flipped(LARGE))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert store.local(sha256) == path
    with pytest.raises(DamagedError):
        DirectoryStore(str(tmp_path / "artifacts")).local(sha256)


def test_a_file_that_changes_while_it_is_read_ends_the_reading(
    database: Database, tmp_path: Path
) -> None:
    store = DirectoryStore(str(tmp_path / "artifacts"))
    sha256 = keep(store, database, tmp_path, LARGE)
    with store.open(sha256) as opened:
        assert opened.read(1000) == LARGE[:1000]
        store.path(sha256).write_bytes(_flipped(LARGE))
        with pytest.raises(DamagedError, match="changed while it was read"):
            opened.read()


def test_a_damaged_copy_in_the_cache_is_fetched_again(
    bucket: str, sqlite_url: str, tmp_path: Path
) -> None:
    settings = Settings(data_dir=tmp_path, artifacts_url=bucket)
    store = open_store(settings)
    (tmp_path / "source").write_bytes(LARGE)
    sha256 = store.receive(tmp_path / "source").sha256
    copy = store.local(sha256)
    copy.chmod(0o600)
    copy.write_bytes(_flipped(LARGE))
    assert store.local(sha256).read_bytes() == LARGE
    copy.chmod(0o600)
    copy.write_bytes(LARGE[:100])
    another_process = open_store(settings)
    with another_process.open(sha256) as opened:
        assert opened.read() == LARGE


def test_waiting_for_a_large_file_ends_when_nobody_wants_it_any_more(
    database: Database, tmp_path: Path
) -> None:
    store = DirectoryStore(str(tmp_path / "artifacts"))
    sha256 = keep(store, database, tmp_path, LARGE)
    with pytest.raises(InterruptedError):
        store.local(sha256, unwanted=lambda: True)


def _age(path: Path) -> None:
    """Let the file be one that did not change just now."""
    before = time.time() - 10 * verified.SETTLED_SECONDS
    os.utime(path, (before, before))
