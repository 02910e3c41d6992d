"""Answers in gzip, where they are text and the client takes it.

Live streams and files of jobs pass as they are: a stream must not wait for a block to fill, and a
file's strong `ETag` and its ranges are those of its own bytes.
"""

from __future__ import annotations

import gzip

import anyio.to_thread
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

TEXTS = (
    "text/html",
    "text/css",
    "text/csv",
    "text/javascript",
    "text/plain",
    "application/json",
    "application/javascript",
    "application/problem+json",
    "image/svg+xml",
)
MIN_BYTES = 1000  # below that a packet is sent in either case
LEVEL = 5
IN_THE_LOOP = 2**16  # bytes; more than that is compressed in a thread


class Compression:
    """Compresses whole answers of text; what comes in pieces passes as it is."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        wanted = accepts_gzip(Headers(scope=scope))
        head: Message | None = None

        async def send_compressed(message: Message) -> None:
            nonlocal head
            if message["type"] == "http.response.start" and _is_text(message):
                MutableHeaders(raw=message["headers"]).add_vary_header("Accept-Encoding")
                if wanted:
                    head = message
                    return
            if head is not None:
                begin, head = head, None
                if message["type"] == "http.response.body" and not message.get("more_body"):
                    message = await _compressed(begin, message)
                await send(begin)
            await send(message)

        await self._app(scope, receive, send_compressed)


async def _compressed(begin: Message, message: Message) -> Message:
    """The body compressed, and the head changed accordingly; or both as they are."""
    headers = MutableHeaders(raw=begin["headers"])
    body: bytes = message.get("body", b"")
    if len(body) < MIN_BYTES:
        return message
    if len(body) <= IN_THE_LOOP:
        packed = gzip.compress(body, LEVEL, mtime=0)
    else:
        packed = await anyio.to_thread.run_sync(_pack, body)
    headers["content-encoding"] = "gzip"
    headers["content-length"] = str(len(packed))
    return {**message, "body": packed}


def _is_text(begin: Message) -> bool:
    """Whether these bytes may be sent in another coding."""
    headers = Headers(raw=begin["headers"])
    media_type = headers.get("content-type", "").partition(";")[0].strip().lower()
    own_bytes = ("accept-ranges", "content-encoding", "etag")
    return media_type in TEXTS and not any(name in headers for name in own_bytes)


def _pack(body: bytes) -> bytes:
    return gzip.compress(body, LEVEL, mtime=0)


def accepts_gzip(headers: Headers) -> bool:
    """Whether `Accept-Encoding` names gzip with a weight above zero."""
    for part in headers.get("accept-encoding", "").split(","):
        coding, _, parameters = part.partition(";")
        if coding.strip().lower() in ("gzip", "x-gzip"):
            weight = parameters.strip().lower().removeprefix("q=").strip()
            return not weight or weight.strip("0.") != ""
    return False
