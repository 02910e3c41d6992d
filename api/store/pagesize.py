"""Size of a page of a list: by number of rows, and by the size of their content."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

from sqlalchemy import ColumnElement, Text, cast, func, select
from sqlalchemy.orm import InstrumentedAttribute, Session

MOST_CHARACTERS = 2**21


def newest(
    session: Session,
    key: InstrumentedAttribute[str],
    content: InstrumentedAttribute[Any],
    *,
    limit: int,
    after: str = "",
    where: Sequence[ColumnElement[bool]] = (),
) -> tuple[list[str], bool]:
    """The keys of a page, the newest first, and whether there are more.

    It ends early where the `content` of its rows, JSON, is large, but for one row at least.
    """
    size = func.coalesce(func.length(cast(content, Text)), 0)
    query = select(key, size).where(*where).order_by(key.desc()).limit(limit + 1)
    if after:
        query = query.where(key < after)
    rows = session.execute(query).all()
    totals = accumulate(int(row[1]) for row in rows)
    fitting = max(1, sum(total <= MOST_CHARACTERS for total in totals))
    found = [row[0] for row in rows[: min(limit, fitting)]]
    return found, len(rows) > len(found)
