"""The state of the service as a page: what is degraded, workers, the line, storage, versions."""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Mapping
from importlib.metadata import version

from fastapi import APIRouter, Request
from sqlalchemy import func, select
from starlette.responses import Response

from api.errors import UnavailableError
from api.jobs.schemas import job_documents
from api.store.jobs import queue
from api.store.soundness import status_of
from api.store.tables.jobs import WAITING, Job, Status
from api.system.disk_usage import Storage, StorageUse
from api.system.health import Check, get_readiness
from api.web.dependencies import Service, ServiceDependency
from api.web.rendering import page
from api.workers.routes import WorkerDocument, find_workers
from saf.sizes import readable

router = APIRouter(include_in_schema=False)
SHOWN_WAITING = 50
MEANING: Mapping[str, str] = {
    "database": "Nothing can be read or submitted until it answers; trainings go on meanwhile.",
    "broker": "Trainings go on; idle workers learn of new jobs once it answers.",
    "storage": "Trainings go on, but cannot leave checkpoints and networks behind.",
}


@router.get("/system")
def system_page(request: Request, service: ServiceDependency) -> Response:
    """The page of the service: problems, workers, the queue, and disk usage."""
    with service.database.reading() as session:
        workers = find_workers(session, service.settings)
        counted = session.execute(select(Job.status, func.count()).group_by(Job.status))
        counts: Counter[Status] = Counter()
        for status, count in counted:
            counts[status_of(status)] += count
        waiting_jobs = job_documents(session, queue.first(session, limit=SHOWN_WAITING))
    checks = _checks(service)
    storage = service.part(Storage).use()
    waiting = sum(counts.get(status, 0) for status in WAITING)
    alive = [worker for worker in workers if worker.alive]
    context = {
        "workers": workers,
        "slots": sum(worker.slots for worker in alive),
        "busy": sum(worker.busy for worker in alive),
        "alive": len(alive),
        "counts": [(status, counts.get(status, 0)) for status in Status],
        "queue": waiting_jobs,
        "waiting": waiting,
        "checks": checks,
        "storage": storage,
        "troubles": _troubles(checks, storage, workers, waiting),
        "versions": _versions(service, request.app.version),
    }
    return page(request, "system/system.html", context)


def _troubles(
    checks: list[Check], storage: StorageUse, workers: list[WorkerDocument], waiting: int
) -> list[str]:
    """Problems, each with its meaning and a remedy in one line; the worst first."""
    found = [
        f"The {check.name} {check.reason}. {MEANING[check.name]}"
        for check in checks
        if not check.ok
    ]
    if storage.is_scarce and storage.free is not None:
        found.append(
            f"Only {readable(storage.free)} are left for artifacts: delete jobs or data "
            "sets that nobody needs, or give the disk more room."
        )
    alive = [worker for worker in workers if worker.alive]
    jobs = "1 job waits" if waiting == 1 else f"{waiting:,} jobs wait"
    if not alive:
        held = f" {jobs}." if waiting else ""
        found.append(f"No worker is alive.{held} Start one with saf serve or python -m worker.")
    elif waiting and all(worker.draining for worker in alive):
        found.append(f"All workers are draining and take no more jobs; {jobs}. Start another one.")
    for worker in workers:
        if not worker.alive and worker.stopped_at is None and worker.jobs:
            held = "1 job" if len(worker.jobs) == 1 else f"{len(worker.jobs)} jobs"
            found.append(
                f"The worker on {worker.host} (process {worker.pid}) is silent and holds {held}. "
                "If it is dead, another worker goes on from the last checkpoint once its leases "
                "have run out; if it only cannot reach the database, it trains on."
            )
    return found


def _versions(service: Service, own: str) -> list[tuple[str, str]]:
    dialect = service.database.engine.dialect
    server = ".".join(str(part) for part in dialect.server_version_info or ())
    return [
        ("Service", own),
        ("Python", platform.python_version()),
        ("SQLite" if service.database.is_sqlite else "PostgreSQL", server or "unknown"),
        *((name, version(name.lower())) for name in ("FastAPI", "SQLAlchemy", "Celery")),
    ]


def _checks(service: Service) -> list[Check]:
    try:
        return get_readiness(service).checks
    except UnavailableError as error:
        failing = dict(error.errors)
    names = ("database", "broker", "storage")
    return [Check(name=n, ok=n not in failing, reason=failing.get(n, "")) for n in names]
