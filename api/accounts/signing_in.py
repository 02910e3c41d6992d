"""Signing in with a key in a browser, which whoever reaches the service may try: a few at a time,
so that a flood of them holds up nobody else, and without writing where the key opens nothing."""

from __future__ import annotations

import anyio
import anyio.to_thread
from starlette.requests import Request

from api.accounts.recording import Actor, Closed, write
from api.errors import UnavailableError
from api.store.accounts import audit, keys, sessions
from api.store.accounts.tables import User
from api.store.database import clock
from api.web.dependencies import Service
from api.web.limits import user_of
from api.web.problems import request_id_of

ACTION = "POST /login"
AT_ONCE = 4
TURN_SECONDS = 2.0  # that one waits for the others
PATIENCE_SECONDS = 2.0  # for others who write to the database


class SignIns:
    """Those of this process."""

    def __init__(self) -> None:
        self._turns: anyio.Semaphore | None = None  # of the event loop of the requests

    async def sign_in(self, request: Request, secret: str) -> str | None:
        """Begin a session of the browser with that key: what its cookie holds; None for a key that
        opens nothing. UnavailableError where many try, and what the database raises."""
        if self._turns is None:
            self._turns = anyio.Semaphore(AT_ONCE)
        try:
            with anyio.fail_after(TURN_SECONDS):
                await self._turns.acquire()
        except TimeoutError:
            raise UnavailableError(
                "many sign in at this moment; try again in a few seconds"
            ) from None
        try:
            return await anyio.to_thread.run_sync(_sign_in, request, secret)
        finally:
            self._turns.release()


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
    address = user_of(request.scope, service.settings.trusted_proxies)
    with service.database.writing(patience=PATIENCE_SECONDS) as session:
        row, cookie = sessions.begin(
            session,
            user.id,
            key_id=key.id,
            hours=service.settings.session_hours,
            browser=request.headers.get("user-agent", ""),
            address=address,
        )
        keys.used(session, {key.id: row.created_at})
        audit.append(
            session,
            user=user.name,
            user_id=user.id,
            key_id=key.id,
            address=address,
            action=ACTION,
            thing_id=row.id,
            status=303,
            request_id=request_id_of(request),
        )
    return cookie
