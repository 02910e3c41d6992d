"""What counts as stored: files that a user or a project has, each content once.

They are data sets, networks that were uploaded, and what jobs leave behind, artifacts, those of
exports among them, and checkpoints. Logs and metrics lie in the database and do not count.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Select, func, select, true, union
from sqlalchemy.orm import Session

from api.store.limits.kinds import Side
from api.store.tables.base import Blob
from api.store.tables.jobs import Job
from api.store.tables.results import Artifact, Checkpoint
from api.store.tables.uploads import Dataset, UploadedNetwork
from api.store.visibility import EVERYTHING


@dataclass(frozen=True, kw_only=True)
class Whose:
    """Whose files: of a user or a project by its id, without accounts of an address."""

    user: str = ""
    project: str = ""
    address: str = ""

    def rows(self, table: Any) -> ColumnElement[bool]:
        """The condition on jobs, data sets or networks; everybody's where nothing is said."""
        if self.user:
            own: ColumnElement[bool] = table.owner_id == self.user
        elif self.project:
            own = table.project_id == self.project
        elif self.address:
            sent_by = table.submitted_by if table is Job else table.uploaded_by
            own = (sent_by == self.address) & table.owner_id.is_(None)
        else:
            own = true()
        return own


def of(side: Side, id_: str) -> Whose:
    """A user or a project."""
    return Whose(user=id_) if side == "users" else Whose(project=id_)


def stored_bytes(session: Session, whose: Whose) -> int:
    """Bytes of all files, of data sets by what they unpack to."""
    hashes = union(*_hashes(whose)).subquery()
    total = select(func.sum(Blob.bytes)).where(Blob.sha256.in_(select(hashes.c.sha256)))
    return int(session.scalar(total.execution_options(**EVERYTHING)) or 0)


def is_stored(session: Session, sha256: str, whose: Whose) -> bool:
    """Whether one of the files has this content, so that another one takes no room."""
    for query in _hashes(whose):
        hashes = query.subquery()
        found = select(hashes.c.sha256).where(hashes.c.sha256 == sha256).limit(1)
        if session.scalar(found.execution_options(**EVERYTHING)) is not None:
            return True
    return False


def _hashes(whose: Whose) -> Iterator[Select[Any]]:
    for table in (Dataset, UploadedNetwork):
        yield select(table.sha256).where(whose.rows(table), table.sha256.is_not(None))
    for left in (Artifact, Checkpoint):
        yield select(left.sha256).join(Job, Job.id == left.job_id).where(whose.rows(Job))
