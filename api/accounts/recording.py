"""What a request changed, as a line of the record (`api.store.accounts.audit`): every request that
is not for reading, of whichever route, with the answer that it got."""

from __future__ import annotations

import logging
import re
from collections.abc import Awaitable, Callable

import anyio
import anyio.to_thread
from sqlalchemy.exc import SQLAlchemyError
from starlette.datastructures import Headers
from starlette.types import Message, Scope, Send

from api.accounts.routing import Found
from api.store import viewer
from api.store.accounts import audit
from api.web.caller import Caller
from api.web.dependencies import Service
from api.web.limits import user_of

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
QUIET = frozenset({"PATCH /v1/uploads/{upload}", "POST /v1/jobs/{job_id}/predict"})
"""Pieces of a file, and what changes nothing."""
_LAST = re.compile(r"/([A-Za-z0-9_.@\-]+)(?:\?.*)?$")
log = logging.getLogger(__name__)


async def recorded(
    service: Service,
    scope: Scope,
    caller: Caller,
    found: Found | None,
    send: Send,
    answer: Callable[[Send], Awaitable[None]],
) -> None:
    """Answer a request, and add a line about it once the answer is known, before it is sent."""
    action = "" if found is None else f"{found.method} {found.template}"
    if found is None or found.method in SAFE_METHODS or action in QUIET:
        await answer(send)
        return
    is_written = False

    async def send_recorded(message: Message) -> None:
        nonlocal is_written
        if message["type"] == "http.response.start" and not is_written:
            is_written = True
            made = Headers(raw=message["headers"]).get("location", "")
            named = _LAST.search(made) if message["status"] in (200, 201) else None
            thing = next(iter(found.parameters.values()), named[1] if named else None)
            said = action
            for name, value in list(found.parameters.items())[1:]:
                said = said.replace(f"{{{name}}}", value)
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(
                    _write, service, scope, caller, said, thing, message["status"]
                )
        await send(message)

    await answer(send_recorded)


def _write(
    service: Service, scope: Scope, caller: Caller, action: str, thing: str | None, status: int
) -> None:
    request_id = str(scope["state"].get("request_id", ""))
    try:
        with viewer.acting(None), service.database.writing() as session:
            audit.append(
                session,
                user=caller.name,
                user_id=caller.viewer.user_id,
                key_id=caller.key_id,
                address=user_of(scope, service.settings.trusted_proxies),
                action=action,
                thing_id=thing,
                status=status,
                request_id=request_id,
            )
    except SQLAlchemyError:
        # It was done; the log is what is left to say so.
        log.exception("no line was added to the record: %s %s %s", caller.name, action, thing)
