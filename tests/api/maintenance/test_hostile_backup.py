"""Backups that are damaged, or made to do harm, are refused and write nothing."""

from __future__ import annotations

import hashlib
import io
import json
import sqlite3
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from api.maintenance.backup import BackupError
from api.maintenance.restore import restore
from api.settings import Settings
from api.store.database import Database
from api.store.tables.jobs import Job
from tests.api.maintenance.backups import file, refused, settings

Change = Callable[[list[tuple[tarfile.TarInfo, bytes]]], None]

pytestmark = pytest.mark.slow
__all__ = ["file", "settings"]


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
