"""Networks of one's own, to start jobs from: uploaded, listed, deleted."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import AsyncIterator
from typing import Annotated

from anyio import CancelScope
from anyio.to_thread import run_sync
from fastapi import APIRouter, Depends, Query, Request, Response
from sqlalchemy.orm import Session

from api.errors import InvalidRequestError, TooLargeError
from api.networks.checks import check
from api.networks.form import FIELDS, FORM, MAX_FIELD_BYTES, reading_in, samples_of
from api.networks.queries import documents, existing, find_networks, read_network
from api.networks.schemas import NetworkDocument
from api.store import viewer
from api.store.blobs.base import Incoming
from api.store.database import clock
from api.store.datasets import count_alone
from api.store.ids import new_id
from api.store.limits import room
from api.store.tables.uploads import UploadedNetwork
from api.uploads.files import Uploads
from api.web.caller import CallerDependency, Mine, OfProject, ProjectHeader, belonging
from api.web.dependencies import ServiceDependency
from api.web.idempotency import IdempotencyKey, id_made_before, made_before, remember, written
from api.web.limits import UserDependency
from api.web.multipart import Upload, receive
from api.web.problems.documents import responses
from api.web.schemas import Listing

router = APIRouter(prefix="/v1/networks", tags=["networks"])
_NAME = re.compile(r"\w[\w .+\-]{0,199}")


async def _receive(
    service: ServiceDependency, user: UserDependency, request: Request
) -> AsyncIterator[Upload]:
    async with service.concurrency.held("upload", user):
        upload = await receive(
            request,
            service.part(Uploads).directory / new_id("net"),
            allowed=frozenset(FIELDS),
            max_bytes=service.settings.upload_max_bytes,
            max_parts=max(service.settings.upload_max_parts, len(FIELDS) + 1),
            max_field_bytes=MAX_FIELD_BYTES,
        )
        try:
            yield upload
        finally:
            with CancelScope(shield=True):
                await run_sync(_discard, upload)


def _discard(upload: Upload) -> None:
    shutil.rmtree(upload.directory, ignore_errors=True)
    upload.lock.release()


@router.post(
    "",
    status_code=201,
    summary="Upload a network to start jobs from",
    openapi_extra=FORM,
    responses={
        200: {
            "model": NetworkDocument,
            "description": "The same request came before (Idempotency-Key)",
        },
        **responses(400, 403, 409, 413, 415, 422, 429, 503),
    },
)
def upload_network(
    service: ServiceDependency,
    response: Response,
    user: UserDependency,
    upload: Annotated[Upload, Depends(_receive, scope="function")],
    idempotency_key: IdempotencyKey = None,
    saf_project: ProjectHeader = None,
) -> NetworkDocument:
    """A `lif.safetensors` of any version of the format, of one's own program or of a job; an NIR
    file of a plain stack of layers; or the state dict of a ReLU network as safetensors, which
    becomes a network of integrate-and-fire neurons. It is checked at once, in a process of its own,
    and never unpickled. What NIR and weights leave open is a field of the form; what none says is
    told in `assumptions`. `"init": {"network": id}` in a specification then starts with its
    weights."""
    name = _name_of(upload)
    reading = reading_in(upload.fields)
    given = {key: value for key, value in upload.fields.items() if key != "name"}
    request: tuple[str, ...] = ("network", name, upload.sha256)
    if given:
        request += (json.dumps(given, sort_keys=True),)
    with service.database.reading() as session:
        made = id_made_before(session, idempotency_key, *request)
        before = None if made is None else session.get(UploadedNetwork, made)
        if before is not None:
            return _answer(response, documents(session, [before])[0], status=200)
    samples = samples_of(service, upload.fields.get("dataset") or "")
    found, kept = check(service.settings, upload.file, reading, samples)
    incoming = service.store.receive(kept)
    try:
        row = {
            "name": name,
            "bytes": kept.stat().st_size,
            "settings": found["settings"],
            "facts": found["facts"],
            "uploaded_by": user,
        }

        def store(session: Session) -> tuple[NetworkDocument, int]:
            earlier = made_before(session, UploadedNetwork, idempotency_key, *request)
            if earlier is not None:
                return documents(session, [earlier])[0], 200
            network = _kept(service, session, incoming, row)
            remember(session, idempotency_key, network.id, *request)
            return documents(session, [network])[0], 201

        answer, status = written(service, store)
    finally:
        service.store.discard(incoming)
    return _answer(response, answer, status=status)


def _kept(
    service: ServiceDependency, session: Session, incoming: Incoming, row: dict[str, object]
) -> UploadedNetwork:
    count_alone(session)
    whose = room.bounds(
        session,
        service.settings,
        owner_id=viewer.owner(),
        project_id=viewer.project(),
        address=str(row["uploaded_by"]),
    )
    if why := room.lacking(session, whose, incoming.sha256, incoming.bytes):
        raise TooLargeError(f"{why}; delete some first")
    sha256 = service.store.keep(session, incoming)
    network = UploadedNetwork(id=new_id("net"), sha256=sha256, created_at=clock(session), **row)
    session.add(network)
    session.flush()
    return network


def _answer(response: Response, network: NetworkDocument, *, status: int) -> NetworkDocument:
    response.status_code = status
    response.headers["Location"] = network.url
    return network


def _name_of(upload: Upload) -> str:
    stem = upload.file_name.replace("\\", "/").rpartition("/")[2]
    stem = re.sub(r"\.(safetensors|nir|h5|hdf5)$", "", stem)
    of_file = re.sub(r"[^\w .+\-]", "-", stem).strip(" .-+")
    name = str(upload.fields.get("name") or "").strip() or of_file
    if not _NAME.fullmatch(name):
        raise InvalidRequestError.at(
            "/name",
            f"{name!r} is no name: use 1 to 200 letters, digits, spaces and . + - _, beginning "
            "with a letter or digit",
        )
    return name


@router.get("/uploaded", summary="List uploaded networks", responses=responses(404, 409, 422, 503))
def list_uploaded(
    service: ServiceDependency,
    caller: CallerDependency,
    mine: Mine = False,
    project: OfProject = "",
    limit: Annotated[int, Query(ge=1, le=200)] = 100,
    after: Annotated[str, Query(description="`last_id` of the page before")] = "",
) -> Listing[NetworkDocument]:
    """The newest first. `GET /v1/networks` lists the kinds of networks that can be trained."""
    with service.database.reading() as session:
        of = belonging(session, caller, mine, project)
        found, has_more = find_networks(session, limit=limit, after=after, of=of)
    return Listing(
        data=found,
        first_id=found[0].id if found else None,
        last_id=found[-1].id if found else None,
        has_more=has_more,
    )


@router.get("/{network}", summary="Read an uploaded network", responses=responses(404, 503))
def get_network(service: ServiceDependency, network: str) -> NetworkDocument:
    """With what a job that starts from it takes over."""
    with service.database.reading() as session:
        return read_network(session, network)


@router.delete(
    "/{network}",
    status_code=204,
    summary="Delete an uploaded network",
    responses=responses(403, 404, 503),
)
def delete_network(service: ServiceDependency, network: str) -> None:
    """Jobs that start from it keep its file until they have ended."""
    with service.database.writing() as session:
        row = existing(session, network, lock=True)
        sha256 = row.sha256
        session.delete(row)
    service.store.remove_unused_of(service.database, [sha256])
