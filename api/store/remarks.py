"""What people write on sweeps and data sets; that on jobs is in `api.store.jobs.remarks`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import ColumnElement, Text, cast, func
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


def marked(
    table: type[Sweep | Dataset], tags: Iterable[str], favourite: bool | None
) -> tuple[ColumnElement[bool], ...]:
    """The conditions that things have these tags, and are favourites or not; None: either."""
    stored = cast(table.tags, Text)  # JSON, in which no other text has a tag with its quotes
    # LIKE of SQLite takes A for a.
    found: list[ColumnElement[bool]] = [
        func.replace(stored, json.dumps(tag), "") != stored for tag in tags
    ]
    if favourite is not None:
        at = table.favourite_at
        found.append(at.is_not(None) if favourite else at.is_(None))
    return tuple(found)
