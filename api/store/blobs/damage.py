"""Damaged files: noted when they are read, and by `saf scrub`."""

from __future__ import annotations

import logging

from sqlalchemy import update
from sqlalchemy.exc import SQLAlchemyError

from api.store.database import Database, now, why_away
from api.store.tables.base import Blob

log = logging.getLogger(__name__)


class DamageRecord:
    """Marks the rows of files, so that every process and page knows. Keeping the same content
    again takes a mark away."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def found(self, sha256: str) -> None:
        """A file is damaged. A database that is away only leaves it unmarked."""
        try:
            self._mark(sha256, damaged=True)
        except SQLAlchemyError as error:
            log.warning("a damaged file cannot be marked as such: %s", why_away(error))

    def whole(self, sha256: str) -> None:
        """A file that was damaged is whole again. Raises what the database raises."""
        self._mark(sha256, damaged=False)

    def _mark(self, sha256: str, *, damaged: bool) -> None:
        is_marked = Blob.damaged_at.is_not(None)
        with self._database.writing() as session:
            session.execute(
                update(Blob)
                .where(Blob.sha256 == sha256, ~is_marked if damaged else is_marked)
                .values(damaged_at=now() if damaged else None)
            )
