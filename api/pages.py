"""What a browser shows. Everything is rendered here and can be read without JavaScript; the
modules in `static/` keep it live. Data comes through the functions behind the JSON routes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from sqlalchemy import func, select
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.templating import Jinja2Templates

from api import form, problems, wording
from api.artifacts import ArtifactDocument, find_artifacts
from api.catalogue import find_datasets, read_dataset
from api.documents import event_document, job_document, job_documents
from api.errors import FieldError, InvalidRequestError, ServiceError, UnavailableError
from api.health import Check, get_readiness
from api.history import find_events
from api.jobs import JobFilter, find_jobs, metadata_filter, read_job
from api.previews import find_preview
from api.service import Service, ServiceDependency
from api.store import logs
from api.store.artifacts import ArtifactStore
from api.store.tables import TERMINAL, WAITING, Job, Status
from api.workers import find_workers

router = APIRouter(include_in_schema=False)
templates = Jinja2Templates(Path(__file__).parent / "templates")
PAGE_JOBS = 50
PAGE_DATASETS = 100
SHOWN_CLASSES = 200
OFFERED_DATASETS = 200  # in a select; others can be named in the address
SHOWN_EVENTS = 200
LOG_LINES = 500
CERTIFICATE_BYTES = 1_000_000
ACTIONS: Mapping[Status, tuple[str, ...]] = {
    Status.queued: ("pause", "cancel"),
    Status.recovering: ("pause", "cancel"),
    Status.starting: ("pause", "cancel"),
    Status.running: ("pause", "cancel"),
    Status.converting: ("cancel",),
    Status.pausing: ("cancel",),
    Status.paused: ("resume", "cancel"),
    Status.cancelling: (),
    Status.succeeded: ("delete",),
    Status.failed: ("retry", "delete"),
    Status.cancelled: ("retry", "delete"),
}


def install(app: FastAPI) -> None:
    """Add the pages, and let a browser that asks for one of them see its errors as a page."""
    app.include_router(router)
    for kind in (ServiceError, HTTPException, RequestValidationError, OperationalError):
        app.add_exception_handler(kind, _page_or_problem)


@router.get("/")
def jobs_page(
    request: Request,
    service: ServiceDependency,
    status: Annotated[list[str] | None, Query()] = None,
    method: str = "",
    network: str = "",
    dataset: str = "",
    q: Annotated[str, Query(max_length=200)] = "",
    after: str = "",
) -> Response:
    """The list of jobs, newest first; the filters stand in the address."""
    wanted = JobFilter(
        status=tuple(_status(name) for name in status or () if name),
        method=method,
        network=network,
        dataset=dataset,
        metadata=metadata_filter(request),
        q=q.strip(),
    )
    with service.database.reading() as session:
        found, has_more = find_jobs(session, wanted, limit=PAGE_JOBS, after=after)
        jobs = job_documents(session, found)
        names = _dataset_names(session)
    older = [(k, v) for k, v in request.query_params.multi_items() if k != "after" and v]
    context = {
        "jobs": jobs,
        "wanted": wanted,
        "is_filtered": wanted != JobFilter(),
        "after": after,
        "older": "/?" + urlencode([*older, ("after", jobs[-1].id)]) if has_more else None,
        "newest": "/?" + urlencode(older) if older else "/",
        "statuses": list(Status),
        "methods": form.choices("method"),
        "networks": form.choices("network"),
        "datasets": names,
    }
    return _page(request, "jobs.html", context)


@router.get("/jobs/{job_id}")
def job_page(request: Request, service: ServiceDependency, job_id: str) -> Response:
    """One job, live."""
    with service.database.reading() as session:
        row = read_job(session, job_id)
        after = max(0, row.events_count - SHOWN_EVENTS)
        events, _ = find_events(session, job_id, after=after, limit=SHOWN_EVENTS)
        files = find_artifacts(session, job_id)
        log = logs.tail(session, job_id, LOG_LINES)
        job = job_document(session, row)
    context = {
        "job": job,
        "is_over": job.status in TERMINAL,
        "status_meaning": STATUS_MEANING[job.status],
        "actions": ACTIONS[job.status],
        "events": [event_document(event) for event in reversed(events)],
        "earlier_events": after,
        "files": files,
        "certificate": _certificate(service.store, files),
        "log": log,
        "log_lines": LOG_LINES,
    }
    return _page(request, "job.html", context)


@router.get("/new")
def new_page(
    request: Request,
    service: ServiceDependency,
    dataset: str = "",
    from_job: Annotated[str, Query(alias="from")] = "",
) -> Response:
    """The form to submit a job; `from` fills it with the specification of another."""
    with service.database.reading() as session:
        values = dict(read_job(session, from_job).specification) if from_job else {}
        names = _dataset_names(session)
    if dataset:
        values["dataset"] = dataset
    context = {"sections": form.sections(values), "datasets": names, "from_job": from_job}
    return _page(request, "new.html", context)


@router.get("/datasets")
def datasets_page(request: Request, service: ServiceDependency, after: str = "") -> Response:
    """What can be trained on, and the upload of more."""
    with service.database.reading() as session:
        found, has_more = find_datasets(session, limit=PAGE_DATASETS, after=after)
    context = {
        "datasets": found,
        "older": "/datasets?" + urlencode({"after": found[-1].id}) if has_more else None,
        "upload_max_bytes": service.settings.upload_max_bytes,
    }
    return _page(request, "datasets.html", context)


@router.get("/datasets/{dataset}")
def dataset_page(request: Request, service: ServiceDependency, dataset: str) -> Response:
    """What is in a data set, by its id or name."""
    with service.database.reading() as session:
        found = read_dataset(session, dataset)
        preview = find_preview(session, dataset)
    counts = found.counts["per_class"]["train"] if found.counts else []
    context = {
        "dataset": found,
        "preview": preview,
        "shown": range(min(found.classes or 0, SHOWN_CLASSES)),
        "largest": max(counts, default=1) or 1,
        "activity_most": max(
            (max(step) for step in (preview and preview.activity) or []), default=0
        ),
    }
    return _page(request, "dataset.html", context)


@router.get("/system")
def system_page(request: Request, service: ServiceDependency) -> Response:
    """Workers, queue, and what the service needs."""
    with service.database.reading() as session:
        workers = find_workers(session, service.settings)
        counted = session.execute(select(Job.status, func.count()).group_by(Job.status))
        counts = {Status(status): count for status, count in counted}
        waiting, more_wait = find_jobs(session, JobFilter(status=WAITING), limit=PAGE_JOBS)
        queue = sorted(job_documents(session, waiting), key=lambda job: job.jobs_ahead)
    context = {
        "workers": workers,
        "counts": [(status, counts.get(status, 0)) for status in Status],
        "queue": queue,
        "more_wait": more_wait,
        "checks": _checks(service),
        "version": request.app.version,
    }
    return _page(request, "system.html", context)


STATUS_MEANING: Mapping[Status, str] = {
    Status.queued: "Waits for a worker.",
    Status.starting: "A worker has taken it and starts its training process.",
    Status.running: "In training.",
    Status.converting: "Trained; is being converted to LIF neurons and checked.",
    Status.pausing: "Writes a checkpoint, then pauses.",
    Status.paused: "Waits until somebody resumes it; it goes on from its checkpoint.",
    Status.recovering: "Its worker vanished; another one goes on from the last checkpoint.",
    Status.cancelling: "Its process is being stopped.",
    Status.succeeded: "Done; the LIF network is below.",
    Status.failed: "Ended with an error.",
    Status.cancelled: "Stopped on request; its process is gone.",
}


templates.env.filters.update(
    age=wording.age,
    clock_time=wording.clock_time,
    duration=wording.duration,
    metric=wording.metric,
    number=wording.number,
    percent=wording.percent,
    pretty=wording.pretty,
    size=wording.size,
)


def _page(request: Request, name: str, context: dict[str, Any], status: int = 200) -> Response:
    return templates.TemplateResponse(
        request, name, context, status_code=status, headers={"Cache-Control": "no-store"}
    )


def _page_or_problem(request: Request, error: Exception) -> Response:
    """A refusal as a page where a person asked for one, as a problem for programs."""
    response = problems.handle(request, error)
    path = request.url.path
    accepts_pages = "text/html" in request.headers.get("accept", "")
    is_page = request.method == "GET" and not path.startswith(("/v1/", "/static/"))
    if not (accepts_pages and is_page and response.status_code >= 400):
        return response
    problem = json.loads(bytes(response.body))
    return _page(request, "problem.html", {"problem": problem}, response.status_code)


def _status(name: str) -> Status:
    try:
        return Status(name)
    except ValueError as error:
        detail = f"there is no status {name!r}; use one of {', '.join(Status)}"
        raise InvalidRequestError(detail, errors=[FieldError("status", detail)]) from error


def _dataset_names(session: Session) -> list[str]:
    found, _ = find_datasets(session, limit=OFFERED_DATASETS)
    return [dataset.name for dataset in found if dataset.status == "ready"]


def _certificate(store: ArtifactStore, files: list[ArtifactDocument]) -> dict[str, Any] | None:
    """What the certificate among a job's files says; None when there is none to read."""
    for file in files:
        if file.kind == "certificate" and file.bytes <= CERTIFICATE_BYTES:
            try:
                content = json.loads(store.path(file.sha256).read_bytes())
            except (OSError, ValueError):
                return None
            return content if isinstance(content, dict) else None
    return None


def _checks(service: Service) -> list[Check]:
    try:
        return get_readiness(service).checks
    except UnavailableError as error:
        failing = dict(error.errors)
    names = ("database", "broker", "storage")
    return [Check(name=n, ok=n not in failing, reason=failing.get(n, "")) for n in names]
