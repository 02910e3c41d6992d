"""Files by content hash. A row in `blobs` says that a file is there, and its lock guards it.

A file is written under its SHA-256, so the same content is stored once; it is removed after the
commit that took the last row which refers to it, never before: a process that is killed in between
leaves a file too many, and `garbage` finds it.
"""

from __future__ import annotations

import errno
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from sqlalchemy import delete, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from api.store.blobs.references import unreferenced
from api.store.blobs.verified import DamagedError, Verified
from api.store.database import Database, now
from api.store.tables.base import Blob

log = logging.getLogger(__name__)


class StoreError(OSError):
    """The store cannot be used for now, as a disk that is away: somebody can put it right.

    The message is one line for people; it holds no credential and no signed address.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(errno.EIO, reason)

    def __str__(self) -> str:
        return str(self.strerror)


@dataclass(frozen=True, kw_only=True)
class Incoming:
    """A file that was received and has no row yet."""

    sha256: str
    bytes: int
    copy: Path
    """Where its content lies until it is kept."""


@dataclass(frozen=True, kw_only=True)
class Stored:
    """A file of the store, as its back end sees it."""

    sha256: str
    bytes: int
    modified: float  # seconds since 1970, by the store's clock


@dataclass(frozen=True, kw_only=True)
class Item:
    """A file or row that may be removed."""

    kind: str
    name: str
    bytes: int  # that its removal frees
    remove: Callable[[], bool]  # False: it is needed again, or gone already


class ArtifactStore(ABC):
    """The common part of stores in a directory and in a bucket: rows and their locks.

    Everything raises OSError where the files cannot be reached, StoreError where a bucket cannot.
    """

    address: str
    """Where it is, for people."""

    def __init__(self) -> None:
        self.verified = Verified()
        self.damaged: Callable[[str], None] = lambda _sha256: None
        """Called with the hash of each file that was found damaged."""

    @abstractmethod
    def check(self) -> None:
        """Raise OSError unless files can be written."""

    @abstractmethod
    def room(self) -> tuple[int, int] | None:
        """Free bytes and all bytes of its disk; None where that cannot be told."""

    @abstractmethod
    def receive(self, source: Path) -> Incoming:
        """Bring a file into the store, outside any transaction; `keep` it next.

        Nothing may change `source` until then. When it fails, nothing is left behind.
        """

    @abstractmethod
    def discard(self, incoming: Incoming) -> None:
        """Forget a file that was received, whether or not it was kept."""

    @abstractmethod
    def find(self, sha256: str) -> Stored | None:
        """The file with this hash; None when the store, which is there, does not have it."""

    def open(self, sha256: str) -> BinaryIO:
        """The file with this hash, verified, to be read at any position, in bounded memory.

        Raises FileNotFoundError and DamagedError, the latter also while it is read.
        """
        with self._telling():
            return self.verified.open(self._on_this_machine(sha256, None, bool), sha256)

    def local(
        self, sha256: str, directory: Path | None = None, unwanted: Callable[[], bool] = bool
    ) -> Path:
        """The file with this hash on this machine, verified, to be read only.

        A copy that has to be fetched is with `directory` also put there: it stays as long as the
        directory, while others make room for newer ones. Raises FileNotFoundError, DamagedError,
        and InterruptedError once `unwanted()` is true.
        """
        with self._telling():
            path = self._on_this_machine(sha256, directory, unwanted)
            self.verified.check(path, sha256, unwanted)
            return path

    @abstractmethod
    def read(self, sha256: str) -> BinaryIO:
        """The file with this hash as it lies in the store, from its beginning, not verified.

        Raises FileNotFoundError, here or with the first read.
        """

    @abstractmethod
    def _on_this_machine(
        self, sha256: str, directory: Path | None, unwanted: Callable[[], bool]
    ) -> Path:
        """Where `local` finds the file: verified by the caller, or when it was fetched."""

    @contextmanager
    def _telling(self) -> Iterator[None]:
        """Pass on that a file is damaged."""
        try:
            yield
        except DamagedError as error:
            log.error("%s", error)
            self.damaged(error.sha256)
            raise

    @abstractmethod
    def old_files(self, seconds: float) -> Iterator[Stored]:
        """Files that were stored longer ago than that, by the store's own clock."""

    @abstractmethod
    def old_leftovers(self, seconds: float) -> Iterator[Item]:
        """Half-written files of dead processes that are older than `seconds`."""

    @abstractmethod
    def _place(self, incoming: Incoming) -> None:
        """Make a received file the one with its hash. The caller holds the lock of its row."""

    @abstractmethod
    def _remove(self, sha256: str) -> None:
        """Remove the file with this hash, if it is there. The caller holds the lock of its row."""

    def keep(self, session: Session, incoming: Incoming) -> str:
        """Give a received file its name and its row, in the session's transaction; its SHA-256."""
        insert = _insert(session)(Blob).values(
            sha256=incoming.sha256, bytes=incoming.bytes, created_at=now()
        )
        session.execute(
            insert.on_conflict_do_update(
                index_elements=[Blob.sha256],
                set_={"bytes": incoming.bytes, "damaged_at": None},
            )
        )  # takes the row's lock, also when the row is there already
        self._place(incoming)
        return incoming.sha256

    def remove_unused(self, session: Session, hashes: Iterable[str]) -> int:
        """Remove those of the files that no row refers to; returns the bytes freed.

        In a transaction of its own, after the rows that referred to them are gone for good.
        """
        freed = 0
        for sha256 in sorted(set(hashes)):
            blob = session.scalar(select(Blob).where(Blob.sha256 == sha256).with_for_update())
            if blob is None or not session.scalar(select(unreferenced(sha256))):
                continue
            freed += blob.bytes
            session.execute(delete(Blob).where(Blob.sha256 == sha256))
            # Under the row's lock, before the commit: a copy that is stored at the same moment
            # waits for the lock and then writes the file anew.
            self._remove(sha256)
        return freed

    def remove_unused_of(self, database: Database, hashes: Iterable[str]) -> None:
        """`remove_unused` once the caller has committed; what fails is left to `saf gc`."""
        self._try_to(self.remove_unused, database, hashes)

    def remove_unkept_of(self, database: Database, hashes: Iterable[str]) -> None:
        """`remove_unkept` once the caller's transaction failed; what fails is left to `saf gc`."""
        self._try_to(self.remove_unkept, database, hashes)

    @staticmethod
    def _try_to(
        remove: Callable[[Session, list[str]], Any], database: Database, hashes: Iterable[str]
    ) -> None:
        try:
            if hashes := list(hashes):
                with database.writing() as session:
                    remove(session, hashes)
        except (SQLAlchemyError, OSError) as error:
            log.warning("files that nothing refers to stay for now: %s", in_short(error))

    def remove_unkept(self, session: Session, hashes: Iterable[str]) -> None:
        """Remove those of the files that no row refers to, and those without a row of their own:
        a transaction that was rolled back after `keep` leaves the file. As `remove_unused`, in a
        transaction that writes no reference to them."""
        hashes = sorted(set(hashes))
        self.remove_unused(session, hashes)
        for sha256 in hashes:
            self.remove_orphan(session, sha256)

    def remove_orphan(self, session: Session, sha256: str) -> bool:
        """Remove a file that has no row; False when it has one.

        The row is made for a moment: who stores the same content meanwhile waits for its key, and
        writes the file after this transaction.
        """
        insert = _insert(session)(Blob).values(sha256=sha256, bytes=0, created_at=now())
        made = session.scalar(insert.on_conflict_do_nothing().returning(Blob.sha256))
        if made is None:
            return False
        self._remove(sha256)
        session.execute(delete(Blob).where(Blob.sha256 == sha256))
        return True


def in_short(error: Exception) -> str:
    """A line for a log: what a database says can be long, and hold what was written."""
    return str(error) if isinstance(error, OSError) else type(error).__name__


def _insert(session: Session) -> Callable[[Any], Any]:
    dialect = session.get_bind().dialect.name
    return postgresql.insert if dialect == "postgresql" else sqlite.insert
