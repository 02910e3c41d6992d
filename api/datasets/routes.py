"""Data sets: the catalogue that is built in, and uploads."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Annotated, Any

from anyio import CancelScope
from anyio.to_thread import run_sync
from fastapi import APIRouter, Body, Depends, Query, Request, Response
from sqlalchemy import select
from sqlalchemy.orm import Session
from starlette.exceptions import HTTPException

from api.datasets.accept import accept
from api.datasets.arrived import arrived, made_before, read_fields
from api.datasets.checks import Checks
from api.datasets.folders import register
from api.datasets.queries import document, existing, find_datasets, read_dataset
from api.datasets.schemas import DatasetDocument
from api.errors import ConflictError
from api.store import remarks
from api.store.datasets import drop_dataset
from api.store.ids import new_id
from api.store.tables.jobs import TERMINAL, Job
from api.store.tables.uploads import Dataset
from api.store.visibility import EVERYTHING
from api.uploads.files import Uploads
from api.web.caller import CallerDependency, Mine, OfProject, ProjectHeader, belonging
from api.web.dependencies import ServiceDependency
from api.web.idempotency import IdempotencyKey
from api.web.limits import UserDependency
from api.web.multipart import Upload, receive
from api.web.problems.documents import responses
from api.web.remarks import MarksDependency, Remarks
from api.web.schemas import Listing
from saf.data import CATALOGUE, FORMATS
from saf.data.formats.format import known_settings

router = APIRouter(prefix="/v1/datasets", tags=["datasets"])
_SETTINGS = known_settings()


def _upload_form() -> dict[str, Any]:
    """What OpenAPI says of the body of an upload."""
    texts = {name: {"type": "string", "description": said} for name, said in _SETTINGS.items()}
    properties = {
        "file": {
            "type": "string",
            "format": "binary",
            "description": "One file, or one archive (zip, tar) of several",
        },
        "name": {"type": "string", "description": "By default the file's name"},
        "format": {"enum": ["auto", *FORMATS.names()], "default": "auto"},
        **texts,
    }
    schema = {"type": "object", "required": ["file"], "properties": properties}
    return {
        "requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}}
    }


def delete_dataset(session: Session, name_or_id: str) -> tuple[str, list[str]]:
    """Remove an upload, or ConflictError while an unfinished job needs it. Returns its id, and the
    files that may go after the commit."""
    if name_or_id in CATALOGUE:
        raise ConflictError(f"the data set {name_or_id} is built in and cannot be deleted")
    found = existing(session, name_or_id)
    session.scalar(select(Dataset.id).where(Dataset.id == found.id).with_for_update())
    jobs = session.scalars(
        select(Job.id)
        .where(Job.dataset_id == found.id, Job.status.not_in(TERMINAL))
        .limit(5)
        .execution_options(**EVERYTHING)
    ).all()
    if jobs:
        raise ConflictError(
            f"the data set {found.name} is needed by {', '.join(jobs)}; wait for them or cancel "
            "them first"
        )
    return found.id, drop_dataset(session, found.id)


async def _receive(
    service: ServiceDependency, user: UserDependency, request: Request
) -> AsyncIterator[Upload | str]:
    # Async, so that the file goes to disk as it arrives.
    checks = service.part(Checks)
    directory = checks.directory / new_id("ds")
    if request.headers.get("content-type", "").partition(";")[0].strip() == "application/json":
        fields = await read_fields(request)
        if "folder" in fields:
            folder = await run_sync(register, service.settings, fields, directory)
            async with _until_taken(checks, folder):
                yield folder
            return
        uploads = service.part(Uploads)
        async with AsyncExitStack() as stack:
            # The answer to the same request may have been lost.
            before = await made_before(service, uploads, fields)
            try:
                if before is None:
                    upload = await stack.enter_async_context(arrived(uploads, fields, directory))
            except HTTPException as error:  # another request holds it; it may be the same one
                before = await made_before(service, uploads, fields)
                if before is None:
                    raise error
            if before is not None:
                yield before
                return
            await stack.enter_async_context(_until_taken(checks, upload))
            yield upload
        return
    async with service.concurrency.held("upload", user):
        form = await receive(
            request,
            directory,
            allowed=frozenset({"name", "format", *_SETTINGS}),
            max_bytes=service.settings.upload_max_bytes,
            max_parts=service.settings.upload_max_parts,
        )
        async with _until_taken(checks, form):
            yield form


@asynccontextmanager
async def _until_taken(checks: Checks, upload: Upload) -> AsyncIterator[None]:
    """Remove what the block has handed to nobody, as where another part of the request is
    refused."""
    try:
        yield
    finally:
        if not upload.taken.is_set():
            with CancelScope(shield=True):
                await run_sync(checks.discard, upload.directory, upload.lock)


@router.post(
    "",
    status_code=201,
    summary="Upload a data set",
    openapi_extra=_upload_form(),
    responses={
        200: {
            "model": DatasetDocument,
            "description": "The same request came before (Idempotency-Key)",
        },
        **responses(400, 403, 404, 409, 410, 413, 415, 422, 423, 429, 503),
    },
)
def upload_dataset(
    service: ServiceDependency,
    response: Response,
    user: UserDependency,
    upload: Annotated[Upload | str, Depends(_receive, scope="function")],
    idempotency_key: IdempotencyKey = None,
    saf_project: ProjectHeader = None,
) -> DatasetDocument:
    """Waits some seconds for the check: what cannot be used is refused with the reason. A longer
    check goes on, and `status` is `checking`. What can be read in more than one way is kept: then
    `status` is `needs_choice`, and `questions` are to be answered (`urls.choices`), unless the
    settings say it at once. `{"upload": …}` as JSON takes a resumable upload that has arrived; what
    is refused stays an upload, for another try. `{"folder": …}` registers a folder of the server,
    below those that its operator names (SAF_DATASET_FOLDERS)."""
    if isinstance(upload, str):
        with service.database.reading() as session:
            answer = read_dataset(session, upload)
        response.status_code = 200
        response.headers["Location"] = answer.urls.self
        return answer
    return accept(service, response, upload, user, idempotency_key)


@router.get("", summary="List data sets", responses=responses(404, 409, 422, 503))
def list_datasets(
    service: ServiceDependency,
    caller: CallerDependency,
    mine: Mine = False,
    project: OfProject = "",
    *,
    marks: MarksDependency,
    limit: Annotated[int, Query(ge=1, le=200)] = 100,
    after: Annotated[str, Query(description="`last_id` of the page before")] = "",
) -> Listing[DatasetDocument]:
    """What is built in comes first, then uploads, newest first; with `mine`, `project`, `tag` or
    `favourite` uploads alone."""
    with service.database.reading() as session:
        of = belonging(session, caller, mine, project)
        documents, has_more = find_datasets(session, limit=limit, after=after, of=of, marks=marks)
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


@router.patch(
    "/{dataset}",
    summary="Tag a data set, write notes on it",
    responses=responses(400, 403, 404, 409, 413, 415, 422, 503),
)
def change_dataset(
    service: ServiceDependency, dataset: str, changes: Annotated[Remarks, Body()]
) -> DatasetDocument:
    """At any time. Its name and its samples stay as they are, since jobs name them; 409 for what is
    built in."""
    if dataset in CATALOGUE:
        raise ConflictError(f"{dataset} is built in, and everybody's; nobody writes on it")
    with service.database.writing() as session:
        row = existing(session, dataset)
        remarks.write(session, row, changes.model_dump(exclude_unset=True))
        return document(session, row)


@router.delete(
    "/{dataset}",
    status_code=204,
    summary="Delete an upload",
    responses=responses(403, 404, 409, 503),
)
def remove_dataset(service: ServiceDependency, dataset: str) -> None:
    """Jobs that have ended stay as they are; an unfinished one that needs it forbids it."""
    with service.database.writing() as session:
        id_, hashes = delete_dataset(session, dataset)
    service.store.remove_unused_of(service.database, hashes)
    service.part(Checks).clear(id_)
