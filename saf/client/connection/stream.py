"""Following a job live: streams that are opened again, and questions where there are none."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from itertools import takewhile
from math import inf
from typing import Any

import httpx

from saf.client.connection.transport import BUSY, FIRST_PAUSE, Connection, accepted
from saf.client.types import TERMINAL, ApiError, Event, UnreachableError

SILENCE_SECONDS = 40.0  # the server says something every 15 s; a stream silent for longer is dead
POLL_SECONDS = 1.0
PATIENCE_SECONDS = 120.0  # with a server that does not answer
STREAMS_TRIED = 3  # in a row without any message, before it is asked at intervals instead


@dataclass(frozen=True, kw_only=True)
class Message:
    """One message of a job's stream.

    `kind`: `event` is a new line of the timeline (`saf.client.types.Event`), `progress` the
    changing part of the job (`JobProgress`), `done` the job that has ended (`Job`), the last
    message.
    """

    kind: str
    data: Any
    sequence: int | None = None  # of an `event`


def messages(lines: Iterable[str]) -> Iterator[Message]:
    """The messages of a stream, given its lines without their ends. Comments are left out."""
    kind, identifier, data = "", "", list[str]()
    for line in lines:
        if not line:
            if data:
                yield Message(
                    kind=kind or "event",
                    data=json.loads("\n".join(data)),
                    sequence=int(identifier) if identifier.isdecimal() else None,
                )
            kind, identifier, data = "", "", []
            continue
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        match name:
            case "event":
                kind = value
            case "id":
                identifier = value
            case "data":
                data.append(value)


class Position:
    """Where the viewer of a stream is, and until when it looks."""

    def __init__(self, *, after: int = 0, deadline: float | None = None) -> None:
        self.after = after
        self.done = False
        self._deadline = deadline

    def left(self) -> float:
        """Seconds, some even when the time is over."""
        return inf if self._deadline is None else max(0.05, self._deadline - time.monotonic())

    def is_over(self) -> bool:
        return self._deadline is not None and time.monotonic() > self._deadline

    def note(self, message: Message) -> None:
        self.after = max(self.after, message.sequence or 0)
        self.done = self.done or message.kind == "done"


Look = Callable[[Position], Iterator[Message]]
"""What a stream would say, as far as one look shows it."""


def follow(
    connection: Connection, path: str, look: Look | None, position: Position, patience: float
) -> Generator[Message, None, None]:
    """The messages of the stream at `path` up to `done`, or until the time of `position` is over.

    Without `look` the server is not asked at intervals where no stream can be had.
    """
    barren, pause = 0, FIRST_PAUSE
    failing_since: float | None = None
    while not (position.done or position.is_over()):
        streaming = look is None or barren < STREAMS_TRIED
        try:
            barren += streaming  # taken back by the first message
            found = _streamed(connection, path, position) if streaming else None
            for message in found if found is not None else look(position) if look else ():
                barren, pause = 0 if streaming else barren, FIRST_PAUSE
                failing_since = None
                yield message
        except (httpx.TransportError, UnreachableError, ApiError) as error:
            if isinstance(error, ApiError) and error.status not in BUSY:
                raise
            failing_since = failing_since or time.monotonic()
            if time.monotonic() - failing_since > patience:
                raise connection.unreachable(error) from error
            if isinstance(error, httpx.ConnectError):
                barren = 0  # nobody there says nothing about streams
        if not position.done:
            time.sleep(pause)
            pause = min(2 * pause, POLL_SECONDS)


def _streamed(connection: Connection, path: str, position: Position) -> Iterator[Message]:
    headers = {"accept": "text/event-stream", "last-event-id": str(position.after)}
    timeout = httpx.Timeout(30.0, read=min(SILENCE_SECONDS, position.left()))
    with connection.http.stream("GET", path, headers=headers, timeout=timeout) as response:
        if response.status_code >= 400:
            response.read()
            accepted(response)
        if not response.headers.get("content-type", "").startswith("text/event-stream"):
            return
        lines = takewhile(lambda _: not position.is_over(), response.iter_lines())
        for message in messages(lines):
            position.note(message)
            yield message
            if position.done:
                return


def as_messages(job: dict[str, Any], events: list[Event], position: Position) -> Iterator[Message]:
    """What a stream would have said of a job and of the new lines of its timeline."""
    for event in events:
        message = Message(kind="event", data=event, sequence=event["sequence"])
        position.note(message)
        yield message
    message = Message(kind="done" if job["status"] in TERMINAL else "progress", data=job)
    position.note(message)
    yield message
