"""Signing in with a key in a browser, which whoever reaches the service may try: a few at a time,
so that a flood of them holds up nobody else, and without writing where the key opens nothing."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TypeVar

import anyio
import anyio.to_thread
from starlette.requests import Request

from api.accounts import entering
from api.accounts.recording import Actor, Closed, write
from api.errors import UnavailableError
from api.store.accounts import keys
from api.store.accounts.tables import User
from api.store.database import clock
from api.web.dependencies import Service

ACTION = "POST /login"
AT_ONCE = 4
TURN_SECONDS = 2.0  # that one waits for the others
PATIENCE_SECONDS = 2.0  # for others who write to the database
T = TypeVar("T")


class Turns:
    """So many at once of this process."""

    def __init__(self, at_once: int) -> None:
        self._at_once = at_once
        self._turns: anyio.Semaphore | None = None  # of the event loop of the requests

    async def take(self, answer: Callable[[], T]) -> T:
        """What a function returns that runs in a thread in its turn. UnavailableError where it does
        not come."""
        if self._turns is None:
            self._turns = anyio.Semaphore(self._at_once)
        try:
            with anyio.fail_after(TURN_SECONDS):
                await self._turns.acquire()
        except TimeoutError:
            raise UnavailableError(
                "many sign in at this moment; try again in a few seconds"
            ) from None
        try:
            return await anyio.to_thread.run_sync(answer)
        finally:
            self._turns.release()


class SignIns:
    """Those of this process with keys."""

    def __init__(self) -> None:
        self._turns = Turns(AT_ONCE)

    async def sign_in(self, request: Request, secret: str) -> str | None:
        """Begin a session of the browser with that key: what its cookie holds; None for a key that
        opens nothing. UnavailableError where many try, and what the database raises."""
        return await self._turns.take(partial(_sign_in, request, secret))


def _sign_in(request: Request, secret: str) -> str | None:
    service: Service = request.app.state.service
    with service.database.reading() as session:
        key = keys.by_secret(session, secret)
        if key is None:
            return None
        user = session.get_one(User, key.user_id)
        is_closed = user.disabled_at is not None or keys.why_closed(key, clock(session)) != ""
    if is_closed:
        actor = Actor(user=user.name, user_id=user.id, key_id=key.id)
        if service.part(Closed).is_due(actor):
            write(service, request.scope, actor, ACTION, None, 401)
        return None
    with service.database.writing(patience=PATIENCE_SECONDS) as session:
        row, cookie = entering.begin(request, session, user, key_id=key.id)
        keys.used(session, {key.id: row.created_at})
    return cookie
