"""Server-sent events as they come over the wire, put together to messages."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any


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
