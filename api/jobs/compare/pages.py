"""The page that shows jobs side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from api.jobs.compare import svg
from api.jobs.compare.curves import TITLES, Curves, chosen, plots_of
from api.jobs.compare.queries import compare, find
from api.jobs.compare.request import MOST, Axis, Ids, asked_for
from api.store.tables.jobs import TERMINAL
from api.web.asgi import prefix
from api.web.dependencies import ServiceDependency
from api.web.rendering import page

router = APIRouter()


@router.get("/compare", include_in_schema=False)
def compare_page(
    request: Request,
    service: ServiceDependency,
    ids: Ids = None,
    metric: Annotated[list[str] | None, Query()] = None,
    x: Axis = "step",
    log: bool = False,
    everything: Annotated[bool, Query(alias="all")] = False,
    begin: Annotated[float | None, Query(alias="from", ge=0, lt=2**53)] = None,
    end: Annotated[float | None, Query(alias="to", ge=0, lt=2**53)] = None,
) -> Response:
    """The same to look at: tables and curves, also without JavaScript."""
    asked = asked_for(ids, least=0)
    curves = Curves(names=metric or (), axis=x, log=log, begin=begin, end=end)
    with service.database.reading() as session:
        jobs = find(session, asked)
        comparison = compare(session, jobs, asked)
        drawn, offered = chosen(session, jobs, curves.names)
        plots = plots_of(session, jobs, drawn, curves)
    there = ",".join(job.id for job in jobs)
    kept = [(k, v) for k, v in request.query_params.multi_items() if k != "jobs" and v]
    context = {
        "comparison": comparison,
        "is_live": any(job.status not in TERMINAL for job in jobs),
        "settings": [one for one in comparison.settings if one.differs or everything],
        "alike": sum(not one.differs for one in comparison.settings),
        "everything": everything,
        "plots": plots,
        "figure": svg,
        "offered": [(name, TITLES.get(name, name), name in drawn) for name in offered],
        "x": x,
        "log": log,
        "is_zoomed": begin is not None or end is not None,
        "ids": there,
        "address": lambda **changes: _address(there, kept, changes),
        "without": {
            job.id: _address(",".join(other.id for other in jobs if other is not job), kept, {})
            for job in jobs
        },
        "most": MOST,
    }
    return page(request, "jobs/compare.html", context)


def _address(ids: str, kept: Sequence[tuple[str, str]], changes: Mapping[str, str]) -> str:
    pairs = [(name, value) for name, value in kept if name not in changes]
    pairs += [(name, value) for name, value in changes.items() if value]
    return prefix.at(f"/compare?jobs={ids}") + (f"&{urlencode(pairs)}" if pairs else "")
