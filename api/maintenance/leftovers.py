"""Folders of this machine whose process is gone."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

from sqlalchemy import select

from api.host.lock import take
from api.store.blobs.base import Item
from api.store.blobs.directory import file_clock
from api.store.database import Database
from api.store.tables.uploads import Dataset


class Leftovers:
    """Folders of this machine whose process is gone: uploads without a row, what attempts left."""

    def __init__(
        self,
        database: Database,
        data_dir: Path,
        grace_seconds: float,
        upload_seconds: float | None = None,
    ) -> None:
        """`upload_seconds` is how long a resumable upload stays after its last byte."""
        self._database = database
        self._data_dir = data_dir
        self._grace = grace_seconds
        self._upload_grace = grace_seconds if upload_seconds is None else upload_seconds

    def find(self) -> Iterator[Item]:
        """Those that nobody holds and that have not changed for the grace time. Raises OSError and
        what the database raises."""
        for kind, folder in (("upload", "uploads"), ("working folder", "work")):
            parent = self._data_dir / folder
            if not parent.is_dir():
                continue
            clock = file_clock(parent)
            for path in sorted(parent.iterdir()):
                arrives = kind == "upload" and path.name.startswith("up_")
                before = clock - (self._upload_grace if arrives else self._grace)
                if self._may_go(kind, path, before):
                    size = sum(f.lstat().st_size for f in path.rglob("*") if f.is_file())
                    remove = partial(self._remove, kind, path, before)
                    yield Item(kind=kind, name=path.name, bytes=size, remove=remove)

    def _may_go(self, kind: str, path: Path, before: float) -> bool:
        if path.is_symlink() or not path.is_dir() or path.name.startswith("."):
            return False
        if not self._is_old(kind, path, before):
            return False
        handle = _hold(path)
        if handle is not None:
            os.close(handle)
        return handle is not None

    def _remove(self, kind: str, path: Path, before: float) -> bool:
        handle = _hold(path)
        if handle is None:
            return False
        try:
            if not self._is_old(kind, path, before):
                return False
            shutil.rmtree(path)
        finally:
            os.close(handle)
        return True

    def _is_old(self, kind: str, path: Path, before: float) -> bool:
        """Whether nothing has changed in a folder since then, and no row needs it."""
        changed = path.stat().st_mtime
        with suppress(FileNotFoundError):  # bytes that are added leave the folder as it is
            changed = max(changed, (path / "data").stat().st_mtime)
        return changed < before and not (kind == "upload" and self._is_needed(path.name))

    def _is_needed(self, dataset_id: str) -> bool:
        with self._database.reading() as session:
            row = select(Dataset.id).where(
                Dataset.id == dataset_id, Dataset.status.in_(("checking", "needs_choice"))
            )
            return session.scalar(row) is not None


def _hold(directory: Path) -> int | None:
    """The lock of a folder, or one on the folder itself where it has none, as a descriptor; None
    while a process holds it."""
    try:
        return take(directory / "lock")
    except FileNotFoundError:
        return take(directory)
