"""What nothing refers to: rows of files without a use, files without a row, temporary files.

A file is removed while its row's key is held, so that a job that stores the same content at the
same moment waits, and then writes the file anew.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

from sqlalchemy import select

from api.store.artifacts import BACKUP, INCOMING, ArtifactStore, unreferenced
from api.store.database import Database, now
from api.store.retention import Item
from api.store.tables import Blob

_SHA256 = re.compile(r"[0-9a-f]{64}")
_ASKED_AT_ONCE = 500


class Garbage:
    """Finds what is in the artifact store and of no use for `grace_seconds`.

    The time of a file is its file system's, which need not agree with this machine's clock.
    """

    def __init__(self, database: Database, store: ArtifactStore, grace_seconds: float) -> None:
        self._database = database
        self._store = store
        self._grace = grace_seconds

    def find(self) -> Iterator[Item]:
        """Everything that may go. Raises what the database raises, and OSError."""
        yield from self._unused_rows()
        if self._store.directory.is_dir():
            before = file_clock(self._store.directory) - self._grace
            yield from self._files_without_row(before)
            yield from self._temporary(before)

    def _unused_rows(self) -> Iterator[Item]:
        query = (
            select(Blob.sha256, Blob.bytes)
            .where(unreferenced(Blob.sha256), Blob.created_at < now() - self._grace)
            .order_by(Blob.sha256)
        )
        with self._database.reading() as session:
            found = session.execute(query).all()
        for sha256, size in found:

            def remove(sha256: str = sha256) -> bool:
                with self._database.writing() as session:
                    return self._store.remove_unused(session, [sha256]) > 0

            yield Item(kind="unused file", name=sha256, bytes=size, remove=remove)

    def _files_without_row(self, before: float) -> Iterator[Item]:
        old = list(_old_files(self._store.directory, before))
        for start in range(0, len(old), _ASKED_AT_ONCE):
            group = old[start : start + _ASKED_AT_ONCE]
            known = self._known([path.name for path, _ in group])
            for path, size in group:
                if path.name in known:
                    continue

                def remove(sha256: str = path.name) -> bool:
                    with self._database.writing() as session:
                        return self._store.remove_orphan(session, sha256)

                yield Item(kind="file without row", name=path.name, bytes=size, remove=remove)

    def _temporary(self, before: float) -> Iterator[Item]:
        for path in sorted(self._store.directory.glob(f"{INCOMING}*")):
            if (size := _size_if_old(path, before)) is not None:
                yield Item(
                    kind="temporary file",
                    name=path.name,
                    bytes=size,
                    remove=partial(_unlink, path),
                )
        for path in sorted(self._store.directory.glob(f"{BACKUP}*")):
            if _size_if_old(path, before) is not None:
                # Its files are links to files of the store: removing them frees nothing.
                yield Item(
                    kind="temporary folder",
                    name=path.name,
                    bytes=0,
                    remove=partial(_remove_tree, path),
                )

    def _known(self, hashes: Sequence[str]) -> set[str]:
        with self._database.reading() as session:
            return set(session.scalars(select(Blob.sha256).where(Blob.sha256.in_(hashes))))


def file_clock(directory: Path) -> float:
    """The time of a file that is written there now. Raises OSError."""
    with tempfile.TemporaryFile(dir=directory) as file:
        file.write(b"x")
        file.flush()
        return os.fstat(file.fileno()).st_mtime


def _old_files(directory: Path, before: float) -> Iterator[tuple[Path, int]]:
    folders: Iterable[Path] = sorted(directory.glob("[0-9a-f][0-9a-f]"))
    for folder in folders:
        for path in sorted(folder.iterdir()):
            if _SHA256.fullmatch(path.name) and path.name.startswith(folder.name):
                size = _size_if_old(path, before)
                if size is not None:
                    yield path, size


def _size_if_old(path: Path, before: float) -> int | None:
    try:
        status = path.lstat()
    except FileNotFoundError:  # removed or stored at this moment
        return None
    return status.st_size if status.st_mtime < before else None


def _unlink(path: Path) -> bool:
    try:
        path.unlink()
    except FileNotFoundError:
        return False
    return True


def _remove_tree(path: Path) -> bool:
    shutil.rmtree(path)
    return True
