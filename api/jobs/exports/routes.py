"""Exports of a job: order one, watch it, take it back."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Annotated, Any

from fastapi import APIRouter, Body, Response
from pydantic import ValidationError
from sqlalchemy import select
from sqlalchemy.orm import Session

from api.errors import ConflictError, FieldError, GoneError, InvalidRequestError, unreadable
from api.jobs.exports.queries import (
    export_documents,
    find_exports,
    network_of,
    outline_of_network,
    read_export,
)
from api.jobs.exports.schemas import ExportDocument, ExportRequest
from api.jobs.queries import read_job
from api.jobs.results.predict import NETWORK
from api.settings import Settings
from api.store.blobs.base import StoreError
from api.store.jobs import exports
from api.store.tables.jobs import Job, Status
from api.store.tables.results import Export
from api.web.dependencies import Service, ServiceDependency
from api.web.idempotency import IdempotencyKey, made_before, remember, written
from api.web.limits import check_export
from api.web.problems.documents import responses
from api.web.schemas import Listing
from saf.config.targets import TARGETS, Target, target_of, unfit_for

router = APIRouter(prefix="/v1/jobs", tags=["exports"])
MOST_ERRORS = 20  # that an answer names
log = logging.getLogger(__name__)


@router.post(
    "/{job_id}/exports",
    status_code=201,
    summary="Write a job's network for another tool",
    responses={
        200: {
            "model": ExportDocument,
            "description": "The same request came before (Idempotency-Key), or the same export is "
            "queued or running",
        },
        **responses(400, 403, 404, 409, 410, 413, 415, 422, 429, 503),
    },
)
def order_export(
    service: ServiceDependency,
    response: Response,
    job_id: str,
    order: Annotated[ExportRequest, Body()],
    idempotency_key: IdempotencyKey = None,
) -> ExportDocument:
    """A worker writes the network of a job that has succeeded, runs it in the reader of the target
    on samples of the evaluation split, and certifies what came out. The files become artifacts of
    the job, `exports/TARGET/…`; those of an earlier export to the target are replaced.

    A network that the target cannot express is refused, with the layer and what to change."""
    target = _target(order)
    with service.database.reading() as session:
        network = _network(session, read_job(session, job_id))
    _check(service, target, network)
    document, is_new = written(
        service,
        lambda session: _order(session, service.settings, job_id, order, target, idempotency_key),
    )
    if is_new:
        log.info("%s of %s was ordered", document.id, job_id, extra={"job_id": job_id})
        service.wakeups.send(document.id)
    response.headers["Location"] = document.url
    response.status_code = 201 if is_new else 200
    return document


@router.get("/{job_id}/exports", summary="Exports of a job", responses=responses(404, 503))
def list_exports(service: ServiceDependency, job_id: str) -> Listing[ExportDocument]:
    """The newest first."""
    with service.database.reading() as session:
        read_job(session, job_id)
        found = export_documents(session, find_exports(session, job_id))
    return Listing(
        data=found,
        first_id=found[0].id if found else None,
        last_id=found[-1].id if found else None,
    )


@router.get("/{job_id}/exports/{export}", summary="Read an export", responses=responses(404, 503))
def get_export(service: ServiceDependency, job_id: str, export: str) -> ExportDocument:
    """By its id, or by the name of its target: then the newest one."""
    with service.database.reading() as session:
        read_job(session, job_id)
        return export_documents(session, [read_export(session, job_id, export)])[0]


@router.delete(
    "/{job_id}/exports/{export}",
    status_code=204,
    summary="Delete an export",
    responses=responses(403, 404, 503),
)
def delete_export(service: ServiceDependency, job_id: str, export: str) -> None:
    """With its files. One that is queued or running ends."""
    with service.database.writing() as session:
        read_job(session, job_id)
        exports.hold(session, job_id)
        hashes = exports.remove(session, read_export(session, job_id, export))
    service.store.remove_unused_of(service.database, hashes)


def _target(order: ExportRequest) -> Target:
    if order.target not in TARGETS:
        known = ", ".join(TARGETS.names())
        raise InvalidRequestError.at(
            "/target", f"there is no target {order.target!a}; take {known}"
        )
    if "name" in order.options:
        raise InvalidRequestError.at("/options/name", "the name is said by target; leave it out")
    try:
        return target_of(order.target, order.options)
    except ValidationError as error:
        errors = list(_wrong_options(order.target, error))
        raise InvalidRequestError(
            "; ".join(f"{pointer}: {detail}" for pointer, detail in errors), errors=errors
        ) from error


def _wrong_options(target: str, error: ValidationError) -> Iterator[FieldError]:
    known = [name for name in TARGETS[target].model_fields if name != "name"]
    has = f"{target} has {', '.join(known)}" if known else f"{target} has none"
    found = error.errors(include_url=False, include_context=False, include_input=False)
    for each in found[:MOST_ERRORS]:
        is_unknown = each["type"] == "extra_forbidden"
        detail = f"there is no such option; {has}" if is_unknown else each["msg"]
        yield FieldError("/options/" + "/".join(map(str, each["loc"])), detail)


def _network(session: Session, job: Job) -> str:
    """The hash of the network of a job that can be exported."""
    if job.status != Status.succeeded:
        raise ConflictError(
            f"job {job.id} is {job.status}; only one that has succeeded is exported"
        )
    network = network_of(session, job.id)
    if network is None:
        raise GoneError(f"the file {NETWORK} of job {job.id} is no longer there")
    return network


def _check(service: Service, target: Target, network: str) -> None:
    """Refuse what the header of the network shows to be impossible."""
    try:
        outline = outline_of_network(service.store, network)
    except StoreError:
        raise
    except OSError as error:
        raise unreadable(NETWORK, error) from error
    found = () if outline is None else unfit_for(target, outline)
    if found:
        said = [str(each) for each in found[:MOST_ERRORS]]
        raise InvalidRequestError(
            f"/target: {target.label} cannot express this network: {said[0]}",
            errors=[FieldError("/target", each) for each in said],
        )


def _order(
    session: Session,
    settings: Settings,
    job_id: str,
    order: ExportRequest,
    target: Target,
    key: str | None,
) -> tuple[ExportDocument, bool]:
    """The export for a request, and whether it is new."""
    request: tuple[Any, ...] = ("export", job_id, order.model_dump(mode="json"))
    earlier = made_before(session, Export, key, *request)
    if earlier is not None:
        return export_documents(session, [earlier])[0], False
    # The lock: two orders at the same moment do not both find none.
    session.scalar(select(Job.id).where(Job.id == job_id).with_for_update())
    job = read_job(session, job_id)
    _network(session, job)
    options = target.model_dump(mode="json", exclude={"name"})
    waiting = session.scalar(
        select(Export).where(
            Export.job_id == job_id,
            Export.target == order.target,
            Export.status.not_in(exports.ENDED),
        )
    )
    if waiting is None:
        check_export(session, settings, job)
        export = exports.submit(
            session, job_id=job_id, target=order.target, options=options, samples=order.samples
        )
        remember(session, key, export.id, *request)
        return export_documents(session, [export])[0], True
    if waiting.options != options or waiting.samples != order.samples:
        raise ConflictError(
            f"export {waiting.id} to {order.target} is {waiting.status} with other options; wait "
            "for it, or delete it first"
        )
    remember(session, key, waiting.id, *request)
    return export_documents(session, [waiting])[0], False
