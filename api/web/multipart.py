"""An uploaded form, written to disk as it comes in, and bounded while it does.

python-multipart reads it and calls `_Form`, which decides what is allowed and where it goes
(docs/decisions/021-forms.md).
"""

from __future__ import annotations

import email.message
import hashlib
import re
import shutil
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import anyio.to_thread
from fastapi import Request
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser
from starlette.exceptions import HTTPException

from api.errors import InvalidRequestError, TooLargeError, UnavailableError
from api.host.lock import DirectoryLock

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

MAX_FIELD_BYTES = 1000
FILE_FIELD = "file"


@dataclass(frozen=True, kw_only=True)
class Upload:
    """A file on disk and the texts that came with it."""

    directory: Path  # of this upload alone
    lock: DirectoryLock  # on the directory, so that no other process clears it away
    file: Path
    file_name: str  # as the client calls it
    bytes: int
    sha256: str  # of the file
    fields: Mapping[str, Any]
    taken: threading.Event = field(default_factory=threading.Event)
    """Set by whoever cleans up directory and lock from then on."""
    stored: Callable[[str], None] = lambda dataset_id: None
    """Called with the id of the data set as soon as its row is stored."""


async def receive(
    request: Request,
    directory: Path,
    *,
    allowed: frozenset[str],
    max_bytes: int,
    max_parts: int,
    max_field_bytes: int = MAX_FIELD_BYTES,
) -> Upload:
    """Write the form's one file below `directory`, which is made; the text fields are `allowed`.

    Raises ServiceError, HTTPException or ClientDisconnect, and then leaves nothing behind.
    """
    boundary = _boundary(request)
    lock = form = None
    try:
        lock = await anyio.to_thread.run_sync(DirectoryLock, directory)
        form = _Form(
            directory / FILE_FIELD,
            allowed=allowed,
            max_bytes=max_bytes,
            max_parts=max_parts,
            max_field_bytes=max_field_bytes,
        )
        parser = MultipartParser(boundary, form.callbacks())
        async for block in request.stream():
            await anyio.to_thread.run_sync(parser.write, block)
        file, file_name, size, sha256 = form.result()
    except BaseException as error:
        if form is not None:
            form.close()
        shutil.rmtree(directory, ignore_errors=True)
        if lock is not None:
            lock.release()
        match error:
            case FormParserError():
                raise HTTPException(400, f"the form is broken: {error}") from error
            case OSError():
                raise _not_stored(error) from error
        raise
    return Upload(
        directory=directory,
        lock=lock,
        file=file,
        file_name=file_name,
        bytes=size,
        sha256=sha256,
        fields=form.fields,
    )


def stored_file(directory: Path) -> Path | None:
    """The file that an earlier process received into `directory`, if it is there."""
    return next(iter(sorted((directory / FILE_FIELD).glob("*"))), None)


def plain_file_name(name: str) -> str:
    """A file name that is safe on any disk, like the given one."""
    last = name.replace("\\", "/").rpartition("/")[2]
    return re.sub(r"[^A-Za-z0-9._\-]", "_", last).lstrip(".")[-100:] or "upload"


class _Form:
    """What the parser calls, part by part."""

    def __init__(
        self,
        directory: Path,
        *,
        allowed: frozenset[str],
        max_bytes: int,
        max_parts: int,
        max_field_bytes: int,
    ) -> None:
        directory.mkdir()
        self._directory = directory
        self._allowed = allowed
        self._max_bytes = max_bytes
        self._max_parts = max_parts
        self._max_field_bytes = max_field_bytes
        self._parts = 0
        self._header = b""
        self._value = b""
        self._disposition = b""
        self._name = ""
        self._text = b""
        self._target: BinaryIO | None = None
        self._path: Path | None = None
        self._file_name = ""
        self._bytes = 0
        self._digest = hashlib.sha256()
        self._complete = False
        self.fields: dict[str, str] = {}

    def callbacks(self) -> MultipartCallbacks:
        return {
            "on_part_begin": self._begin,
            "on_header_field": self._header_field,
            "on_header_value": self._header_value,
            "on_header_end": self._header_end,
            "on_headers_finished": self._headers_finished,
            "on_part_data": self._data,
            "on_part_end": self._end,
            "on_end": self._finish,
        }

    def result(self) -> tuple[Path, str, int, str]:
        """Where the file is, what the client calls it, its bytes and their SHA-256."""
        if not self._complete:
            raise HTTPException(400, "the form is cut off; send it again")
        if self._path is None:
            raise InvalidRequestError.at(
                "/file", "is required: one file, or one archive of several"
            )
        return self._path, self._file_name, self._bytes, self._digest.hexdigest()

    def close(self) -> None:
        if self._target is not None:
            self._target.close()

    def _begin(self) -> None:
        self._parts += 1
        if self._parts > self._max_parts:
            raise InvalidRequestError.at(
                "",
                f"the form has more than {self._max_parts} parts; put several files into one zip "
                "or tar, or set SAF_UPLOAD_MAX_PARTS on the server",
            )
        self._header = self._value = self._disposition = self._text = b""
        self._name = ""

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition = self._value
        self._header = self._value = b""

    def _headers_finished(self) -> None:
        message = email.message.Message()
        message["content-disposition"] = self._disposition.decode("utf-8", "replace")
        name = message.get_param("name", header="content-disposition")
        file_name = message.get_filename()
        self._name = name if isinstance(name, str) else ""
        if self._name == FILE_FIELD:
            if self._path is not None:
                raise InvalidRequestError.at(
                    "/file", "came twice; put several files into one zip or tar"
                )
            if file_name is None:
                raise InvalidRequestError.at("/file", "must be a file, not a text")
            self._file_name = file_name
            self._path = self._directory / plain_file_name(file_name)
            self._target = self._path.open("xb")
        elif self._name not in self._allowed:
            known = ", ".join(sorted({FILE_FIELD, *self._allowed}))
            raise InvalidRequestError.at(
                f"/{self._name}", f"there is no such field; known are {known}"
            )

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._target is None:
            self._text += data[start:end]
            if len(self._text) > self._max_field_bytes:
                raise InvalidRequestError.at(
                    f"/{self._name}", f"is longer than {self._max_field_bytes} bytes"
                )
            return
        self._bytes += end - start
        if self._bytes > self._max_bytes:
            raise TooLargeError(
                f"the file is larger than {self._max_bytes} bytes; send fewer or smaller samples, "
                "or set SAF_UPLOAD_MAX_BYTES on the server"
            )
        self._target.write(data[start:end])
        self._digest.update(data[start:end])

    def _end(self) -> None:
        if self._target is not None:
            self._target.close()
            self._target = None
            return
        try:
            self.fields[self._name] = self._text.decode()
        except UnicodeDecodeError as error:
            raise InvalidRequestError.at(f"/{self._name}", "is no UTF-8 text") from error

    def _finish(self) -> None:
        self._complete = True


def _boundary(request: Request) -> bytes:
    message = email.message.Message()
    message["content-type"] = request.headers.get("content-type", "")
    boundary = message.get_boundary()
    if message.get_content_type() != "multipart/form-data" or not boundary:
        raise HTTPException(
            415, "send the file as multipart/form-data, for instance: curl -F file=@images.zip"
        )
    return boundary.encode("latin-1", "replace")


def _not_stored(error: OSError) -> UnavailableError:
    return UnavailableError(
        f"the upload cannot be stored: {error.strerror or type(error).__name__}"
    )
