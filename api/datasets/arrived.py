"""A data set of what lies on the server already: a resumable upload that has arrived."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio.to_thread
from fastapi import Request
from starlette.exceptions import HTTPException

from api.errors import (
    ConflictError,
    FieldError,
    InvalidRequestError,
    TooLargeError,
    UnavailableError,
)
from api.host.lock import DirectoryLock
from api.uploads.files import Upload as ArrivingUpload
from api.uploads.files import Uploads
from api.uploads.routes import held
from api.web.multipart import FILE_FIELD, Upload, plain_file_name

MOST_BYTES = 2**16  # of the JSON


async def read_fields(request: Request) -> dict[str, Any]:
    """The JSON object of a request whose body may else be a file of any size."""
    body = b""
    async for block in request.stream():
        body += block
        if len(body) > MOST_BYTES:
            raise TooLargeError(f"the body is larger than {MOST_BYTES} bytes; send less")
    try:
        found = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise HTTPException(400, f"the body is no JSON: {error}") from error
    if not isinstance(found, dict):
        raise InvalidRequestError('the body is no JSON object; one looks like {"upload": "up_…"}')
    errors = [
        FieldError(f"/{name}", "is a text, a number, true or false")
        for name, value in found.items()
        if value is not None and not isinstance(value, str | int | float | bool)
    ]
    named = [name for name in ("upload", "folder") if isinstance(found.get(name), str)]
    if len(named) != 1:
        detail = "is required: the id of an upload that has arrived; or /folder, one of the server"
        errors.append(FieldError("/upload", detail))
    if errors:
        raise InvalidRequestError(f"{errors[0].pointer}: {errors[0].detail}", errors=errors)
    return found


@asynccontextmanager
async def arrived(
    uploads: Uploads, fields: Mapping[str, Any], directory: Path
) -> AsyncIterator[Upload]:
    """The upload that `fields` name, also in `directory`, which is made, to become the data set of
    that name. Where the block raises it stays an upload, to be tried again. ConflictError while
    bytes of it are missing."""
    async with held(uploads, fields["upload"]) as found:
        if not found.is_complete:
            raise ConflictError(
                f"{found.offset} of the {found.length} bytes of {found.id} have arrived; send the "
                "others first",
                errors=[FieldError("/upload", "has not arrived")],
            )
        try:
            upload = await anyio.to_thread.run_sync(_put, found, fields, directory)
        except OSError as error:
            shutil.rmtree(directory, ignore_errors=True)
            reason = error.strerror or type(error).__name__
            raise UnavailableError(f"the upload cannot be stored: {reason}") from error
        yield upload
        await anyio.to_thread.run_sync(uploads.became, found, directory.name)


def _put(found: ArrivingUpload, fields: Mapping[str, Any], directory: Path) -> Upload:
    name = found.name or "upload"
    lock = DirectoryLock(directory)
    file = directory / FILE_FIELD / plain_file_name(name)
    try:
        file.parent.mkdir()
        try:
            os.link(found.file, file)
        except OSError:  # a disk without links
            shutil.copyfile(found.file, file)
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
    )
