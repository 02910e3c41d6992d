"""Orphans: rows of files that nothing refers to, files without a row, temporary files.

A file is removed while its row's key is held, so that a job that stores the same content at the
same moment waits, and then writes the file anew.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sqlalchemy import select

from api.store.blobs.base import ArtifactStore, Item
from api.store.blobs.references import unreferenced
from api.store.database import Database, now
from api.store.tables.base import Blob

_ASKED_AT_ONCE = 500


class Garbage:
    """Finds what is in the artifact store and of no use for `grace_seconds`."""

    def __init__(self, database: Database, store: ArtifactStore, grace_seconds: float) -> None:
        self._database = database
        self._store = store
        self._grace = grace_seconds

    def find(self) -> Iterator[Item]:
        """Everything that may go. Raises what the database raises, and OSError."""
        yield from self._unused_rows()
        yield from self._files_without_row()
        yield from self._store.old_leftovers(self._grace)

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

    def _files_without_row(self) -> Iterator[Item]:
        old = list(self._store.old_files(self._grace))
        for start in range(0, len(old), _ASKED_AT_ONCE):
            group = old[start : start + _ASKED_AT_ONCE]
            known = self._known([file.sha256 for file in group])
            for file in group:
                if file.sha256 in known:
                    continue

                def remove(sha256: str = file.sha256) -> bool:
                    with self._database.writing() as session:
                        return self._store.remove_orphan(session, sha256)

                yield Item(
                    kind="file without row", name=file.sha256, bytes=file.bytes, remove=remove
                )

    def _known(self, hashes: Sequence[str]) -> set[str]:
        with self._database.reading() as session:
            return set(session.scalars(select(Blob.sha256).where(Blob.sha256.in_(hashes))))
