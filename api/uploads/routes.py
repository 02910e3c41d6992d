"""Resumable uploads by the protocol tus 1.0 (https://tus.io/protocols/resumable-upload), with the
extensions creation, creation-with-upload, termination, checksum and expiration.

An upload that has arrived becomes a data set by `POST /v1/datasets {"upload": …}`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from email.utils import formatdate
from typing import Annotated, Literal

import anyio.to_thread
from fastapi import APIRouter, Depends, Header, Request, Response
from sqlalchemy.exc import IntegrityError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from api.errors import (
    ConflictError,
    GoneError,
    NotFoundError,
    ServiceError,
    TooLargeError,
    UnavailableError,
)
from api.uploads.files import Upload, UploadInUseError, Uploads, Writer
from api.uploads.headers import ALGORITHMS, read_checksum, read_metadata
from api.web.asgi import prefix
from api.web.dependencies import Service, ServiceDependency
from api.web.idempotency import IdempotencyKey, forget, id_made_before, remember
from api.web.limits import UserDependency
from api.web.problems.documents import responses
from api.web.schemas import Document, Timestamp, iso

router = APIRouter(prefix="/v1/uploads", tags=["uploads"])
VERSION = "1.0.0"
EXTENSIONS = "creation,creation-with-upload,termination,checksum,expiration"
CONTENT_TYPE = "application/offset+octet-stream"
BLOCK = 2**20  # bytes that go to the disk together
LARGEST = 2**53
HELD_SECONDS = 1.0  # that one request waits for another one to let an upload go
MOST_METADATA = 8192  # characters
_TUS = {"Tus-Resumable": VERSION}
_PROTOCOL = {**_TUS, "Cache-Control": "no-store"}
TusVersion = Annotated[str | None, Header(description=f"The version of the protocol, {VERSION}")]


class UploadUrls(Document):
    self: str


class UploadDocument(Document):
    """A file that arrives in pieces."""

    id: str
    object: Literal["upload"] = "upload"
    name: str
    """Of the file, from `Upload-Metadata: filename`."""
    bytes: int
    """Of all of it."""
    received: int
    """Bytes that have arrived, and are kept; the next ones are sent from here."""
    expires_at: Timestamp
    """When it goes if nothing comes any more."""
    dataset: str | None
    """The id of the data set that was made of it, which may be gone; null before."""
    urls: UploadUrls


def _document(upload: Upload) -> UploadDocument:
    return UploadDocument(
        id=upload.id,
        name=upload.name,
        bytes=upload.length,
        received=upload.offset,
        expires_at=iso(upload.expires_at) or "",
        dataset=None if upload.became is None else upload.became.dataset_id,
        urls=UploadUrls(self=prefix.at(f"/v1/uploads/{upload.id}")),
    )


def _headers(upload: Upload) -> dict[str, str]:
    return {
        **_PROTOCOL,
        "Upload-Offset": str(upload.offset),
        "Upload-Length": str(upload.length),
        "Upload-Expires": formatdate(upload.expires_at, usegmt=True),
    }


async def _speaks(tus_resumable: TusVersion = None) -> None:
    if tus_resumable != VERSION:
        raise HTTPException(
            412,
            f"this address speaks the protocol tus: send the header Tus-Resumable: {VERSION}",
            {"Tus-Version": VERSION},
        )


@router.options(
    "",
    status_code=204,
    response_class=Response,
    summary="What this server can do of tus",
    responses={204: {"description": "In headers: version, extensions, largest upload"}},
)
async def get_protocol(service: ServiceDependency) -> Response:
    """Version, extensions, the largest upload and the checksums, as headers."""
    headers = {
        **_TUS,
        "Tus-Version": VERSION,
        "Tus-Extension": EXTENSIONS,
        "Tus-Max-Size": str(service.settings.upload_max_bytes),
        "Tus-Checksum-Algorithm": ",".join(ALGORITHMS),
    }
    return Response(status_code=204, headers=headers)


@router.post(
    "",
    status_code=201,
    summary="Begin an upload",
    dependencies=[Depends(_speaks)],
    responses=responses(400, 403, 409, 412, 413, 415, 423, 429, 503),
)
async def begin_upload(
    service: ServiceDependency,
    user: UserDependency,
    request: Request,
    response: Response,
    upload_length: Annotated[
        int | None, Header(ge=0, lt=LARGEST, description="Bytes of all of it")
    ] = None,
    upload_metadata: Annotated[
        str, Header(description="`filename BASE64,…`", max_length=MOST_METADATA)
    ] = "",
    upload_checksum: Annotated[str | None, Header(description="`sha256 BASE64`")] = None,
    idempotency_key: IdempotencyKey = None,
) -> UploadDocument:
    """The address in `Location` takes the bytes; the first ones may come at once, as the body, of
    type `application/offset+octet-stream`."""
    if upload_length is None:
        raise HTTPException(400, "say how long the file is: Upload-Length: BYTES")
    if upload_length > service.settings.upload_max_bytes:
        raise TooLargeError(
            f"the file is larger than {service.settings.upload_max_bytes} bytes; send fewer or "
            "smaller samples, or set SAF_UPLOAD_MAX_BYTES on the server"
        )
    metadata = read_metadata(upload_metadata)
    uploads = service.part(Uploads)
    begun = ("uploads", upload_length, upload_metadata)
    made = await anyio.to_thread.run_sync(_begun_before, service, idempotency_key, begun)
    is_new = made is None
    if made is None:
        with _disk():
            made = await anyio.to_thread.run_sync(
                lambda: uploads.create(
                    upload_length, name=metadata.get("filename", ""), metadata=metadata, user=user
                )
            )
            first = await anyio.to_thread.run_sync(
                _remembered, service, idempotency_key, made, begun
            )
        is_new, made = first.id == made.id, first
    if is_new and request.headers.get("content-type", "").partition(";")[0].strip() == CONTENT_TYPE:
        made = await _receive(service, user, request, made.id, 0, upload_checksum)
    document = _document(made)
    response.headers.update({**_headers(made), "Location": document.urls.self})
    return document


@router.get(
    "/{upload}", summary="How much of an upload has arrived", responses=responses(404, 410, 503)
)
async def get_upload(service: ServiceDependency, response: Response, upload: str) -> UploadDocument:
    """Also as headers (`Upload-Offset`), which `HEAD` asks for. One that has become a data set is
    complete, for a day."""
    with _disk():
        found = await anyio.to_thread.run_sync(service.part(Uploads).find, upload)
    response.headers.update(_headers(found))
    return _document(found)


@router.patch(
    "/{upload}",
    status_code=204,
    response_class=Response,
    summary="Send bytes of an upload",
    dependencies=[Depends(_speaks)],
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {CONTENT_TYPE: {"schema": {"type": "string", "format": "binary"}}},
        }
    },
    responses=responses(400, 403, 404, 408, 409, 410, 412, 413, 415, 423, 429, 460, 503),
)
async def send_bytes(
    service: ServiceDependency,
    user: UserDependency,
    request: Request,
    upload: str,
    upload_offset: Annotated[
        int | None, Header(ge=0, lt=LARGEST, description="As the server has it")
    ] = None,
    upload_checksum: Annotated[str | None, Header(description="`sha256 BASE64`")] = None,
) -> Response:
    """From `Upload-Offset` on. Where the connection breaks, what came is kept, unless it came with
    a checksum: then all of the request's bytes are kept or none."""
    if request.headers.get("content-type", "").partition(";")[0].strip() != CONTENT_TYPE:
        raise HTTPException(415, f"send the bytes as Content-Type: {CONTENT_TYPE}")
    if upload_offset is None:
        raise HTTPException(400, "say from where on: Upload-Offset: BYTES")
    found = await _receive(service, user, request, upload, upload_offset, upload_checksum)
    return Response(status_code=204, headers=_headers(found))


