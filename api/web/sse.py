"""Server-sent events: messages, and the response that sends them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable

from fastapi import Request
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from api.errors import InvalidRequestError
from api.web.limits import ConcurrencyLimits

EVENT_STREAM = "text/event-stream"


def wants_stream(request: Request) -> bool:
    """Whether the client asks for server-sent events."""
    return EVENT_STREAM in request.headers.get("accept", "")


class _EventStream(StreamingResponse):
    """Ends its messages, and with them the watching, as soon as the viewer is gone."""

    def __init__(self, messages: AsyncGenerator[str], end: Callable[[], None]) -> None:
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}  # no proxy collects it
        super().__init__(messages, media_type=EVENT_STREAM, headers=headers)
        self._messages = messages
        self._end = end

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._end()
            await self._messages.aclose()


def event_stream(
    concurrency: ConcurrencyLimits, user: str, messages: AsyncGenerator[str]
) -> StreamingResponse:
    """The response for a live stream, or TooManyError."""
    concurrency.acquire("live stream", user)
    return _EventStream(messages, lambda: concurrency.release("live stream", user))


def position_of(last_event_id: str | None, after: int) -> int:
    """Where a stream goes on: after what the browser has seen, or where it was asked to begin."""
    if last_event_id is None or last_event_id == "":
        return after
    if not last_event_id.isdecimal() or len(last_event_id) > 18:
        detail = f"Last-Event-ID is a number that this stream sent as `id`, not {last_event_id!r}"
        raise InvalidRequestError.at("last-event-id", detail)
    return int(last_event_id)


def message(data: str, *, event: str = "", id_: int | None = None) -> str:
    """One message of the stream; `data` is a single line."""
    head = f"id: {id_}\n" if id_ is not None else ""
    head += f"event: {event}\n" if event else ""
    return f"{head}data: {data}\n\n"


def comment(text: str) -> str:
    """A line that readers ignore; it keeps the connection open and shows that it is."""
    return f": {text}\n\n"


STILL_HERE = comment("still here")
