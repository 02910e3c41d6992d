"""Middleware of every request: an id, the log, checks of host, origin and size, and headers."""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Iterable
from typing import Any

import anyio
import anyio.to_thread
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.store.ids import new_id
from api.telemetry import log as logs
from api.telemetry.tracing import Tracing
from api.web.asgi.measures import Measures
from api.web.problems.documents import problem

BODY_SECONDS = 30.0  # that a body other than an upload may take
UPLOAD_PACE, UPLOAD_PATIENCE = 2**10, 30.0  # bytes a second, and seconds without any
PARAMETERS = 200  # in a query
PREDICT = "/predict"
TUS = "1.0.0"  # the protocol of resumable uploads wants its version in each answer, refusals too
FORM_BYTES = 2**16  # what the frame of a multipart upload may add to the file
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
Refusal = tuple[int, str, str]  # status, code, what to change
_BRACKETS = re.compile(rb'"(?:[^"\\]|\\.)*+"?|[\[\]{}]', re.DOTALL)
_REQUEST_ID = re.compile(r"[A-Za-z0-9._\-]{1,100}")
_CODE_OF_MAIL = re.compile(r"\A(/mail/[a-z]+/).+", re.DOTALL)
log = logging.getLogger(__name__)


class Envelope:
    """Gives a request its id and its log line, a response its headers, a defect its 500."""

    def __init__(self, app: ASGIApp, measures: Measures, tracing: Tracing) -> None:
        self._app = app
        self._measures = measures
        self._tracing = tracing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        request_id = given if _REQUEST_ID.fullmatch(given) else new_id("req")
        logs.bind(request_id=request_id)
        if (traceparent := self._tracing.traceparent()) is not None:
            logs.bind(traceparent=traceparent)
        scope.setdefault("state", {})["request_id"] = request_id
        begun = time.monotonic()
        status = 0
        answered_at: float | None = None  # of a live stream, which may last for days

        async def send_with_headers(message: Message) -> None:
            nonlocal status, answered_at
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                if headers.get("content-type", "").startswith("text/event-stream"):
                    answered_at = time.monotonic()
                headers["X-Request-ID"] = request_id
                if scope["path"].startswith("/v1/uploads"):
                    headers.setdefault("Tus-Resumable", TUS)
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            await self._app(scope, receive, send_with_headers)
        except ClientDisconnect:
            if _method(scope) == "HEAD":
                raise  # it has what it asked for
            log.info("the client of %s went away", _shown(scope))
        except Exception:
            log.exception("%s %s failed", scope["method"], _shown(scope))
            if status:
                raise  # the response has begun; the server can only cut the connection
            detail = f"a defect of ours; tell us this number: {request_id}"
            await problem(request_id, 500, detail, code="internal")(
                scope, receive, send_with_headers
            )
        finally:
            if status:  # else the client went away before an answer
                took = (answered_at or time.monotonic()) - begun
                self._measures.answered(scope, _method(scope), status, took)
            if not (200 <= status < 400 and scope["path"].startswith(("/static/", "/guide/"))):
                _log_request(scope, status, time.monotonic() - begun)


def _method(scope: Scope) -> str:
    """That of the request; a HEAD is answered as a GET."""
    return str(scope.get("state", {}).get("method", scope["method"]))


