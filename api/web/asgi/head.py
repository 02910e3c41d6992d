"""HEAD is answered like GET, without the body, at every address."""

from __future__ import annotations

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class HeadAsGet:
    """Asks for a GET and sends its head alone.

    The answer's length stays where it is known. One that comes in pieces, a live stream or a large
    file, is broken off at its first piece.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return
        ended = False

        async def send_head(message: Message) -> None:
            nonlocal ended
            if message["type"] == "http.response.start":
                await send(message)
                return
            if not ended:
                ended = True
                await send({"type": "http.response.body", "body": b""})
            if message.get("more_body", False):
                raise ClientDisconnect  # the head is all that was asked for

        state = {**scope.get("state", {}), "method": "HEAD"}
        try:
            await self._app({**scope, "method": "GET", "state": state}, receive, send_head)
        except ClientDisconnect:
            if not ended:
                raise
