"""The state of the service as a page: what is degraded, workers, the line, storage, versions."""

from __future__ import annotations

from fastapi import APIRouter, Request
from sqlalchemy import func, select
from starlette.responses import Response

from api.documents import job_documents
from api.errors import UnavailableError
from api.health import Check, get_readiness
from api.rendering import page
from api.service import Service, ServiceDependency
from api.store import line
from api.store.tables import WAITING, Job, Status
from api.workers import find_workers

router = APIRouter(include_in_schema=False)
SHOWN_WAITING = 50


@router.get("/system")
def system_page(request: Request, service: ServiceDependency) -> Response:
    """Workers, the line of jobs, and what the service needs."""
    with service.database.reading() as session:
        workers = find_workers(session, service.settings)
        counted = session.execute(select(Job.status, func.count()).group_by(Job.status))
        counts = {Status(status): count for status, count in counted}
        queue = job_documents(session, line.first(session, limit=SHOWN_WAITING))
    waiting = sum(counts.get(status, 0) for status in WAITING)
    context = {
        "workers": workers,
        "counts": [(status, counts.get(status, 0)) for status in Status],
        "queue": queue,
        "waiting": waiting,
        "checks": _checks(service),
        "version": request.app.version,
    }
    return page(request, "system.html", context)


def _checks(service: Service) -> list[Check]:
    try:
        return get_readiness(service).checks
    except UnavailableError as error:
        failing = dict(error.errors)
    names = ("database", "broker", "storage")
    return [Check(name=n, ok=n not in failing, reason=failing.get(n, "")) for n in names]
