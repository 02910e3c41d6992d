"""The list of jobs as a page: filters, order and place stand in its address."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Literal, get_args
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from api.datasets.queries import ready_names
from api.errors import InvalidRequestError
from api.jobs.pages import new_form
from api.jobs.queries import metadata_filter
from api.jobs.schemas import Health, job_documents
from api.jobs.searches.queries import find_searches
from api.store.jobs.listing import NEWEST_FIRST, JobFilter, count_by_status, find_jobs
from api.store.tables.jobs import TERMINAL, Status
from api.web.asgi import prefix
from api.web.caller import CallerDependency, belonging, own_names
from api.web.dependencies import ServiceDependency
from api.web.remarks import plain_tag
from api.web.rendering import page
from api.web.sorting import direction, next_order

router = APIRouter(include_in_schema=False)
PAGE_JOBS = 50
OFFERED_DATASETS = 200  # in the filter; others can be named in the address
COLUMNS = (  # (sort, heading, class, whether the first click sorts the largest first)
    ("status", "Status", "", False),
    ("name", "Name", "", False),
    ("dataset", "Data set", "", False),
    ("network", "Network", "", False),
    ("method", "Method", "", False),
    ("timesteps", "T", "number", False),
    ("best_accuracy", "Best val. acc.", "number", True),
    ("lif_accuracy", "LIF acc.", "number", True),
    ("progress", "Progress", "", True),
    ("device", "Device", "", False),
    ("created", "Age", "number", True),
)


@router.get("/")
def jobs_page(
    request: Request,
    service: ServiceDependency,
    caller: CallerDependency,
    status: Annotated[list[str] | None, Query()] = None,
    health: Annotated[list[str] | None, Query()] = None,
    method: str = "",
    network: str = "",
    dataset: str = "",
    sweep: str = "",
    tag: Annotated[list[str] | None, Query(max_length=16)] = None,
    favourite: Literal["", "true", "false"] = "",
    mine: Literal["", "true", "false"] = "",
    project: str = "",
    q: Annotated[str, Query(max_length=200)] = "",
    sort: str = "",
    after: str = "",
    before: str = "",
) -> Response:
    """A page of the jobs that match, in a chosen order."""
    wanted = JobFilter(
        status=tuple(dict.fromkeys(_status(name) for name in status or () if name)),
        health=tuple(dict.fromkeys(_health(name) for name in health or () if name)),
        method=method,
        network=network,
        dataset=dataset,
        metadata=metadata_filter(request),
        sweep=sweep,
        tags=tuple(dict.fromkeys(plain_tag(one) for one in tag or () if one)),
        favourite=favourite == "true" if favourite else None,
        q=q.strip(),
    )
    order = sort or NEWEST_FIRST
    with service.database.reading() as session:
        of = belonging(session, caller, mine == "true", project)
        wanted = replace(wanted, owner=of.owner_id, project=of.project_id)
        found = find_jobs(session, wanted, limit=PAGE_JOBS, sort=order, after=after, before=before)
        jobs = job_documents(session, found.jobs)
        counts = count_by_status(session, wanted)
        datasets = ready_names(session, most=OFFERED_DATASETS)
        projects = [] if caller is None else own_names(session, caller)
        searches = find_searches(session)
    shown = _Address(request)
    chosen = sum(counts.get(one, 0) for one in wanted.status or tuple(Status))
    context = {
        "jobs": jobs,
        "wanted": wanted,
        "is_filtered": wanted != JobFilter(),
        "is_first": not (after or before),
        "order": order,
        "columns": [
            {
                "sort": name,
                "heading": heading,
                "class": kind,
                "direction": direction(name, order),
                "address": shown.but(
                    sort=next_order(name, order, largest_first, default=NEWEST_FIRST)
                ),
            }
            for name, heading, kind, largest_first in COLUMNS
        ],
        "total": chosen,
        "statuses": [
            {
                "status": one,
                "count": counts.get(one, 0),
                "address": shown.but(status="" if wanted.status == (one,) else one),
                "is_chosen": one in wanted.status,
            }
            for one in Status
            if counts.get(one) or one in wanted.status
        ],
        "with_warnings": shown.but(health="" if wanted.health else "warning"),
        "all_statuses": shown.but(status=""),
        "total_of_all": sum(counts.values()),
        "older": shown.but(after=found.last) if found.has_after and jobs else None,
        "newer": shown.but(before=found.first) if found.has_before and jobs else None,
        "first_page": shown.but(),
        "favourites": shown.but(favourite="" if wanted.favourite else "true"),
        "without_tags": shown.but(tag=""),
        "without_sweep": shown.but(sweep=""),
        "without_label": {key: shown.but(**{f"metadata[{key}]": ""}) for key in wanted.metadata},
        "methods": new_form.choices("method"),
        "networks": new_form.choices("network"),
        "datasets": datasets,
        "terminal": TERMINAL,
        "has_accounts": caller is not None,
        "mine": mine == "true",
        "project": project,
        "projects": projects,
        "searches": [(one, caller is None or one.owner == caller.name) for one in searches],
        "query": shown.query,
    }
    return page(request, "jobs/jobs.html", context)


class _Address:
    """The address of the page that is shown, to change parts of it."""

    def __init__(self, request: Request) -> None:
        self._pairs = [
            (name, value)
            for name, value in request.query_params.multi_items()
            if value and name not in ("after", "before")
        ]

    @property
    def query(self) -> str:
        """Filters and order as in an address; empty where it shows all, the newest first."""
        return urlencode(self._pairs)

    def but(self, **changes: str) -> str:
        """The first page of the same list with these parameters; an empty one is left out."""
        pairs = [(name, value) for name, value in self._pairs if name not in changes]
        pairs += [(name, value) for name, value in changes.items() if value]
        return prefix.at("/?" + urlencode(pairs) if pairs else "/")


def _health(name: str) -> str:
    if name in get_args(Health):
        return name
    detail = f"there is no health {name!r}; use one of {', '.join(get_args(Health))}"
    raise InvalidRequestError.at("health", detail)


def _status(name: str) -> Status:
    try:
        return Status(name)
    except ValueError as error:
        detail = f"there is no status {name!r}; use one of {', '.join(Status)}"
        raise InvalidRequestError.at("status", detail) from error
