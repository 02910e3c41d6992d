"""`saf scrub` on stores that were damaged on purpose."""

from __future__ import annotations

import json
import os
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from api.maintenance.scrub import scrub
from api.settings import Settings
from api.store.blobs.base import ArtifactStore
from api.store.blobs.directory import DirectoryStore
from api.store.blobs.open import open_store
from api.store.database import Database
from api.store.migrate import migrate
from api.store.tables.base import Blob
from api.store.tables.jobs import Job
from api.store.tables.results import Artifact, Checkpoint
from api.store.tables.uploads import Dataset
from saf.cli.main import app
from tests.api.maintenance.backups import job

LARGE = bytes(range(256)) * 8192


class Place:
    """A data directory with a data set, a job that trained on it, and its files."""

    def __init__(self, data_dir: Path) -> None:
        self.settings = Settings(data_dir=data_dir)
        self.database = Database(self.settings.database)
        migrate(self.database)
        store = open_store(self.settings)
        assert isinstance(store, DirectoryStore)
        self.store = store
        self.files: dict[str, str] = {}
        for name in ("data set", "network", "old checkpoint", "checkpoint"):
            self.files[name] = keep(self.store, self.database, name.encode() + LARGE)
        with self.database.writing() as session:
            session.add(
                Dataset(
                    id="ds_1",
                    name="mine",
                    format="npz",
                    status="ready",
                    problems=[],
                    upload_bytes=1,
                    sha256=self.files["data set"],
                    created_at=0.0,
                )
            )
            self.job_id = job(session)
            session.get_one(Job, self.job_id).dataset_id = "ds_1"
            session.add(
                Artifact(
                    id="art_1",
                    job_id=self.job_id,
                    name="lif.safetensors",
                    kind="network",
                    sha256=self.files["network"],
                    created_at=0.0,
                )
            )
            for step, name in ((10, "old checkpoint"), (20, "checkpoint")):
                session.add(
                    Checkpoint(
                        job_id=self.job_id,
                        step=step,
                        attempt=1,
                        sha256=self.files[name],
                        created_at=0.0,
                    )
                )

    def path(self, name: str) -> Path:
        return self.store.path(self.files[name])

    def run(self, *arguments: str) -> tuple[int, str]:
        """`saf scrub`, its exit status and what it printed."""
        found = CliRunner().invoke(
            app, ["scrub", "--data-dir", str(self.settings.data_dir), *arguments]
        )
        return found.exit_code, found.output

    def marked(self) -> set[str]:
        with self.database.reading() as session:
            return {
                name
                for name, sha256 in self.files.items()
                if session.get_one(Blob, sha256).damaged_at is not None
            }


def keep(store: ArtifactStore, database: Database, content: bytes) -> str:
    assert isinstance(store, DirectoryStore)
    source = store.directory.parent / "source"
    source.write_bytes(content)
    with database.writing() as session:
        sha256 = store.keep(session, store.receive(source))
    source.unlink()
    return sha256


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path / "data")


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_a_sound_store_is_said_to_be_sound(place: Place) -> None:
    status, said = place.run()
    assert status == 0
    assert said.startswith("4 files, 8.0 MiB: all of them what they should be")
    found = json.loads(place.run("--json")[1])
    assert (found["is_sound"], found["files"], found["lost"]) == (True, 4, [])


def test_what_is_lost_is_told_with_what_makes_it_again_and_the_service_knows(place: Place) -> None:
    flip(place.path("network"))
    place.path("checkpoint").unlink()
    status, said = place.run()
    assert status == 4
    assert f"damaged: {place.files['network']}" in said
    assert f"lif.safetensors of {place.job_id}; to have it again: submit the specification" in said
    assert f"missing: {place.files['checkpoint']}" in said
    assert f"checkpoint of {place.job_id} at step 20; passed over" in said
    assert said.strip().endswith("2 things are not sound")
    assert place.marked() == {"network"}

    found = json.loads(place.run("--json")[1])
    states = {lost["sha256"]: lost["state"] for lost in found["lost"]}
    assert states == {place.files["network"]: "damaged", place.files["checkpoint"]: "missing"}
    (use,) = next(lost["uses"] for lost in found["lost"] if lost["state"] == "damaged")
    assert use["can_be_made_again"]


@pytest.mark.slow
def test_what_needs_a_data_set_that_is_lost_cannot_be_made_again_without_it(place: Place) -> None:
    flip(place.path("data set"))
    flip(place.path("network"))
    place.run()
    found = json.loads(place.run("--json")[1])
    uses = {use["what"]: use for lost in found["lost"] for use in lost["uses"]}
    assert not uses["data set mine"]["can_be_made_again"]
    assert "upload the original files again" in uses["data set mine"]["again"]
    network = uses[f"lif.safetensors of {place.job_id}"]
    assert not network["can_be_made_again"]
    assert network["again"].startswith("upload its data set again")


@pytest.mark.slow
def test_a_file_that_was_put_back_is_whole_again(place: Place) -> None:
    before = place.path("data set").read_bytes()
    flip(place.path("data set"))
    place.run()
    assert place.marked() == {"data set"}
    place.path("data set").write_bytes(before)
    status, said = place.run()
    assert (status, place.marked()) == (0, set())
    assert f"whole again: {place.files['data set']}" in said


def test_bits_that_fail_without_a_trace_are_found(place: Place) -> None:
    path = place.path("network")
    before = path.stat()
    flip(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert place.run()[0] == 4


def test_a_row_that_tells_another_length_is_found(place: Place) -> None:
    with place.database.writing() as session:
        session.get_one(Blob, place.files["network"]).bytes = 5
    status, said = place.run()
    assert status == 4
    assert f"it has {len(b'network' + LARGE)} bytes, and its row says 5" in said


def test_a_database_with_dangling_rows_is_found(place: Place) -> None:
    connection = sqlite3.connect(place.settings.data_dir / "saf.sqlite3")
    connection.execute("DELETE FROM jobs")
    connection.commit()
    connection.close()
    status, said = place.run()
    assert status == 4
    assert "refers to a row of jobs that is not there" in said


def test_a_bucket_is_read_and_damaged_copies_on_this_machine_go(
    bucket: str, sqlite_url: str, tmp_path: Path
) -> None:
    settings = Settings(data_dir=tmp_path, database_url=sqlite_url, artifacts_url=bucket)
    database: Any = Database(sqlite_url)
    migrate(database)
    store = open_store(settings)
    hashes = []
    for content in (b"one" + LARGE, b"two" + LARGE):
        (tmp_path / "source").write_bytes(content)
        with database.writing() as session:
            hashes.append(store.keep(session, store.receive(tmp_path / "source")))
    name, _, prefix = bucket.removeprefix("s3://").partition("/")
    store._s3.put_object(Bucket=name, Key=f"{prefix}/{hashes[0][:2]}/{hashes[0]}", Body=b"?")  # type: ignore[attr-defined]
    copy = store.local(hashes[1])
    copy.chmod(0o600)
    flip(copy)
    found = scrub(database, store, tmp_path / "cache")
    assert [(lost.sha256, lost.state) for lost in found.lost] == [(hashes[0], "damaged")]
    assert found.copies_removed == (hashes[1],)
    assert not copy.exists()
    database.dispose()
