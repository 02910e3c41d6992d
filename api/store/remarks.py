"""What people write on sweeps and data sets; that on jobs is in `api.store.jobs.remarks`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy.orm import Session

from api.store.database import clock
from api.store.tables.jobs import Sweep
from api.store.tables.uploads import Dataset


def write(session: Session, row: Sweep | Dataset, changes: Mapping[str, Any]) -> None:
    """Write some of `notes`, `tags` (all that it has from then on) and `favourite` on a thing, and
    on a sweep its `name`."""
    if "name" in changes and isinstance(row, Sweep):
        row.name = changes["name"]
    if "notes" in changes:
        row.notes = changes["notes"] or None
    if "tags" in changes:
        row.tags = sorted(dict.fromkeys(changes["tags"])) or None
    if "favourite" in changes and changes["favourite"] != (row.favourite_at is not None):
        row.favourite_at = clock(session) if changes["favourite"] else None
    session.flush()
