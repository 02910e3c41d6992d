"""What only a bucket can do wrong."""

from __future__ import annotations

import hashlib
import logging
import os
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from api.maintenance.collector import Janitor
from api.settings import Settings
from api.store.blobs.base import ArtifactStore, StoreError
from api.store.blobs.open import open_store
from api.store.blobs.s3 import BucketStore
from api.store.blobs.verified import DamagedError
from api.store.database import Database
from api.store.tables.base import Blob
from tests.api.store.conftest import files
from tests.chaos.proxy import Proxy
from tests.s3 import SECRET, S3Server
from tests.waiting import until


@pytest.fixture
def database_url(postgres_url: str) -> str:
    """What is tested here does not depend on the database."""
    return postgres_url


@pytest.fixture
def store(bucket: str, tmp_path: Path) -> BucketStore:
    found = open_store(Settings(data_dir=tmp_path, artifacts_url=bucket))
    assert isinstance(found, BucketStore)
    return found


@pytest.fixture
def proxy(s3: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    """The network between the store and its server; request it before `store`."""
    proxy = Proxy(s3.port)
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{proxy.port}")
    yield proxy
    proxy.close()


def put(store: ArtifactStore, tmp_path: Path, content: bytes) -> str:
    (tmp_path / "source").write_bytes(content)
    incoming = store.receive(tmp_path / "source")
    store._place(incoming)
    return incoming.sha256


def test_a_large_file_goes_in_parts_and_arrives_whole(
    store: BucketStore, s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.store.blobs.s3.PART_BYTES", 5 * 2**20)  # the least that S3 takes
    content = os.urandom(2**20) * 11
    sent: list[Any] = []
    store._files.meta.events.register(
        "before-send.s3.UploadPart",
        lambda request, **_: sent.append(request.headers["X-Amz-Content-SHA256"]),
    )
    sha256 = put(store, tmp_path, content)
    assert len(sent) == 3
    assert sent[0] == hashlib.sha256(content[: 5 * 2**20]).hexdigest().encode(), "it is compared"
    assert store.local(sha256).read_bytes() == content
    assert list(store.old_leftovers(-1e9)) == []


def test_a_file_that_is_removed_between_receiving_and_keeping_is_sent_again(
    store: BucketStore, database: Database, tmp_path: Path
) -> None:
    (tmp_path / "source").write_bytes(b"weights")
    incoming = store.receive(tmp_path / "source")
    with database.writing() as session:
        assert store.remove_orphan(session, incoming.sha256)
    assert files(store) == set()
    with database.writing() as session:
        sha256 = store.keep(session, incoming)
    assert store.local(sha256).read_bytes() == b"weights"


def test_what_nothing_refers_to_goes_after_the_grace_time_and_nothing_else(
    store: BucketStore, database: Database, s3: S3Server, tmp_path: Path
) -> None:
    kept = put(store, tmp_path, b"kept")
    with database.writing() as session:
        session.add(Blob(sha256=kept, bytes=4, created_at=4e9))
    orphan = put(store, tmp_path, b"an orphan")
    name = store.address.split("/")[2]
    foreign = ["saf/ab/notes.txt", f"other/{orphan[:2]}/{orphan}", f"saf/{orphan}"]
    for key in foreign:
        s3.client.put_object(Bucket=name, Key=key, Body=b"not ours")

    def janitor(hours: float) -> Janitor:
        return Janitor(database, store, Settings(data_dir=tmp_path, gc_grace_hours=hours))

    assert list(janitor(1).find()) == []
    # This server says of every upload in parts that it began in 2010.
    upload = s3.client.create_multipart_upload(Bucket=name, Key="saf/ab/half")
    part = {"UploadId": upload["UploadId"], "PartNumber": 1}
    s3.client.upload_part(Bucket=name, Key="saf/ab/half", Body=b"12345", **part)
    soon = janitor(0.01 / 3600)
    until(lambda: len(list(soon.find())) == 2)
    assert soon.collect() == {"file without row": 9, "temporary file": 5}
    assert list(soon.find()) == []
    assert set(s3.keys(name)) == {f"saf/{kept[:2]}/{kept}", *foreign}
    with database.reading() as session:
        assert session.scalars(select(Blob.sha256)).all() == [kept]


def test_a_damaged_object_is_never_handed_out(
    store: BucketStore, s3: S3Server, tmp_path: Path
) -> None:
    sha256 = put(store, tmp_path, b"weights")
    name = store.address.split("/")[2]
    s3.client.put_object(Bucket=name, Key=f"saf/{sha256[:2]}/{sha256}", Body=b"nothing")
    with pytest.raises(DamagedError):
        store.local(sha256, tmp_path / "work")
    assert not list((tmp_path / "cache").iterdir())
    assert not (tmp_path / "work").exists()


def every_use(store: BucketStore, tmp_path: Path) -> Iterator[Callable[[], Any]]:
    (tmp_path / "file").write_bytes(b"weights")
    yield store.check
    for use in (store.find, store.open, store.local, store._remove):
        yield lambda use=use: use(64 * "0")  # type: ignore[misc]
    yield lambda: store.receive(tmp_path / "file")
    yield lambda: list(store.old_files(0))
    yield lambda: list(store.old_leftovers(0))


@pytest.mark.parametrize(
    ("trouble", "said"),
    [
        ("the bucket is gone", "there is no such bucket"),
        ("wrong credentials", "credentials"),
        ("no credentials", "without credentials; set AWS_ACCESS_KEY_ID"),
        ("the network is cut", "does not answer"),
        ("no S3", "there is no such bucket"),
    ],
)
def test_a_store_that_cannot_be_used_says_why_in_one_line_without_secrets(
    trouble: str,
    said: str,
    proxy: Proxy,
    bucket: str,
    s3: S3Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """And no use takes it for a file that is missing, which would end a job for good."""
    caplog.set_level(logging.INFO)
    if trouble == "no credentials":
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    if trouble == "no S3":
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"{s3.url}/moto-api/nothing")
    store = open_store(Settings(data_dir=tmp_path, artifacts_url=bucket))
    if trouble == "the bucket is gone":
        s3.client.delete_bucket(Bucket=bucket.split("/")[2])
    elif trouble == "the network is cut":
        proxy.cut()
    elif trouble == "wrong credentials":
        _ask_for_credentials(s3, True)
    try:
        for use in every_use(store, tmp_path):  # type: ignore[arg-type]
            with pytest.raises(StoreError, match=said) as error:
                use()
            assert "\n" not in str(error.value)
            assert bucket in str(error.value)
            chain = f"{error.value!r} {error.value.__cause__!r}"
            assert SECRET not in chain
            assert "Signature" not in chain.replace("SignatureDoesNotMatch", "")
    finally:
        _ask_for_credentials(s3, False)
    assert SECRET not in caplog.text


def _ask_for_credentials(s3: S3Server, wanted: bool) -> None:
    """Let the server accept only those that it has given out, which are none."""
    request = urllib.request.Request(
        f"{s3.url}/moto-api/reset-auth",
        data=b"0" if wanted else b"inf",
        headers={"content-type": "text/plain"},
        method="POST",
    )
    urllib.request.urlopen(request).close()


def test_a_read_that_is_cut_off_goes_on_where_it_stopped(
    proxy: Proxy, store: BucketStore, tmp_path: Path
) -> None:
    content = os.urandom(8 * 2**20)
    sha256 = put(store, tmp_path, content)
    with store.open(sha256) as opened:
        begin = opened.read(100_000)
        proxy.cut()
        proxy.heal()
        assert begin + opened.read() == content


def test_the_region_is_taken_from_either_of_its_variables(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv("AWS_REGION", raising=False)
        monkeypatch.setenv(name, "eu-north-1")
        store = open_store(Settings(data_dir=tmp_path, artifacts_url=bucket))
        assert store._s3.meta.region_name == "eu-north-1"  # type: ignore[attr-defined]
