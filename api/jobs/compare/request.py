"""The jobs that a request compares."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from fastapi import Query

from api.errors import InvalidRequestError
from api.jobs.compare import svg

MOST = svg.MOST_LINES
Ids = Annotated[
    list[str] | None, Query(alias="jobs", description="Ids, repeated or separated by commas")
]
Axis = Annotated[Literal["step", "epoch"], Query(description="What the curves are drawn over")]


def asked_for(ids: Sequence[str] | None, *, least: int = 1) -> list[str]:
    """The ids, each once. Raises InvalidRequestError where they are too few or too many."""
    found = list(dict.fromkeys(one for given in ids or () for one in given.split(",") if one))
    if least <= len(found) <= MOST:
        return found
    detail = (
        f"at most {MOST} jobs can be compared, not {len(found)}; leave some out"
        if found
        else "name the jobs, as in jobs=job_…,job_…"
    )
    raise InvalidRequestError.at("jobs", detail)
