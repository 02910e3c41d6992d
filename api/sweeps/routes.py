"""Sweeps: many jobs from one request, one table back."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Body, Query, Response
from sqlalchemy.orm import Session

from api.errors import (
    ConflictError,
    FieldError,
    InvalidRequestError,
    NotFoundError,
    TooLargeError,
)
from api.jobs import origins
from api.jobs.submission import Submission, check_priority, job_row, resolve
from api.store import remarks, viewer
from api.store.database import clock
from api.store.ids import new_id
from api.store.jobs import lifecycle
from api.store.tables.jobs import TERMINAL, Sweep
from api.sweeps.request import SweepRequest, specifications, told
from api.sweeps.table import (
    SweepDocument,
    SweepSummary,
    all_jobs,
    find_sweeps,
    read_sweep,
    sweep_document,
    table_csv,
)
from api.web.caller import CallerDependency, Mine, OfProject, ProjectHeader, belonging
from api.web.dependencies import Service, ServiceDependency
from api.web.idempotency import (
    IdempotencyKey,
    find_earlier,
    fingerprint,
    made_before,
    remember,
    written,
)
from api.web.limits import UserDependency, check_jobs
from api.web.problems.documents import ProblemField, responses
from api.web.remarks import MarksDependency, NamedRemarks
from api.web.rendering import attachment
from api.web.schemas import Document, Listing
from saf.config import JobSpecification

OF_ONE_JOB = ("name", "seed", "priority", "metadata")
"""What may differ between jobs that need the same memory and give the same numbers to automatic
settings."""
router = APIRouter(prefix="/v1/sweeps", tags=["sweeps"])
log = logging.getLogger(__name__)
MOST_CHARACTERS = 2**18  # of the JSON of a sweep


class SweepChange(NamedRemarks):
    """What people write on a sweep; what is left out stays as it is."""


class SweepValidation(Document):
    """What a sweep would be; the answer to `validate_only`."""

    object: Literal["sweep_validation"] = "sweep_validation"
    jobs_total: int
    names: list[str]
    memory_forecast_bytes: int
    """Of the job that needs most."""
    warnings: list[ProblemField]


@router.post(
    "",
    status_code=201,
    summary="Submit many jobs",
    response_model=SweepDocument,
    responses={
        200: {
            "model": SweepDocument | SweepValidation,
            "description": "The same request came before (Idempotency-Key), or validate_only",
        },
        **responses(400, 403, 409, 413, 415, 422, 429, 503),
    },
)
def submit_sweep(
    service: ServiceDependency,
    user: UserDependency,
    response: Response,
    request: Annotated[SweepRequest, Body()],
    validate_only: Annotated[
        bool, Query(description="Only say what the sweep would be; nothing is stored")
    ] = False,
    idempotency_key: IdempotencyKey = None,
    saf_project: ProjectHeader = None,
) -> Any:
    """All of them, or none: a combination that could not be a job is told with its values. Send
    `mode: zip` with as many values of each setting to name every job's values yourself."""
    if len(request.model_dump_json()) > MOST_CHARACTERS:
        raise TooLargeError(
            f"the sweep has more than {MOST_CHARACTERS} characters; make several of it"
        )
    wanted = specifications(request)
    if validate_only:
        with service.database.reading() as session:
            found = _resolved(session, service, request, wanted)
        return Response(_validation(found).model_dump_json(), media_type="application/json")
    with service.database.reading() as session:
        earlier = find_earlier(session, Sweep, idempotency_key, request)
        # Not while the database is locked for it: hundreds of jobs take a while.
        ready = [] if earlier is not None else [_resolved(session, service, request, wanted)]

    def write(session: Session) -> tuple[SweepDocument, bool]:
        # Once more when that failed: its data set was deleted meanwhile.
        found = ready.pop() if ready else None
        return _submit(session, service, user, request, wanted, found, idempotency_key)

    document, is_new = written(service, write)
    if is_new:
        log.info("%s was submitted, %d jobs", document.id, len(document.rows))
        for row in document.rows:
            service.wakeups.send(str(row.job))
    response.headers["Location"] = document.urls.self
    response.status_code = 201 if is_new else 200
    return document


@router.get("", summary="List sweeps", responses=responses(404, 409, 422, 503))
def list_sweeps(
    service: ServiceDependency,
    caller: CallerDependency,
    mine: Mine = False,
    project: OfProject = "",
    *,
    marks: MarksDependency,
    limit: Annotated[int, Query(ge=1, le=200)] = 20,
    after: Annotated[str, Query(description="`last_id` of the page before")] = "",
) -> Listing[SweepSummary]:
    """The newest first, without their tables."""
    with service.database.reading() as session:
        of = belonging(session, caller, mine, project)
        found, has_more = find_sweeps(session, limit=limit, after=after, of=of, marks=marks)
    return Listing(
        data=found,
        first_id=found[0].id if found else None,
        last_id=found[-1].id if found else None,
        has_more=has_more,
    )


