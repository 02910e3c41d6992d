"""Files that jobs leave behind: the list of a job's, and the bytes of one."""

from __future__ import annotations

import base64
import logging
import os
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, BinaryIO, Literal

import anyio
import anyio.to_thread
from fastapi import APIRouter, Header, Request
from sqlalchemy import select
from sqlalchemy.orm import Session
from starlette.responses import FileResponse, Response
from starlette.types import Message, Receive, Scope, Send

from api.errors import DamagedFileError, GoneError, NotFoundError, unreadable
from api.jobs.queries import read_job
from api.store.blobs.base import StoreError
from api.store.blobs.verified import DamagedError
from api.store.tables.results import Artifact
from api.web.asgi import prefix
from api.web.dependencies import ServiceDependency
from api.web.problems.documents import problem, responses
from api.web.problems.handler import request_id_of
from api.web.schemas import Document, Listing, Timestamp, iso

router = APIRouter(prefix="/v1", tags=["artifacts"])
log = logging.getLogger(__name__)


class ArtifactDocument(Document):
    """A file of a job."""

    id: str
    object: Literal["artifact"] = "artifact"
    job_id: str
    name: str
    kind: str
    """network, certificate, report, checkpoint; of an export: export, export certificate"""
    bytes: int
    sha256: str
    created_at: Timestamp
    url: str
    damaged: bool = False
    """Whether its content was found to be another than was stored; it is not sent then."""


class _File(FileResponse):
    """A file of the store, read as it is sent: parts of it too, from wherever the store is.

    A refusal of a `Range` header is a problem like any other.
    """

    def __init__(
        self, opened: BinaryIO, *, modified: float, name: str, headers: dict[str, str]
    ) -> None:
        """`opened` is closed when the response ends."""
        times = 3 * (modified,)
        size = opened.seek(0, os.SEEK_END)
        opened.seek(0)
        super().__init__(
            name,  # no path: `_open_file` opens it
            headers=headers,
            filename=name,
            media_type=_media_type(name),
            stat_result=os.stat_result((stat.S_IFREG, 0, 0, 1, 0, 0, size, *times)),
        )
        self._opened = opened

    @asynccontextmanager
    async def _open_file(self) -> AsyncIterator[anyio.AsyncFile[bytes]]:
        yield anyio.wrap_file(self._opened)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refused: Message | None = None

        async def pass_on(message: Message) -> None:
            nonlocal refused
            if message["type"] == "http.response.start" and message["status"] >= 400:
                refused = message
            if refused is None:
                await send(message)

        try:
            # Without extensions: a server that sends files by itself finds none here.
            await super().__call__({**scope, "extensions": {}}, receive, pass_on)
        except OSError as error:
            # The response has begun; one that ends too early is cut off by the server.
            log.warning("a download broke off: %s", error)
            return
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(self._opened.close)
        if refused is not None:
            size = self.headers["content-length"]
            response = problem(
                request_id_of(Request(scope)),
                refused["status"],
                f"the file has {size} bytes; ask for bytes=FIRST-LAST within them",
                code="range_not_satisfiable",
                headers={"Content-Range": f"bytes */{size}"},
            )
            await response(scope, receive, send)


def find_artifacts(session: Session, job_id: str) -> list[ArtifactDocument]:
    """The files of a job, by name."""
    rows = session.scalars(
        select(Artifact).where(Artifact.job_id == job_id).order_by(Artifact.name)
    )
    return [artifact_document(row) for row in rows]


@router.get(
    "/jobs/{job_id}/artifacts",
    summary="Files of a job",
    responses=responses(404, 503),
)
def list_artifacts(service: ServiceDependency, job_id: str) -> Listing[ArtifactDocument]:
    """Of a succeeded job at least the LIF network, its certificate, the report, the checkpoint."""
    with service.database.reading() as session:
        read_job(session, job_id)
        documents = find_artifacts(session, job_id)
    return Listing(
        data=documents,
        first_id=documents[0].id if documents else None,
        last_id=documents[-1].id if documents else None,
    )


@router.head("/artifacts/{artifact_id}", include_in_schema=False)
@router.get(
    "/artifacts/{artifact_id}",
    summary="Download a file",
    response_class=FileResponse,
    responses={
        200: {
            "description": "The bytes; `ETag` and `Repr-Digest` carry their SHA-256",
            "content": {"application/octet-stream": {}},
        },
        206: {"description": "The part that `Range` asks for"},
        304: {"description": "`If-None-Match` names these bytes"},
        **responses(404, 410, 416, 503),
    },
)
def get_artifact(
    service: ServiceDependency,
    artifact_id: str,
    if_none_match: Annotated[str | None, Header()] = None,
) -> Response:
    """Supports `Range` and `If-Range`, so that a broken download goes on where it stopped."""
    with service.database.reading() as session:
        artifact = session.get(Artifact, artifact_id)
    if artifact is None:
        raise NotFoundError(f"there is no artifact {artifact_id}")
    headers = {
        "ETag": f'"{artifact.sha256}"',
        "Repr-Digest": f"sha-256=:{base64.b64encode(bytes.fromhex(artifact.sha256)).decode()}:",
        "Cache-Control": "private, no-cache",
    }
    if if_none_match is not None and _names(if_none_match, artifact.sha256):
        return Response(status_code=304, headers=headers)
    remedy = "submit the specification of the job again to make it anew"
    try:
        opened = service.store.open(artifact.sha256)
    except FileNotFoundError as error:
        raise GoneError(f"the file {artifact.name} is no longer in the store; {remedy}") from error
    except DamagedError as error:
        raise DamagedFileError(f"the file {artifact.name}", remedy) from error
    except StoreError:
        raise
    except OSError as error:
        raise unreadable(artifact.name, error) from error
    name = artifact.name.rpartition("/")[2]
    return _File(opened, modified=artifact.created_at, name=name, headers=headers)


def _names(if_none_match: str, sha256: str) -> bool:
    tags = (tag.strip().removeprefix("W/") for tag in if_none_match.split(","))
    return any(tag in ("*", f'"{sha256}"') for tag in tags)


def _media_type(name: str) -> str:
    return "application/json" if name.endswith(".json") else "application/octet-stream"


def artifact_document(artifact: Artifact) -> ArtifactDocument:
    """The JSON of a file."""
    return ArtifactDocument(
        id=artifact.id,
        job_id=artifact.job_id,
        name=artifact.name,
        kind=artifact.kind,
        bytes=artifact.blob.bytes,
        sha256=artifact.sha256,
        created_at=iso(artifact.created_at),
        url=prefix.at(f"/v1/artifacts/{artifact.id}"),
        damaged=artifact.blob.damaged_at is not None,
    )
