"""Folders of this machine whose process is gone."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from sqlalchemy import select

from api.host.lock import take
from api.store.blobs.base import Item
from api.store.blobs.directory import file_clock
from api.store.database import Database
from api.store.tables import Dataset


class Leftovers:
    """Folders of this machine whose process is gone: uploads without a row, what attempts left."""

    def __init__(self, database: Database, data_dir: Path, grace_seconds: float) -> None:
        self._database = database
        self._data_dir = data_dir
        self._grace = grace_seconds

    def find(self) -> Iterator[Item]:
        """Those that nobody holds and that have not changed for the grace time. Raises OSError and
        what the database raises."""
        for kind, folder in (("upload", "uploads"), ("working folder", "work")):
            parent = self._data_dir / folder
            if not parent.is_dir():
                continue
            before = file_clock(parent) - self._grace
            for path in sorted(parent.iterdir()):
                if self._may_go(kind, path, before):
                    size = sum(f.lstat().st_size for f in path.rglob("*") if f.is_file())
                    remove = partial(self._remove, kind, path, before)
                    yield Item(kind=kind, name=path.name, bytes=size, remove=remove)

    def _may_go(self, kind: str, path: Path, before: float) -> bool:
        if path.is_symlink() or not path.is_dir() or path.stat().st_mtime >= before:
            return False
        if kind == "upload" and self._is_needed(path.name):
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
            if path.stat().st_mtime >= before or (kind == "upload" and self._is_needed(path.name)):
                return False
            shutil.rmtree(path)
        finally:
            os.close(handle)
        return True

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