@router.delete(
    "/{upload}",
    status_code=204,
    response_class=Response,
    summary="Give up an upload",
    dependencies=[Depends(_speaks)],
    responses=responses(403, 404, 409, 412, 423, 503),
)
async def remove_upload(service: ServiceDependency, upload: str) -> Response:
    """What has arrived goes. One that has become a data set is deleted as that."""
    uploads = service.part(Uploads)
    async with held(uploads, upload, also_old=True) as found:
        with _disk():
            await anyio.to_thread.run_sync(uploads.remove, found)
    return Response(status_code=204, headers=_PROTOCOL)


def _begun_before(service: Service, key: str | None, begun: tuple[object, ...]) -> Upload | None:
    """The upload that the same request with this key began, if it is still there."""
    if key is None:
        return None
    with service.database.writing() as session:
        id_ = id_made_before(session, key, *begun)
        if id_ is None:
            return None
        try:
            return service.part(Uploads).find(id_)
        except (NotFoundError, GoneError):
            forget(session, key)
            return None


def _remembered(
    service: Service, key: str | None, made: Upload, begun: tuple[object, ...]
) -> Upload:
    """The upload that is remembered as begun with this key: that one, or the one of the same
    request that came at the same moment."""
    if key is None:
        return made
    uploads = service.part(Uploads)
    try:
        with service.database.writing() as session:
            remember(session, key, made.id, *begun)
    except BaseException as error:
        uploads.remove(made)  # nobody knows of it
        if not isinstance(error, IntegrityError):
            raise
        first = _begun_before(service, key, begun)
        if first is None:
            raise
        return first
    return made


