"""A data set of what lies on the server already: a resumable upload that has arrived."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
from anyio.to_thread import run_sync
from fastapi import Request
from sqlalchemy import select

from api.datasets import accept
from api.datasets.checks import keep_origin
from api.datasets.settings import read_settings
from api.errors import (
    ConflictError,
    FieldError,
    GoneError,
    InvalidRequestError,
    TooLargeError,
    UnavailableError,
)
from api.host.lock import DirectoryLock
from api.store import viewer
from api.store.tables.uploads import Dataset
from api.uploads.files import Upload as ArrivingUpload
from api.uploads.files import Uploads
from api.uploads.routes import held
from api.web.caller import PROJECT
from api.web.dependencies import Service
from api.web.multipart import FILE_FIELD, Upload, plain_file_name

MOST_BYTES = 2**16  # of the JSON
LOOK_SECONDS = 0.1
log = logging.getLogger(__name__)


async def read_fields(request: Request) -> dict[str, Any]:
    """The JSON object of a request whose body may else be a file of any size: what is to become a
    data set, `upload` or `folder`, and texts, numbers and truth values that say how."""
    body = b""
    async for block in request.stream():
        body += block
        if len(body) > MOST_BYTES:
            raise TooLargeError(f"the body is larger than {MOST_BYTES} bytes; send less")
    found = {name: value for name, value in read_settings(body).items() if value is not None}
    named = [name for name in ("upload", "folder") if name in found]
    errors = [FieldError(f"/{n}", "is a text") for n in named if not isinstance(found[n], str)]
    if not named:
        detail = "is required: the id of an upload that has arrived; or /folder, one of the server"
        errors.append(FieldError("/upload", detail))
    elif len(named) > 1 and not errors:
        errors.append(FieldError("/folder", "is not sent together with /upload; send one of them"))
    if errors:
        raise InvalidRequestError(f"{errors[0].pointer}: {errors[0].detail}", errors=errors)
    return found


async def made_before(service: Service, uploads: Uploads, fields: Mapping[str, Any]) -> str | None:
    """The data set that the same request has made of an upload, checked or still being checked
    after some seconds; None where there is none, or what it made could not be used. ConflictError
    where a request with other fields made it."""
    deadline = anyio.current_time() + accept.CHECK_WAIT_SECONDS
    while (became := await run_sync(uploads.became, fields["upload"])) is not None:
        status = await run_sync(_status, service, became.dataset_id)
        if status in (None, "invalid"):
            break
        if became.fields not in (None, _said(fields)):
            detail = (
                f"the upload has become the data set {became.dataset_id}, by other fields or in "
                "another project than these; begin another upload to have the file so"
            )
            raise ConflictError(detail, errors=[FieldError("/upload", detail)])
        if status != "checking" or anyio.current_time() >= deadline:
            return became.dataset_id
        await anyio.sleep(LOOK_SECONDS)
    return None


@asynccontextmanager
async def arrived(
    uploads: Uploads, fields: Mapping[str, Any], directory: Path
) -> AsyncIterator[Upload]:
    """The upload that `fields` name, also in `directory`, which is made, to become the data set of
    that name. It stays an upload, to be tried again, until a data set was read from it.
    ConflictError while bytes of it are missing, GoneError once they are those of a data set."""
    async with held(uploads, fields["upload"]) as found:
        if not found.has_bytes:
            made = "" if found.became is None else found.became.dataset_id
            raise GoneError(
                f"the data set {made}, which the upload became, is gone; begin it again"
            )
        if not found.is_complete:
            raise ConflictError(
                f"{found.offset} of the {found.length} bytes of {found.id} have arrived; send the "
                "others first",
                errors=[FieldError("/upload", "has not arrived")],
            )
        try:
            upload = await run_sync(_put, uploads, found, fields, directory)
        except OSError as error:
            shutil.rmtree(directory, ignore_errors=True)
            reason = error.strerror or type(error).__name__
            raise UnavailableError(f"the upload cannot be stored: {reason}") from error
        yield upload


def _put(
    uploads: Uploads, found: ArrivingUpload, fields: Mapping[str, Any], directory: Path
) -> Upload:
    name = found.name or "upload"
    lock = DirectoryLock(directory)
    file = directory / FILE_FIELD / plain_file_name(name)

    def stored(dataset_id: str) -> None:
        try:
            uploads.keep_became(found.id, dataset_id, _said(fields))
        except OSError as error:  # the data set is there; the same request finds its name taken
            log.error("what %s has become is not remembered: %s", found.id, error)

    try:
        file.parent.mkdir()
        try:
            os.link(found.file, file)
        except OSError:  # a disk without links
            shutil.copyfile(found.file, file)
        keep_origin(directory, found.id)
    except BaseException:
        lock.release()
        raise
    return Upload(
        directory=directory,
        lock=lock,
        file=file,
        file_name=name,
        bytes=found.length,
        sha256=found.id,  # what it holds never changes
        fields={key: value for key, value in fields.items() if key != "upload"},
        stored=stored,
    )


def _said(fields: Mapping[str, Any]) -> dict[str, str]:
    """What a request says of a data set, without what says nothing: its fields, and the project
    that it belongs to."""
    said = {
        name: str(value)
        for name, value in sorted(fields.items())
        if name != "upload" and value not in ("", None) and (name, value) != ("format", "auto")
    }
    project = viewer.project()
    return said if project is None else {**said, PROJECT: project}


def _status(service: Service, dataset_id: str) -> str | None:
    with service.database.reading() as session:
        return session.scalar(select(Dataset.status).where(Dataset.id == dataset_id))