class Gate:
    """Refuses what a page of another site could send, and bodies that are too large.

    A name of another site that resolves to this machine arrives with that name as `Host`; a form
    or script of another site arrives with its `Origin`.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        allowed_hosts: Iterable[str],
        body_max_bytes: int,
        upload_max_bytes: int,
        upload_max_seconds: float,
        json_max_depth: int,
        json_max_values: int,
        query_max_bytes: int,
    ) -> None:
        self._app = app
        self._hosts = frozenset(host.lower() for host in allowed_hosts)
        self._body_max_bytes = body_max_bytes
        self._upload_max_bytes = upload_max_bytes
        self._upload_max_seconds = upload_max_seconds
        self._json_max_depth = json_max_depth
        self._json_max_values = json_max_values
        self._query_max_bytes = query_max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        refusal = self._refusal(scope, Headers(scope=scope))
        if _is_upload(scope):
            receive = self._counted(receive)
        elif refusal is None:
            try:
                with anyio.fail_after(BODY_SECONDS):
                    body = await self._body(receive)
            except TimeoutError:
                refusal = _too_slow(f"the body did not come within {BODY_SECONDS:.0f} s")
            else:
                refusal = await self._refusal_of_body(scope, body)
                receive = _again(body, receive)
        if refusal is not None:
            status, code, detail = refusal
            # What is still to come of the body is not read.
            headers = {"Connection": "close"} if status in (408, 413) else None
            response = problem(
                scope["state"]["request_id"], status, detail, code=code, headers=headers
            )
            await response(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _counted(self, receive: Receive) -> Receive:
        """The parts of an upload as they come in, as many as it may have, and no slower."""
        received, waited, begun = 0, 0.0, time.monotonic()
        close = {"Connection": "close"}

        async def read() -> Message:
            nonlocal received, waited
            before = time.monotonic()
            patience = UPLOAD_PATIENCE + received / UPLOAD_PACE - waited
            left = self._upload_max_seconds - (before - begun)
            try:
                with anyio.fail_after(max(0.0, min(patience, left))):
                    message = await receive()
            except TimeoutError:
                _, _, detail = _too_slow(
                    f"the upload comes more slowly than {UPLOAD_PACE} bytes a second"
                    if patience < left
                    else f"the upload takes longer than {self._upload_max_seconds:.0f} s "
                    "(SAF_UPLOAD_MAX_SECONDS)"
                )
                raise HTTPException(408, detail, close) from None
            waited += time.monotonic() - before
            received += len(message.get("body", b""))
            if received > self._upload_max_bytes + FORM_BYTES:
                _, _, detail = _too_large(self._upload_max_bytes, "SAF_UPLOAD_MAX_BYTES")
                raise HTTPException(413, detail, close)
            return message

        return read

    async def _body(self, receive: Receive) -> bytes:
        """The whole body, or as much of it as is one byte too many."""
        parts, size = [], 0
        while size <= self._body_max_bytes:
            message = await receive()
            if message["type"] != "http.request":
                raise ClientDisconnect
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            if not message.get("more_body", False):
                break
        return b"".join(parts)

    async def _refusal_of_body(self, scope: Scope, body: bytes) -> Refusal | None:
        if len(body) > self._body_max_bytes:
            return _too_large(self._body_max_bytes, "SAF_BODY_MAX_BYTES")
        # Each value that is wrong costs an error of its own; those of a picture are looked at by
        # the process that runs networks.
        if body.count(b",") >= self._json_max_values and not scope["path"].endswith(PREDICT):
            return (
                413,
                "too_large",
                f"the body has more than {self._json_max_values} values; send fewer, or set "
                "SAF_JSON_MAX_VALUES on the server",
            )
        # Not in the event loop: a body of brackets takes a while.
        brackets = body.count(b"[") + body.count(b"{")
        if brackets > self._json_max_depth and await anyio.to_thread.run_sync(
            _is_deeper, body, self._json_max_depth
        ):
            return (
                400,
                "invalid_json",
                f"the body has more than {self._json_max_depth} objects and lists within one "
                "another; make it flatter, or set SAF_JSON_MAX_DEPTH on the server",
            )
        if body.count(b":") < 2:
            return None
        twice: str | None = await anyio.to_thread.run_sync(_repeated_key, body)
        if twice is not None:
            return (
                400,
                "invalid_json",
                f"the body has the key {twice[:100]!a} twice in one object, of which one would be "
                "ignored; say it once",
            )
        return None

    def _refusal(self, scope: Scope, headers: Headers) -> Refusal | None:
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
        # Browsers send it with all that a page of another site asks for; following a link there is
        # the only thing that is let through, since that page cannot read what comes.
        if headers.get("sec-fetch-site") in ("cross-site", "same-site") and not (
            scope["method"] in SAFE_METHODS
            and headers.get("sec-fetch-mode") == "navigate"
            and headers.get("sec-fetch-dest") == "document"
        ):
            return 403, "other_origin", "a page of another site may not read anything here"
        query = scope["query_string"]
        if len(query) > self._query_max_bytes or query.count(b"&") >= PARAMETERS:
            return (
                414,
                "query_too_long",
                f"the query has more than {self._query_max_bytes} bytes or {PARAMETERS} "
                "parameters; ask for less at once, or set SAF_QUERY_MAX_BYTES on the server",
            )
        if "\x00" in scope["path"] or b"%00" in query:
            return 400, "bad_request", "the address holds the character NUL"
        length = headers.get("content-length", "")
        announced = int(length) if length.isdecimal() else 0
        if _is_upload(scope) and announced > self._upload_max_bytes + FORM_BYTES:
            return _too_large(self._upload_max_bytes, "SAF_UPLOAD_MAX_BYTES")
        if not _is_upload(scope) and announced > self._body_max_bytes:
            return _too_large(self._body_max_bytes, "SAF_BODY_MAX_BYTES")
        return None


def _too_slow(what: str) -> Refusal:
    return 408, "too_slow", f"{what}; send it again over a faster connection"


def _shown(scope: Scope) -> str:
    """The path as logs may have it: who has the link of a mail may do what it is for."""
    return _CODE_OF_MAIL.sub(r"\1…", scope["path"][:2000])


def _log_request(scope: Scope, status: int, seconds: float) -> None:
    method, path, took = _method(scope), _shown(scope), round(1000 * seconds)
    log.info(
        "%s %s %d %d ms",
        method,
        path,
        status,
        took,
        extra={
            "method": method,
            "path": path,
            "status": status,
            "milliseconds": took,
            "job_id": scope.get("path_params", {}).get("job_id"),
        },
    )


def _too_large(limit: int, setting: str) -> Refusal:
    return (
        413,
        "too_large",
        f"the body is larger than {limit} bytes; send less, or set {setting} on the server",
    )


def _is_upload(scope: Scope) -> bool:
    method, path = scope["method"], scope["path"]
    return (method == "POST" and path in ("/v1/datasets", "/v1/networks", "/v1/uploads")) or (
        method == "PATCH" and path.startswith("/v1/uploads/")
    )


def _again(body: bytes, receive: Receive) -> Receive:
    """Gives a body that was read already, then what comes."""
    given = False

    async def read() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return read


def _is_deeper(body: bytes, most: int) -> bool:
    """Whether brackets, other than those in texts, are nested more than `most` deep."""
    depth = 0
    for token in _BRACKETS.finditer(body):
        match body[token.start()]:
            case 0x5B | 0x7B:  # [ {
                depth += 1
                if depth > most:
                    return True
            case 0x5D | 0x7D:  # ] }
                depth -= 1
    return False


class _RepeatedKeyError(Exception):
    pass


def _repeated_key(body: bytes) -> str | None:
    """A key that stands twice in one object of a body; None where there is none, or no JSON."""

    def once(pairs: list[tuple[str, Any]]) -> None:
        seen = set[str]()
        for name, _ in pairs:
            if name in seen:
                raise _RepeatedKeyError(name)
            seen.add(name)

    try:
        json.loads(body, object_pairs_hook=once)
    except _RepeatedKeyError as error:
        return str(error)
    except (ValueError, RecursionError):
        return None  # whoever reads it says what is wrong
    return None


def _host_name(host: str) -> str:
    """The name in a `Host` header, without the port."""
    if host.startswith("["):
        return host.partition("]")[0].lower() + "]"
    return host.partition(":")[0].lower()
