"""Sweeps to look at: the list of them, and the table of each, live."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from api.errors import InvalidRequestError
from api.jobs.compare import svg
from api.store import viewer
from api.store.accounts import audit
from api.store.tables.jobs import Status
from api.sweeps.request import value_told
from api.sweeps.table import SweepRow, find_sweeps, read_sweep, sweep_document
from api.web.asgi import prefix
from api.web.caller import CallerDependency, belonging
from api.web.dependencies import ServiceDependency
from api.web.remarks import MarksDependency
from api.web.rendering import page
from api.web.sorting import direction, next_order

router = APIRouter(include_in_schema=False)
PAGE_SWEEPS = 50
COLUMNS = (  # (result, heading, unit, whether the first click sorts the largest first)
    ("test_accuracy", "Test acc.", "share", True),
    ("best_accuracy", "Best val. acc.", "share", True),
    ("lif_accuracy", "LIF acc.", "share", True),
    ("test_loss", "Test loss", "number", False),
    ("firing_rate", "Firing rate", "share", False),
    ("run_seconds", "Time", "seconds", False),
    ("memory_bytes", "Memory", "bytes", False),
)
ORDERS = ("index", "status", *(name for name, _, _, _ in COLUMNS))


@router.get("/sweeps")
def sweeps_page(
    request: Request,
    service: ServiceDependency,
    caller: CallerDependency,
    marks: MarksDependency,
    mine: bool = False,
    project: str = "",
    after: Annotated[str, Query()] = "",
) -> Response:
    """The list of sweeps, the newest first."""
    with service.database.reading() as session:
        of = belonging(session, caller, mine, project)
        found, has_more = find_sweeps(session, limit=PAGE_SWEEPS, after=after, of=of, marks=marks)
    kept = {"mine": "true"} if mine else {}
    kept |= {"project": project} if project else {}
    context = {
        "sweeps": found,
        "older": prefix.at("/sweeps?")
        + "&".join(filter(None, (urlencode({**kept, "after": found[-1].id}), marks.query())))
        if has_more
        else None,
        "marks": marks,
        "is_first": not after,
    }
    return page(request, "sweeps/sweeps.html", context)


@router.get("/sweeps/{sweep_id}")
def sweep_page(
    request: Request, service: ServiceDependency, sweep_id: str, sort: str = ""
) -> Response:
    """One sweep: its jobs with their values and results, in an order that can be chosen."""
    order = sort or "index"
    name = order.removeprefix("-")
    if name not in ORDERS:
        detail = f"there is no order {name!r}; use one of {', '.join(ORDERS)}"
        raise InvalidRequestError.at("sort", detail)
    with service.database.reading() as session:
        row = read_sweep(session, sweep_id)
        may_change = viewer.may_change(row.owner_id, row.project_id)
        sweep = sweep_document(session, row)
        changes = audit.history(session, sweep_id)
    ids = [row.job for row in sweep.rows if row.job]
    is_over = sweep.ended == sweep.jobs_total
    context = {
        "sweep": sweep,
        "may_change": may_change,
        "changes": changes,
        "rows": _ordered(sweep.rows, name, largest_first=order.startswith("-")),
        "ids": ids,
        "is_over": is_over,
        "actions": ("delete",) if is_over else ("cancel",),
        "comparable": ids if len(ids) <= svg.MOST_LINES else sweep.best[: svg.MOST_LINES],
        "columns": [
            {
                "name": column,
                "heading": heading,
                "unit": unit,
                "direction": direction(column, order),
                "address": "?sort=" + next_order(column, order, largest_first, default="index"),
            }
            for column, heading, unit, largest_first in COLUMNS
        ],
        "value_told": value_told,
    }
    return page(request, "sweeps/sweep.html", context)


def _ordered(rows: Sequence[SweepRow], name: str, *, largest_first: bool) -> list[SweepRow]:
    """Rows without a value come last in both directions; equal ones as they were asked for."""

    def value(row: SweepRow) -> Any:
        if name == "index":
            return row.index
        if name == "status":
            return None if row.status is None else list(Status).index(row.status)
        return row.results[name]

    known = [row for row in rows if value(row) is not None]
    unknown = [row for row in rows if value(row) is None]
    return sorted(known, key=value, reverse=largest_first) + unknown
