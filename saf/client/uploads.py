"""Files in pieces, by tus 1.0: a broken connection, a machine that slept or a server that was
started again costs the piece under way, and the next call goes on where the last one ended."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import httpx

from saf import files
from saf.client.connection.transport import BUSY, Connection, accepted
from saf.client.types import ApiError, ClientError

PIECE = 8 * 2**20
"""Bytes of a request; a smaller file needs no pieces."""
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 15.0
PATIENCE_SECONDS = 900.0
"""A server that answers nothing for so long, while this machine is awake, is given up."""
TUS = {"tus-resumable": "1.0.0"}
_GONE = frozenset({404, 410})
_LATER = BUSY | {408, 423, 460}
Report = Callable[[int, int], None]
"""Called with the bytes that have arrived, and those of the whole."""


class NoUploadsError(Exception):
    """The server is of a version without resumable uploads."""


class Remembered:
    """Uploads that were begun and not finished, in a file of this user.

    Raises nothing: without it an upload is begun again.
    """

    def __init__(self) -> None:
        home = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
        self._path = Path(home) / "saf" / "uploads.json"

    def find(self, key: str) -> str | None:
        """The id of the upload of that key."""
        found = self._all().get(key)
        return found if isinstance(found, str) else None

    def keep(self, key: str, id_: str | None) -> None:
        """Remember an upload, or forget it."""
        known = {name: value for name, value in self._all().items() if name != key}
        if id_ is not None:
            known[key] = id_
        try:
            files.write_bytes(self._path, json.dumps(dict(list(known.items())[-100:])).encode())
        except OSError:
            return

    def _all(self) -> dict[str, Any]:
        try:
            found = json.loads(self._path.read_bytes())
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}


def send(connection: Connection, path: Path, *, key: str, patience: float, report: Report) -> str:
    """Send a file, or what of it has not arrived; the id of the upload. `key` tells this request
    from others: where the answer to the first one was lost, it begins no second upload.

    Raises NoUploadsError, OSError, `UnreachableError` after `patience` seconds without progress,
    and `ApiError` for what the server refuses.
    """
    status = path.stat()
    file = _identity(connection, path)
    remembered = Remembered()
    with path.open("rb") as content:
        sender = _Sender(connection, content, status.st_size, patience, report)
        for _ in range(3):  # an upload may go, and is begun again
            id_ = remembered.find(file)
            if id_ is None:
                id_ = sender.begin(path.name, f"{key[:240]} upload")
                remembered.keep(file, id_)
            if sender.send(id_):
                return id_
            remembered.keep(file, None)
    raise ClientError(f"the server does not keep what is sent of {path.name}; look at its disk")


def forget(connection: Connection, path: Path) -> None:
    """The file has become a data set: it may be sent again as another one."""
    Remembered().keep(_identity(connection, path), None)


def is_spent(error: ApiError) -> bool:
    """Whether the server refuses an upload that has become another data set, or is gone, so that it
    has to be begun again."""
    return error.status in _GONE or any(
        error.status == 409 and each.get("pointer") == "/upload" for each in error.errors
    )


def _identity(connection: Connection, path: Path) -> str:
    status = path.stat()
    return f"{connection.url} {path.resolve()} {status.st_size} {status.st_mtime_ns}"


class _Sender:
    def __init__(
        self,
        connection: Connection,
        content: BinaryIO,
        length: int,
        patience: float,
        report: Report,
    ) -> None:
        self._connection = connection
        self._content = content
        self._length = length
        self._patience = patience
        self._report = report

    def begin(self, name: str, key: str) -> str:
        encoded = base64.b64encode(name.encode()).decode()
        headers = {
            "upload-length": str(self._length),
            "upload-metadata": f"filename {encoded}",
            "idempotency-key": key,
        }
        try:
            response = self._ask("POST", "/v1/uploads", headers=headers)
        except ApiError as error:
            if error.status in (404, 405):
                raise NoUploadsError from error
            raise
        return str(response.json()["id"])

    def send(self, id_: str) -> bool:
        """Send what has not arrived; False where the server has forgotten the upload."""
        path = f"/v1/uploads/{id_}"
        try:
            arrived = self._arrived(path)
            while arrived < self._length:
                self._report(arrived, self._length)
                arrived = self._piece(path, arrived)
        except ApiError as error:
            if error.status in _GONE:
                return False
            raise
        self._report(arrived, self._length)
        return True

    def _arrived(self, path: str) -> int:
        found = self._ask("HEAD", path)
        arrived = int(found.headers.get("upload-offset", 0))
        if int(found.headers.get("upload-length", -1)) != self._length or arrived > self._length:
            raise ApiError(404, code="not_found", title="", detail="it is another upload")
        return arrived

    def _piece(self, path: str, arrived: int) -> int:
        """Send one piece; how many bytes have arrived, as the server says."""
        self._content.seek(arrived)
        piece = self._content.read(PIECE)
        if not piece:
            raise ClientError("the file has become shorter while it was sent; send it again")
        checksum = base64.b64encode(hashlib.sha256(piece).digest()).decode()
        headers = {
            "upload-offset": str(arrived),
            "upload-checksum": f"sha256 {checksum}",
            "content-type": "application/offset+octet-stream",
        }
        deadline = time.monotonic() + self._patience
        pause = FIRST_PAUSE
        while True:
            try:
                response = self._connection.http.patch(
                    path,
                    content=piece,
                    headers={**TUS, **headers},
                    timeout=httpx.Timeout(30.0, read=120.0),
                )
                if response.status_code == 409:
                    return self._arrived(path)  # the answer to the last request was lost
                if response.status_code not in _LATER:
                    return int(accepted(response).headers["upload-offset"])
            except httpx.TransportError as error:
                if time.monotonic() > deadline:
                    raise self._connection.unreachable(error) from error
                response = None
            if response is not None and time.monotonic() > deadline:
                accepted(response)
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)
            if response is None or response.status_code == 423:
                now = self._arrived(path)
                if now != arrived:
                    return now

    def _ask(self, method: str, path: str, headers: dict[str, str] | None = None) -> httpx.Response:
        """An answer, however long the server is away, within patience."""
        deadline = time.monotonic() + self._patience
        pause = FIRST_PAUSE
        while True:
            try:
                response = self._connection.http.request(
                    method, path, headers={**TUS, **(headers or {})}
                )
                if response.status_code not in _LATER or time.monotonic() > deadline:
                    return accepted(response)
                # The server says for how long an upload has no room; waiting is no remedy then.
                if response.status_code == 429 and method == "POST":
                    return accepted(response)
            except httpx.TransportError as error:
                if time.monotonic() > deadline:
                    raise self._connection.unreachable(error) from error
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)
