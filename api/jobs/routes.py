"""Jobs: submit, list, read, cancel, pause, resume, retry, delete."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter, Body, Query, Request, Response
from sqlalchemy.orm import Session

from api.errors import ConflictError
from api.jobs import origins
from api.jobs.forecast import time_forecast
from api.jobs.queries import metadata_filter, read_job
from api.jobs.retry import Continuation, check_data, continue_job, specification_of, train_further
from api.jobs.schemas import (
    Health,
    JobChange,
    JobDocument,
    job_document,
    job_documents,
)
from api.jobs.submission import job_row, resolve
from api.jobs.validation import Validation, validation
from api.store import viewer
from api.store.jobs import lifecycle, remarks
from api.store.jobs.listing import NEWEST_FIRST, SORTS, JobFilter, find_jobs
from api.store.tables.jobs import Job, Status, Sweep
from api.web.caller import CallerDependency, Mine, OfProject, ProjectHeader, belonging
from api.web.dependencies import Service, ServiceDependency
from api.web.idempotency import IdempotencyKey, find_earlier, made_before, remember, written
from api.web.limits import UserDependency, check_jobs, check_resumed
from api.web.problems.documents import responses
from api.web.remarks import plain_tag
from api.web.schemas import Listing
from saf.config import JobSpecification

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])
log = logging.getLogger(__name__)


@router.post(
    "",
    status_code=201,
    summary="Submit a job",
    response_model=JobDocument,
    responses={
        200: {
            "model": JobDocument | Validation,
            "description": "The same request came before (Idempotency-Key), or validate_only",
        },
        **responses(400, 403, 409, 413, 415, 422, 429, 503),
    },
)
def submit_job(
    service: ServiceDependency,
    user: UserDependency,
    response: Response,
    specification: Annotated[JobSpecification, Body()],
    validate_only: Annotated[
        bool, Query(description="Only say what the job would need; nothing is stored")
    ] = False,
    idempotency_key: IdempotencyKey = None,
    saf_project: ProjectHeader = None,
) -> Any:
    """Everything that has a default may be left out; unknown keys are refused."""
    if validate_only:
        with service.database.reading() as session:
            submission = resolve(session, specification, service.settings)
            seconds = time_forecast(session, submission)
        found = validation(submission, seconds)
        return Response(found.model_dump_json(), 200, media_type="application/json")
    document, is_new = written(
        service,
        lambda session: _submit(session, service, user, specification, idempotency_key),
    )
    if is_new:
        log.info("%s was submitted", document.id, extra={"job_id": document.id})
        service.wakeups.send(document.id)
    response.headers["Location"] = document.urls.self
    response.status_code = 201 if is_new else 200
    return document


@router.get("", summary="List jobs", responses=responses(404, 409, 422, 503))
def list_jobs(
    service: ServiceDependency,
    request: Request,
    caller: CallerDependency,
    status: Annotated[list[Status] | None, Query(description="May be given repeatedly")] = None,
    health: Annotated[
        list[Health] | None,
        Query(description="Of jobs that succeeded or failed; may be given repeatedly"),
    ] = None,
    method: str = "",
    dataset: Annotated[str, Query(description="Name or id")] = "",
    network: str = "",
    sweep: Annotated[str, Query(description="Id of the sweep that they are a part of")] = "",
    tag: Annotated[
        list[str] | None,
        Query(description="May be given repeatedly: jobs that have all", max_length=16),
    ] = None,
    favourite: Annotated[bool | None, Query(description="Only favourites, or only others")] = None,
    q: Annotated[
        str,
        Query(
            description="Words that are all in the name or the id, in any order and case; of "
            "several words only those of six characters or more are looked for in ids",
            max_length=200,
        ),
    ] = "",
    sort: Annotated[
        str, Query(description=f"One of {', '.join(SORTS)}; with a minus the largest first")
    ] = NEWEST_FIRST,
    mine: Mine = False,
    project: OfProject = "",
    limit: Annotated[int, Query(ge=1, le=200)] = 20,
    after: Annotated[str, Query(description="`last_id` of the page before")] = "",
    before: Annotated[str, Query(description="`first_id` of the page after")] = "",
) -> Listing[JobDocument]:
    """`metadata[key]=value` filters by an entry of the metadata, and may be given repeatedly.
    `has_more` is about the direction of reading: whether more lie beyond the page.

    With a `sort` other than by `created`, `first_id` and `last_id` are places: the value that the
    job had in this order, and its id. A job that changes while the list is read then takes none
    with it. `after` and `before` take a plain id too."""
    wanted = JobFilter(
        status=tuple(dict.fromkeys(status or ())),
        health=tuple(dict.fromkeys(health or ())),
        method=method,
        dataset=dataset,
        network=network,
        metadata=metadata_filter(request),
        sweep=sweep,
        tags=tuple(dict.fromkeys(map(plain_tag, tag or ()))),
        favourite=favourite,
        q=q,
    )
    with service.database.reading() as session:
        of = belonging(session, caller, mine, project)
        wanted = replace(wanted, owner=of.owner_id, project=of.project_id)
        page = find_jobs(session, wanted, limit=limit, sort=sort, after=after, before=before)
        documents = job_documents(session, page.jobs)
    return Listing(
        data=documents,
        first_id=page.first or None,
        last_id=page.last or None,
        has_more=page.has_before if before else page.has_after,
    )


@router.get("/{job_id}", summary="Read a job", responses=responses(404, 503))
def get_job(service: ServiceDependency, job_id: str) -> JobDocument:
    """How far it is, what came out, and where the rest is."""
    with service.database.reading() as session:
        return job_document(session, read_job(session, job_id))


@router.patch(
    "/{job_id}",
    summary="Name a job, tag it, write notes on it",
    responses=responses(400, 403, 404, 413, 415, 422, 503),
)
def change_job(
    service: ServiceDependency, job_id: str, changes: Annotated[JobChange, Body()]
) -> JobDocument:
    """At any time, also of a job that has ended: the training and its specification stay as they
    are."""
    with service.database.writing() as session:
        given = changes.model_dump(exclude_unset=True)
        return job_document(session, remarks.change(session, job_id, given))


@router.post("/{job_id}/cancel", summary="Cancel a job", responses=responses(403, 404, 409, 503))
def cancel_job(
    service: ServiceDependency, job_id: str, idempotency_key: IdempotencyKey = None
) -> JobDocument:
    """A running job is `cancelling` until its process is gone and its device free."""
    return _ask(service, job_id, lifecycle.cancel, idempotency_key)


@router.post("/{job_id}/pause", summary="Pause a job", responses=responses(403, 404, 409, 503))
def pause_job(
    service: ServiceDependency, job_id: str, idempotency_key: IdempotencyKey = None
) -> JobDocument:
    """A running job writes a checkpoint and frees its device; `resume` goes on from there."""
    return _ask(service, job_id, lifecycle.pause, idempotency_key)


@router.post(
    "/{job_id}/resume", summary="Resume a job", responses=responses(403, 404, 409, 429, 503)
)
def resume_job(
    service: ServiceDependency, job_id: str, idempotency_key: IdempotencyKey = None
) -> JobDocument:
    """Puts a paused job back into the queue, where there is room for one more that waits: of
    whoever it belongs to, and in its project."""

    def resume(session: Session, job_id: str) -> Job:
        job = read_job(session, job_id)
        if job.status == Status.paused:
            check_resumed(session, service.settings, job)
        return lifecycle.resume(session, job_id)

    document = _ask(service, job_id, resume, idempotency_key)
    service.wakeups.send(job_id)
    return document


@router.post(
    "/{job_id}/retry",
    status_code=201,
    summary="Submit a failed or cancelled job again",
    responses={
        200: {
            "model": JobDocument,
            "description": "The same request came before (Idempotency-Key)",
        },
        **responses(403, 404, 409, 422, 429, 503),
    },
)
def retry_job(
    service: ServiceDependency,
    user: UserDependency,
    response: Response,
    job_id: str,
    from_start: Annotated[
        bool, Query(description="Begin anew, also where a checkpoint could be taken over")
    ] = False,
    idempotency_key: IdempotencyKey = None,
) -> JobDocument:
    """Makes a new job with the same specification; the old one stays as it is.

    It goes on from the last checkpoint of the old one (`retry_from_step`) where that was stopped
    from outside: cancelled, worker_lost, time_limit, out_of_memory, stalled or internal. Else it
    begins anew; the first line of its timeline says which, and why.
    """
    document, is_new = written(
        service,
        lambda session: _retry(session, service, user, job_id, from_start, idempotency_key),
    )
    if is_new:
        log.info("%s was submitted", document.id, extra={"job_id": document.id})
        service.wakeups.send(document.id)
    response.headers["Location"] = document.urls.self
    response.status_code = 201 if is_new else 200
    return document


@router.post(
    "/{job_id}/continue",
    status_code=201,
    summary="Train a finished job for more epochs",
    responses={
        200: {
            "model": JobDocument,
            "description": "The same request came before (Idempotency-Key)",
        },
        **responses(400, 403, 404, 409, 413, 415, 422, 429, 503),
    },
)
def continue_finished_job(
    service: ServiceDependency,
    user: UserDependency,
    response: Response,
    job_id: str,
    more: Annotated[Continuation, Body()],
    idempotency_key: IdempotencyKey = None,
) -> JobDocument:
    """Makes a new job that goes on where a job that has succeeded ended: with its weights, the
    state of its optimizer and its best epoch. The old one stays as it is."""
    document, is_new = written(
        service,
        lambda session: _continue(session, service, user, job_id, more, idempotency_key),
    )
    if is_new:
        service.wakeups.send(document.id)
    response.headers["Location"] = document.urls.self
    response.status_code = 201 if is_new else 200
    return document


@router.delete(
    "/{job_id}",
    status_code=204,
    summary="Delete a job that has ended",
    responses=responses(403, 404, 409, 503),
)
def delete_job(service: ServiceDependency, job_id: str) -> None:
    """Its files go as well, unless another job refers to the same content."""
    with service.database.writing() as session:
        hashes = lifecycle.delete(session, job_id)
    service.store.remove_unused_of(service.database, hashes)


def _retry(
    session: Session,
    service: Service,
    user: str,
    job_id: str,
    from_start: bool,
    key: str | None,
) -> tuple[JobDocument, bool]:
    """The job that repeats another one, and whether it is new."""
    earlier = made_before(session, Job, key, "retry", job_id, from_start)
    if earlier is not None:
        return job_document(session, earlier), False
    old = read_job(session, job_id)
    if old.status not in (Status.failed, Status.cancelled):
        raise ConflictError(
            f"job {job_id} is {old.status}; only a failed or cancelled job can be retried"
        )
    specification = specification_of(old)
    origin = origins.kept_for(session, old)
    if origin is None and old.continues:
        raise ConflictError(
            f"the checkpoint that job {job_id} went on from was removed; continue job "
            f"{old.continues} again, or submit a new one"
        )
    submission = resolve(session, specification, service.settings, origin=origin, is_of_a_job=True)
    check_data(submission, old)
    project_id = viewer.inherited(old.project_id)
    check_jobs(session, service.settings, user, project_id=project_id)
    job = job_row(submission, retry_of=job_id)
    job.submitted_by, job.continues, job.project_id = user, old.continues, project_id
    of_theirs = viewer.may_change(old.owner_id, old.project_id)
    # The lock: nobody deletes the sweep meanwhile.
    if (
        old.sweep_id
        and of_theirs
        and session.get(Sweep, old.sweep_id, with_for_update=True) is not None
    ):
        job.sweep_id, job.sweep_index = old.sweep_id, old.sweep_index
    continue_job(session, job, old, submission.origin, from_start=from_start)
    remember(session, key, job.id, "retry", job_id, from_start)
    return job_document(session, job), True


def _submit(
    session: Session,
    service: Service,
    user: str,
    specification: JobSpecification,
    key: str | None,
) -> tuple[JobDocument, bool]:
    """The job for a request, and whether it is new."""
    earlier = find_earlier(session, Job, key, specification)
    if earlier is not None:
        return job_document(session, earlier), False
    submission = resolve(session, specification, service.settings)
    check_jobs(session, service.settings, user, project_id=viewer.project())
    job = job_row(submission, idempotency_key=key)
    job.submitted_by = user
    origins.store(session, job, submission.origin)
    return job_document(session, job), True


def _continue(
    session: Session, service: Service, user: str, job_id: str, more: Continuation, key: str | None
) -> tuple[JobDocument, bool]:
    """The job that trains another one further, and whether it is new."""
    request = ("continue", job_id, more.model_dump(mode="json", exclude_unset=True))
    earlier = made_before(session, Job, key, *request)
    if earlier is not None:
        return job_document(session, earlier), False
    old = read_job(session, job_id)
    project_id = viewer.inherited(old.project_id)
    check_jobs(session, service.settings, user, project_id=project_id)
    job = train_further(session, old, more, service.settings)
    job.submitted_by, job.project_id = user, project_id
    session.flush()
    remember(session, key, job.id, *request)
    return job_document(session, job), True


def _ask(
    service: Service, job_id: str, request: Callable[[Session, str], Job], key: str | None
) -> JobDocument:
    """The job after a request that changes it, or as it is where the same came before."""

    def ask(session: Session) -> JobDocument:
        job = made_before(session, Job, key, request.__name__, job_id)
        if job is None:
            job = request(session, job_id)
            remember(session, key, job_id, request.__name__, job_id)
        return job_document(session, job)

    return written(service, ask)
