"""What a request changed or was to change, as a line of the record (`api.store.accounts.audit`):
every request of somebody known that is not for reading, of whichever route, with the answer that it
got. Of those who are not known there is no line: they could fill the database."""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Self

import anyio
import anyio.to_thread
from sqlalchemy.exc import SQLAlchemyError
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.types import Message, Scope, Send

from api.accounts.routing import Found
from api.errors import ServiceError, UnauthorizedError
from api.store import viewer
from api.store.accounts import audit
from api.web.caller import Caller
from api.web.dependencies import Service
from api.web.limits import user_of

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
PREDICT = "POST /v1/jobs/{job_id}/predict"  # which changes nothing
QUIET = frozenset({"PATCH /v1/uploads/{upload}", PREDICT})
"""Pieces of a file, and what changes nothing."""
CLOSED_SECONDS = 60.0  # between two lines about one key, or user, that opens nothing any more
_LAST = re.compile(r"/([A-Za-z0-9_.@\-]+)(?:\?.*)?$")
log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Actor:
    """Who did something, or was to: what a line says of them."""

    user: str
    user_id: str
    key_id: str | None

    @classmethod
    def of(cls, caller: Caller) -> Self:
        """Whoever sends a request."""
        return cls(user=caller.name, user_id=caller.viewer.user_id, key_id=caller.key_id)


class ClosedError(UnauthorizedError):
    """Somebody who is known and may not come in any more."""

    def __init__(self, detail: str, actor: Actor) -> None:
        super().__init__(detail)
        self.actor = actor


class Closed:
    """Keys and users that open nothing any more and are still sent: a line about each is due at
    most once a minute, since whoever has a revoked key may send it as often as they like."""

    def __init__(self) -> None:
        self._told: dict[str, float] = {}
        self._lock = threading.Lock()

    def is_due(self, actor: Actor) -> bool:
        """Whether a line about this one is due; then the next is due in a minute."""
        id_ = actor.key_id or actor.user_id
        with self._lock:
            at = time.monotonic()
            is_due = at - self._told.get(id_, -CLOSED_SECONDS) >= CLOSED_SECONDS
            if is_due:
                self._told[id_] = at
        return is_due


async def recorded(
    service: Service,
    scope: Scope,
    caller: Caller,
    found: Found | None,
    send: Send,
    answer: Callable[[Send], Awaitable[None]],
) -> None:
    """Answer a request, and add a line about it once the answer is known, before it is sent."""
    if found is None or found.method in SAFE_METHODS or _action(found) in QUIET:
        await answer(send)
        return
    is_written = False

    async def write(status: int, made: str = "") -> None:
        nonlocal is_written
        is_written = True
        named = _LAST.search(made) if status in (200, 201) else None
        thing = named[1] if named else None
        await _write_line(service, scope, Actor.of(caller), found, thing, status)

    async def send_recorded(message: Message) -> None:
        if message["type"] == "http.response.start" and not is_written:
            made = Headers(raw=message["headers"]).get("location", "")
            await write(message["status"], made)
        await send(message)

    try:
        await answer(send_recorded)
    except ClientDisconnect:
        raise
    except Exception:  # a defect, which is answered 500 outside
        if not is_written:
            await write(500)
        raise


async def refused(
    service: Service,
    scope: Scope,
    caller: Caller | None,
    found: Found | None,
    error: ServiceError,
) -> None:
    """Add a line about a request that was refused before any endpoint ran, if it was to change
    something and somebody known sent it."""
    if found is None or found.method in SAFE_METHODS or _action(found) == PREDICT:
        return
    if isinstance(error, ClosedError):
        if service.part(Closed).is_due(error.actor):
            await _write_line(service, scope, error.actor, found, None, error.status)
    elif caller is not None:
        await _write_line(service, scope, Actor.of(caller), found, None, error.status)


def _action(found: Found) -> str:
    return f"{found.method} {found.template}"


async def _write_line(
    service: Service,
    scope: Scope,
    actor: Actor,
    found: Found,
    made: str | None,
    status: int,
) -> None:
    action = _action(found)
    for name, value in list(found.parameters.items())[1:]:
        action = action.replace(f"{{{name}}}", value)
    thing = next(iter(found.parameters.values()), made)
    with anyio.CancelScope(shield=True):
        await anyio.to_thread.run_sync(write, service, scope, actor, action, thing, status)


def write(
    service: Service, scope: Scope, actor: Actor, action: str, thing: str | None, status: int
) -> None:
    """Add a line; where the database is away, the log has it."""
    try:
        with viewer.acting(None), service.database.writing() as session:
            audit.append(
                session,
                user=actor.user,
                user_id=actor.user_id,
                key_id=actor.key_id,
                address=user_of(scope, service.settings.trusted_proxies),
                action=action,
                thing_id=thing,
                status=status,
                request_id=str(scope["state"].get("request_id", "")),
            )
    except SQLAlchemyError:
        # It was done, or refused; the log is what is left to say so.
        said = actor.user, action, thing, status
        log.exception("no line was added to the record: %s %s %s %d", *said)
