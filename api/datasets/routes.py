"""Data sets: the catalogue that is built in, and uploads."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response
from sqlalchemy import delete, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from api.datasets.checks import Checks
from api.datasets.queries import (
    DatasetDocument,
    document,
    existing,
    find_datasets,
    read_dataset,
    sentence,
)
from api.errors import ConflictError, FieldError, InvalidRequestError
from api.store.database import clock
from api.store.datasets import drop_dataset
from api.store.tables import TERMINAL, Dataset, Job, new_id
from api.web.dependencies import ServiceDependency
from api.web.idempotency import IdempotencyKey, made_before, remember, written
from api.web.limits import UserDependency
from api.web.multipart import Upload, receive
from api.web.problems import responses
from api.web.schemas import Listing
from saf.data import CATALOGUE, FORMATS

router = APIRouter(prefix="/v1/datasets", tags=["datasets"])
CHECK_WAIT_SECONDS = 20.0
_NAME = re.compile(r"\w[\w .+\-]{0,199}")
_ID = re.compile(r"(ds|job|art|wrk|req)_\w*")
_ENDINGS = re.compile(r"(\.(zip|tar|tgz|tbz2|txz|gz|bz2|xz|npz|safetensors))+$", re.IGNORECASE)
_UPLOAD_FORM = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {
                        "file": {
                            "type": "string",
                            "format": "binary",
                            "description": "One file, or one archive (zip, tar) of several",
                        },
                        "name": {"type": "string", "description": "By default the file's name"},
                        "format": {"enum": ["auto", *FORMATS.names()], "default": "auto"},
                    },
                }
            }
        },
    }
}


def delete_dataset(session: Session, name_or_id: str) -> list[str]:
    """Remove an upload, or ConflictError while an unfinished job needs it. Returns the files that
    may go after the commit."""
    if name_or_id in CATALOGUE:
        raise ConflictError(f"the data set {name_or_id} is built in and cannot be deleted")
    found = existing(session, name_or_id)
    session.scalar(select(Dataset.id).where(Dataset.id == found.id).with_for_update())
    jobs = session.scalars(
        select(Job.id).where(Job.dataset_id == found.id, Job.status.not_in(TERMINAL)).limit(5)
    ).all()
    if jobs:
        raise ConflictError(
            f"the data set {found.name} is needed by {', '.join(jobs)}; wait for them or cancel "
            "them first"
        )
    return drop_dataset(session, found.id)


async def _receive(
    service: ServiceDependency, user: UserDependency, request: Request
) -> AsyncIterator[Upload]:
    # Async, so that the file goes to disk as it arrives.
    with service.seats.taken("upload", user):
        yield await receive(
            request,
            service.part(Checks).directory / new_id("ds"),
            allowed=frozenset({"name", "format"}),
            max_bytes=service.settings.upload_max_bytes,
            max_parts=service.settings.upload_max_parts,
        )


@router.post(
    "",
    status_code=201,
    summary="Upload a data set",
    openapi_extra=_UPLOAD_FORM,
    responses={
        200: {
            "model": DatasetDocument,
            "description": "The same request came before (Idempotency-Key)",
        },
        **responses(400, 403, 409, 413, 415, 422, 429, 503),
    },
)
def upload_dataset(
    service: ServiceDependency,
    response: Response,
    upload: Annotated[Upload, Depends(_receive, scope="function")],
    idempotency_key: IdempotencyKey = None,
) -> DatasetDocument:
    """Waits some seconds for the check: what cannot be used is refused with the reason. A longer
    check goes on, and `status` is `checking`."""
    dataset_id = upload.directory.name
    try:
        row = _new_row(dataset_id, upload)
        service.part(Checks).expire()
        earlier = written(service, lambda session: _stored(session, row, upload, idempotency_key))
    except BaseException as error:
        service.part(Checks).discard(upload.directory, upload.lock)
        if isinstance(error, IntegrityError):
            raise _taken(row.name) from error
        raise
    if earlier is not None:
        service.part(Checks).discard(upload.directory, upload.lock)
        response.headers["Location"] = earlier.urls.self
        response.status_code = 200
        return earlier
    check = service.part(Checks).start(
        dataset_id, file=upload.file, format_=row.format, lock=upload.lock
    )
    try:
        service.part(Checks).wait(check, CHECK_WAIT_SECONDS)
    except Exception:
        with service.database.writing() as session:
            session.execute(delete(Dataset).where(Dataset.id == dataset_id))
        raise
    with service.database.writing() as session:
        checked = existing(session, dataset_id)
        if checked.status == "invalid":
            session.delete(checked)
        answer = document(session, checked)
    if answer.status == "invalid":
        errors = [FieldError("/file", sentence(entry)) for entry in answer.problems]
        raise InvalidRequestError("; ".join(error.detail for error in errors), errors=errors)
    response.headers["Location"] = answer.urls.self
    return answer


@router.get("", summary="List data sets", responses=responses(422, 503))
def list_datasets(
    service: ServiceDependency,
    limit: Annotated[int, Query(ge=1, le=200)] = 100,
    after: Annotated[str, Query(description="`last_id` of the page before")] = "",
) -> Listing[DatasetDocument]:
    """What is built in comes first, then uploads, newest first."""
    with service.database.reading() as session:
        documents, has_more = find_datasets(session, limit=limit, after=after)
    return Listing(
        data=documents,
        first_id=documents[0].id if documents else None,
        last_id=documents[-1].id if documents else None,
        has_more=has_more,
    )


@router.get("/{dataset}", summary="Read a data set", responses=responses(404, 503))
def get_dataset(service: ServiceDependency, dataset: str) -> DatasetDocument:
    """By id or name."""
    with service.database.reading() as session:
        return read_dataset(session, dataset)


@router.delete(
    "/{dataset}",
    status_code=204,
    summary="Delete an upload",
    responses=responses(403, 404, 409, 503),
)
def remove_dataset(service: ServiceDependency, dataset: str) -> None:
    """Jobs that have ended stay as they are; an unfinished one that needs it forbids it."""
    with service.database.writing() as session:
        hashes = delete_dataset(session, dataset)
    service.store.remove_unused_of(service.database, hashes)


def _new_row(dataset_id: str, upload: Upload) -> Dataset:
    """The row of an upload, or InvalidRequestError for a name or format that cannot be."""
    stem = _ENDINGS.sub("", upload.file_name.replace("\\", "/").rpartition("/")[2])
    name = upload.fields.get("name", "").strip() or re.sub(r"[^\w .+\-]", "-", stem).strip(" .-+")
    if not _NAME.fullmatch(name):
        raise _invalid(
            "/name",
            f"{name!r} is no name: use 1 to 200 letters, digits, spaces and . + - _, beginning "
            "with a letter or digit",
        )
    if _ID.fullmatch(name):
        raise _invalid("/name", f"{name!r} looks like an identifier; use another name")
    if name in CATALOGUE:
        raise ConflictError(
            f"the name {name} belongs to a built-in data set; use another one",
            errors=[FieldError("/name", "is taken")],
        )
    format_ = upload.fields.get("format", "auto")
    if format_ != "auto" and format_ not in FORMATS:
        raise _invalid(
            "/format", f"there is no {format_!r}; use auto, {', '.join(FORMATS.names())}"
        )
    return Dataset(
        id=dataset_id,
        name=name,
        format=format_,
        status="checking",
        problems=[],
        upload_bytes=upload.bytes,
    )


def _stored(
    session: Session, row: Dataset, upload: Upload, key: str | None
) -> DatasetDocument | None:
    """Store a new row, or return the data set that the same request made before."""
    request = ("upload", row.name, row.format, upload.file_name, upload.sha256)
    earlier = made_before(session, Dataset, key, *request)
    if earlier is not None:
        return document(session, earlier)
    _insert(session, row)
    remember(session, key, row.id, *request)
    return None


def _insert(session: Session, row: Dataset) -> None:
    """Store a new row; an invalid upload of the same name makes room for it."""
    before = session.scalar(select(Dataset).where(Dataset.name == row.name))
    if before is not None and before.status != "invalid":
        raise _taken(row.name)
    if before is not None:
        session.delete(before)
        session.flush()
    row.created_at = clock(session)
    session.add(row)
    session.flush()


def _taken(name: str) -> ConflictError:
    return ConflictError(
        f"there is a data set named {name}; send another `name`, or delete that one first",
        errors=[FieldError("/name", "is taken")],
    )


def _invalid(pointer: str, detail: str) -> InvalidRequestError:
    return InvalidRequestError(f"{pointer}: {detail}", errors=[FieldError(pointer, detail)])
