"""What every request passes: an id, the log, the checks of host, origin and size, the headers."""

from __future__ import annotations

import logging
import re
import threading
import time
from collections import Counter
from collections.abc import Iterable

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.log import request_id as logged_id
from api.problems import problem
from api.store.tables import new_id

MAX_BODY_BYTES = 2**20
FORM_BYTES = 2**16  # what the frame of a multipart upload may add to the file
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": (
        "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; "
        "form-action 'self'; frame-ancestors 'none'"
    ),
}
_REQUEST_ID = re.compile(r"[A-Za-z0-9._\-]{1,100}")
log = logging.getLogger(__name__)


class RequestCounts:
    """Requests answered by this process, by method and status."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, int]] = Counter()
        self._lock = threading.Lock()

    def add(self, method: str, status: int) -> None:
        with self._lock:
            self._counts[method if method in METHODS else "other", status] += 1

    def read(self) -> list[tuple[str, int, int]]:
        """(method, status, count), sorted."""
        with self._lock:
            return sorted((method, status, n) for (method, status), n in self._counts.items())


class Envelope:
    """Gives a request its id and its log line, a response its headers, a defect its 500."""

    def __init__(self, app: ASGIApp, counts: RequestCounts) -> None:
        self._app = app
        self._counts = counts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        request_id = given if _REQUEST_ID.fullmatch(given) else new_id("req")
        logged_id.set(request_id)
        scope.setdefault("state", {})["request_id"] = request_id
        begun = time.monotonic()
        status = 0

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["X-Request-ID"] = request_id
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            await self._app(scope, receive, send_with_headers)
        except ClientDisconnect:
            log.info("the client of %s went away", scope["path"])
        except Exception:
            log.exception("%s %s failed", scope["method"], scope["path"])
            if status:
                raise  # the response has begun; the server can only cut the connection
            detail = f"a defect of ours; tell us this number: {request_id}"
            await problem(request_id, 500, detail, code="internal")(
                scope, receive, send_with_headers
            )
        finally:
            if status:  # else the client went away before an answer
                self._counts.add(scope["method"], status)
            log.info(
                "%s %s %d %.0f ms",
                scope["method"],
                scope["path"],
                status,
                1000 * (time.monotonic() - begun),
            )


class Gate:
    """Refuses what a page of another site could send, and bodies that are too large.

    A name of another site that resolves to this machine arrives with that name as `Host`; a form
    or script of another site arrives with its `Origin`.
    """

    def __init__(self, app: ASGIApp, allowed_hosts: Iterable[str], upload_max_bytes: int) -> None:
        self._app = app
        self._hosts = frozenset(host.lower() for host in allowed_hosts)
        self._upload_max_bytes = upload_max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        limit = self._limit(scope)
        refusal = self._refusal(scope, headers, limit)
        if refusal is not None:
            status, code, detail = refusal
            response = problem(scope["state"]["request_id"], status, detail, code=code)
            await response(scope, receive, send)
            return
        received = 0

        async def receive_limited() -> Message:
            nonlocal received
            message = await receive()
            if message["type"] == "http.request":
                received += len(message.get("body", b""))
                if received > limit:
                    raise HTTPException(413, _too_large(limit))
            return message

        await self._app(scope, receive_limited, send)

    def _limit(self, scope: Scope) -> int:
        is_upload = scope["method"] == "POST" and scope["path"] == "/v1/datasets"
        return self._upload_max_bytes + FORM_BYTES if is_upload else MAX_BODY_BYTES

    def _refusal(self, scope: Scope, headers: Headers, limit: int) -> tuple[int, str, str] | None:
        host = _host_name(headers.get("host", ""))
        if "*" not in self._hosts and host not in self._hosts:
            names = ", ".join(sorted(self._hosts))
            return (
                400,
                "unknown_host",
                f"this server does not answer as {host!r} but as {names}; more names can be "
                "given in SAF_ALLOWED_HOSTS",
            )
        origin = headers.get("origin")
        if scope["method"] not in SAFE_METHODS and origin is not None:
            there = origin.partition("://")[2].lower()
            if there != headers.get("host", "").lower():
                return 403, "other_origin", f"a page of {origin} may not change anything here"
        if "\x00" in scope["path"] or b"%00" in scope["query_string"]:
            return 400, "bad_request", "the address holds the character NUL"
        length = headers.get("content-length", "")
        if length.isdecimal() and int(length) > limit:
            return 413, "too_large", _too_large(limit)
        return None


def _host_name(host: str) -> str:
    """The name in a `Host` header, without the port."""
    if host.startswith("["):
        return host.partition("]")[0].lower() + "]"
    return host.partition(":")[0].lower()


def _too_large(limit: int) -> str:
    return f"the body is larger than {limit} bytes"