async def _receive(
    service: Service, user: str, request: Request, id_: str, offset: int, checksum: str | None
) -> Upload:
    """Write the body of a request to an upload, as it comes."""
    expected = None if checksum is None else read_checksum(checksum)
    uploads = service.part(Uploads)
    async with service.concurrency.held("upload", user), held(uploads, id_) as found:
        if offset != found.offset:
            raise HTTPException(
                409,
                f"{found.offset} bytes of the upload have arrived, not {offset}; go on from there",
                _headers(found),
            )
        if not found.has_bytes:
            raise ConflictError(f"the upload {id_} is complete, and has become a data set")
        with _disk():
            writer = await anyio.to_thread.run_sync(Writer, found, expected)
            fits = False
            try:
                await write_body(request, writer, found.length)
            finally:
                with anyio.CancelScope(shield=True):
                    fits = await anyio.to_thread.run_sync(writer.close)
        if not fits:
            raise HTTPException(
                460, "the bytes are not those that the checksum is of; send them again"
            )
        return await anyio.to_thread.run_sync(uploads.find, id_)


async def write_body(request: Request, writer: Writer, length: int) -> None:
    """Write a body as it comes, some of it together. Raises TooLargeError beyond `length`, and
    OSError."""
    waiting: list[bytes] = []
    size = 0
    try:
        async for block in request.stream():
            if writer.offset + size + len(block) > length:
                raise TooLargeError(
                    f"more bytes came than the {length} that were announced (Upload-Length)"
                )
            waiting.append(block)
            size += len(block)
            if size >= BLOCK:
                # Out of `waiting` first: whatever ends this write, its thread goes on with it.
                together, waiting, size = b"".join(waiting), [], 0
                await anyio.to_thread.run_sync(writer.write, together)
    finally:
        # What came before the connection broke is worth as much.
        if waiting:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(writer.write, b"".join(waiting))


@asynccontextmanager
async def held(uploads: Uploads, id_: str, *, also_old: bool = False) -> AsyncIterator[Upload]:
    """The upload for this request alone; 423 while another one writes, for longer than one takes to
    notice that its client is gone."""
    deadline = anyio.current_time() + HELD_SECONDS
    while True:
        holder = uploads.held(id_, also_old=also_old)
        try:
            with _disk():
                found = await anyio.to_thread.run_sync(holder.__enter__)
            break
        except UploadInUseError:
            if anyio.current_time() < deadline:
                await anyio.sleep(0.05)
                continue
            raise HTTPException(
                423,
                f"another request sends bytes of {id_}, or makes a data set of it; wait until it "
                "has ended, and ask how many have arrived",
                {"Retry-After": "1"},
            ) from None
    try:
        yield found
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(holder.__exit__, None, None, None)


@contextmanager
def _disk() -> Iterator[None]:
    """What the disk refuses is told in words."""
    try:
        yield
    except (ServiceError, HTTPException, ClientDisconnect):
        raise
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise UnavailableError(f"the upload cannot be stored: {reason}") from error