@router.get(
    "/{sweep_id}",
    summary="Read a sweep and its table",
    response_model=SweepDocument,
    responses={
        200: {"content": {"text/csv": {"example": "job,name,status,/seed,test_accuracy\n"}}},
        **responses(404, 422, 503),
    },
)
def get_sweep(
    service: ServiceDependency,
    sweep_id: str,
    format: Annotated[
        Literal["json", "csv"], Query(description="`csv`: the table, a line for each job")
    ] = "json",
) -> SweepDocument | Response:
    """One row for each job: its values, and what came out so far. In the CSV a text that a
    spreadsheet would take for a formula has an apostrophe in front."""
    with service.database.reading() as session:
        document = sweep_document(session, read_sweep(session, sweep_id))
    if format == "json":
        return document
    return attachment(table_csv(document), "text/csv; charset=utf-8", f"{sweep_id}.csv")


@router.patch(
    "/{sweep_id}",
    summary="Name a sweep, tag it, write notes on it",
    responses=responses(400, 403, 404, 413, 415, 422, 503),
)
def change_sweep(
    service: ServiceDependency, sweep_id: str, changes: Annotated[SweepChange, Body()]
) -> SweepDocument:
    """At any time: its jobs, and what was asked for, stay as they are."""
    with service.database.writing() as session:
        sweep = read_sweep(session, sweep_id, lock=True)
        remarks.write(session, sweep, changes.model_dump(exclude_unset=True))
        return sweep_document(session, sweep)


@router.post(
    "/{sweep_id}/cancel",
    summary="Cancel the jobs of a sweep that have not ended",
    responses=responses(403, 404, 409, 503),
)
def cancel_sweep(
    service: ServiceDependency, sweep_id: str, idempotency_key: IdempotencyKey = None
) -> SweepDocument:
    """Those that run are `cancelling` until their processes are gone."""

    def cancel(session: Session) -> SweepDocument:
        sweep = read_sweep(session, sweep_id, lock=True)
        if made_before(session, Sweep, idempotency_key, "cancel", sweep_id) is None:
            for job in all_jobs(session, sweep):
                # It has ended, or was deleted just now.
                with suppress(ConflictError, NotFoundError):
                    lifecycle.cancel(session, job.id)
            remember(session, idempotency_key, sweep_id, "cancel", sweep_id)
        session.flush()
        session.expire_all()
        return sweep_document(session, sweep)

    return written(service, cancel)


@router.delete(
    "/{sweep_id}",
    status_code=204,
    summary="Delete a sweep whose jobs have ended, and them",
    responses=responses(403, 404, 409, 503),
)
def delete_sweep(service: ServiceDependency, sweep_id: str) -> None:
    """Files that another job refers to, too, stay."""
    with service.database.writing() as session:
        sweep = read_sweep(session, sweep_id, lock=True)
        jobs = all_jobs(session, sweep)
        going = sum(job.status not in TERMINAL for job in jobs)
        if going:
            raise ConflictError(
                f"{going} of the jobs of sweep {sweep_id} have not ended; cancel it first"
            )
        hashes = {one for job in jobs for one in lifecycle.delete(session, job.id)}
        session.delete(sweep)
    service.store.remove_unused_of(service.database, sorted(hashes))


def _resolved(
    session: Session,
    service: Service,
    request: SweepRequest,
    wanted: Sequence[JobSpecification],
) -> list[Submission]:
    found = []
    alike: dict[str, Submission] = {}
    for specification, settings in zip(wanted, request.settings(), strict=True):
        key = specification.model_dump_json(exclude=set(OF_ONE_JOB))
        try:
            check_priority(service.settings, specification)
            if key not in alike:
                alike[key] = resolve(session, specification, service.settings)
            own = {name: getattr(specification, name) for name in OF_ONE_JOB}
            numbers = alike[key].specification.model_copy(update=own)
            found.append(replace(alike[key], asked=specification, specification=numbers))
        except InvalidRequestError as error:
            fields = [
                FieldError(f"/job{field.pointer}", f"{field.detail} (with {told(settings)})")
                for field in error.errors
            ]
            detail = f"{error.detail} (with {told(settings)})"
            raise InvalidRequestError(detail, errors=fields) from error
    return found


def _submit(
    session: Session,
    service: Service,
    user: str,
    request: SweepRequest,
    wanted: Sequence[JobSpecification],
    submissions: Sequence[Submission] | None,
    key: str | None,
) -> tuple[SweepDocument, bool]:
    """The sweep for a request, and whether it is new."""
    earlier = find_earlier(session, Sweep, key, request)
    if earlier is not None:
        return sweep_document(session, earlier), False
    if submissions is None:
        submissions = _resolved(session, service, request, wanted)
    count = len(submissions)
    check_jobs(session, service.settings, user, count, project_id=viewer.project())
    sweep = Sweep(
        id=new_id("swp"),
        name=request.name or str(request.job.get("name") or ""),
        request=request.model_dump(mode="json"),
        idempotency_key=key,
        request_sha256=fingerprint(request),
        created_at=clock(session),
    )
    session.add(sweep)
    for index, submission in enumerate(submissions):
        job = job_row(submission)
        job.submitted_by, job.sweep_id, job.sweep_index = user, sweep.id, index
        origins.store(session, job, submission.origin)
    session.flush()
    return sweep_document(session, sweep), True


def _validation(found: Sequence[Submission]) -> SweepValidation:
    warnings = dict.fromkeys(warning for one in found for warning in one.warnings)
    return SweepValidation(
        jobs_total=len(found),
        names=[one.specification.name for one in found],
        memory_forecast_bytes=max(one.forecast.memory_bytes for one in found),
        warnings=[ProblemField(**warning._asdict()) for warning in warnings],
    )
