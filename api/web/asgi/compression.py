"""Answers in gzip, where they are text and the client takes it.

Live streams and files pass as they are: a stream must not wait for a block to fill, and a file's
strong `ETag` and its ranges are those of its own bytes.
"""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.middleware.gzip import GZipMiddleware, IdentityResponder
from starlette.types import ASGIApp, Receive, Scope, Send

FILES = ("/static/", "/guide/", "/v1/artifacts/")  # answers whose tags are of their own bytes
MIN_BYTES = 1000  # below that a packet is sent in either case
LEVEL = 5


class Compression:
    """Starlette's, but for files, and for clients that refuse gzip by a weight of zero."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._packing = GZipMiddleware(app, minimum_size=MIN_BYTES, compresslevel=LEVEL)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        answer: ASGIApp = self._app
        if scope["type"] == "http" and not scope["path"].startswith(FILES):
            packed = accepts_gzip(Headers(scope=scope))
            answer = self._packing if packed else IdentityResponder(self._app, MIN_BYTES)
        await answer(scope, receive, send)


def accepts_gzip(headers: Headers) -> bool:
    """Whether `Accept-Encoding` names gzip with a weight above zero."""
    for part in headers.get("accept-encoding", "").split(","):
        coding, _, parameters = part.partition(";")
        if coding.strip().lower() in ("gzip", "x-gzip"):
            weight = parameters.strip().lower().removeprefix("q=").strip()
            return not weight or weight.strip("0.") != ""
    return False
