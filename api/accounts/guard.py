"""The guard: decides for every request, before any endpoint runs, whether it may.

Where there are accounts, what `api.accounts.access` does not name is denied, nobody comes in
without one (401), what one may not see is not there (404), and what one sees and may not change is
refused (403). Then the request goes on in the name of its account (`api.store.viewer`), so that
every query leaves out what belongs to others.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import time
from collections.abc import Iterable
from dataclasses import replace
from urllib.parse import parse_qs, quote

import anyio.to_thread
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, Request
from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.accounts.access import Access, needed
from api.accounts.identify import Identifier
from api.accounts.limits.requests import RequestLimits
from api.accounts.objects import Owned, owned
from api.accounts.recording import recorded, refused
from api.accounts.routing import EVERYTHING, Found, Routes
from api.accounts.uses import KeyUses
from api.errors import (
    ForbiddenError,
    InvalidRequestError,
    NotFoundError,
    ServiceError,
    UnauthorizedError,
    UnavailableError,
)
from api.settings import Settings
from api.store import viewer
from api.store.accounts import projects
from api.telemetry import log as logs
from api.web.asgi import prefix
from api.web.caller import OPEN, PROJECT, Caller
from api.web.dependencies import Service
from api.web.limits import user_of
from api.web.problems.handler import handle

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
CSRF_HEADER, CSRF_FIELD = "x-csrf-token", "csrf"
FORM = "application/x-www-form-urlencoded"
KEY = b"idempotency-key"
LONGEST_KEY = 180  # characters of an Idempotency-Key that are kept beside the user's name
# After which an open stream is asked again whether it may go on: with the pause between two of its
# comments (`api.jobs.live`) less than the half minute that docs/accounts.md promises.
LOOK_SECONDS = 14.0
log = logging.getLogger(__name__)


class Guard:
    """Middleware right before the application."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._settings = settings
        self._routes: Routes | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        state = scope.setdefault("state", {})
        caller: Caller | None = None
        try:
            if self._settings.auth == "open":
                if scope["method"] == "POST":  # which alone makes something in a project
                    _refuse_project(Headers(scope=scope))
                state["decided"] = EVERYTHING
            else:
                caller, receive = await self._admit(scope, receive)
        except _SignInError as error:
            await error.response(scope, receive, send)
            return
        except ServiceError as error:
            await refused(
                scope["app"].state.service, scope, state.get("asks"), state.get("found"), error
            )
            await handle(Request(scope), error)(scope, receive, send)
            return
        except Exception as error:
            # As those of the database; raises what is a defect.
            await handle(Request(scope), error)(scope, receive, send)
            return
        if caller is None:
            await self._app(scope, receive, send)
            return
        state["caller"] = caller
        logs.bind(user=caller.name)

        async def answer(send: Send) -> None:
            with viewer.acting(caller.viewer):
                await self._app(_in_own_name(scope, caller), receive, self._watched(scope, send))

        service: Service = scope["app"].state.service
        await recorded(service, scope, caller, state.get("found"), send, answer)

    async def _admit(self, scope: Scope, receive: Receive) -> tuple[Caller | None, Receive]:
        """Who sends the request; None at a public address. Raises what refuses it."""
        if self._routes is None:
            self._routes = Routes(scope["app"])
        found = self._routes.find(scope["method"], scope["path"])
        access = None if found is None else needed(found.method, found.template)
        service: Service = scope["app"].state.service
        if found is not None and access is not None and access.scope == "public":
            scope["state"]["decided"] = found.template
            if access.enters:
                requests = service.part(RequestLimits)
                address = user_of(scope, self._settings.trusted_proxies)
                await anyio.to_thread.run_sync(requests.check_unknown, address)
            return None, receive
        if service.opening.reason:
            raise UnavailableError(service.opening.reason)
        scope["state"]["found"] = found
        try:
            caller = await anyio.to_thread.run_sync(self._counted, service, scope)
        except UnauthorizedError:
            if _is_page(scope) and self._settings.auth != "proxy":
                raise _SignInError(scope) from None
            raise
        scope["state"]["asks"] = caller  # who may yet be refused
        if found is None:
            return caller, receive  # the application says 404, 405 or where it is
        if access is None:
            log.error("nobody decided who may %s %s", found.method, found.template)
            raise NotFoundError("there is nothing at this address")
        if caller.csrf and caller.how == "session" and found.method not in SAFE_METHODS:
            receive = await _check_csrf(caller, access, scope, receive)
        _check_scope(caller, access)
        caller = await anyio.to_thread.run_sync(_permitted, service, caller, access, found, scope)
        scope["state"]["decided"] = found.template
        return caller, receive

    @staticmethod
    def _caller(service: Service, scope: Scope) -> Caller:
        note_use = service.part(KeyUses).note
        return Identifier(service.database, service.settings, note_use).caller(scope)

    def _counted(self, service: Service, scope: Scope) -> Caller:
        """The caller, whose request counts. Raises UnauthorizedError, and TooManyError."""
        requests = service.part(RequestLimits)
        try:
            caller = self._caller(service, scope)
        except UnauthorizedError:
            requests.check_unknown(user_of(scope, self._settings.trusted_proxies))
            raise
        requests.check_user(caller)
        return caller

    def _watched(self, scope: Scope, send: Send) -> Send:
        """Ends a live stream once whoever reads it may not come in any more, or sees other things:
        their browser opens it again."""
        service: Service = scope["app"].state.service
        began: Caller = scope["state"]["caller"]
        looked = time.monotonic()
        is_stream = False

        async def send_while_permitted(message: Message) -> None:
            nonlocal looked, is_stream
            if message["type"] == "http.response.start":
                kind = Headers(raw=message["headers"]).get("content-type", "")
                is_stream = kind.startswith("text/event-stream")
            elif is_stream and time.monotonic() - looked > LOOK_SECONDS:
                looked = time.monotonic()
                if not await anyio.to_thread.run_sync(_goes_on, service, scope, began):
                    await send({"type": "http.response.body", "body": b"", "more_body": False})
                    raise ClientDisconnect
            await send(message)

        return send_while_permitted


class _SignInError(Exception):
    """A person asks for a page and is sent to the one to sign in."""

    def __init__(self, scope: Scope) -> None:
        super().__init__()
        query = scope["query_string"].decode("latin-1")
        there = scope["path"] + (f"?{query}" if query else "")
        self.response = RedirectResponse(
            prefix.at(f"/login?next={quote(there, safe='')}"),
            303,
            {"Cache-Control": "no-store"},
        )


def _goes_on(service: Service, scope: Scope, began: Caller) -> bool:
    with viewer.acting(None):
        try:
            now = Guard._caller(service, scope)
        except UnauthorizedError:
            return False
        except Exception:
            return True  # the database is away, and says nothing about anybody
    same = replace(now.viewer, creates_in=began.viewer.creates_in) == began.viewer
    return same and now.scopes == began.scopes


def _check_scope(caller: Caller, access: Access) -> None:
    if caller.opens(access.scope):
        return
    of_admins = access.scope in ("admin", "metrics")
    raise ForbiddenError(
        f"the key has the scopes {', '.join(sorted(caller.scopes)) or 'none'}, and this needs "
        f"{access.scope}; "
        + ("it is for admins of the service, by" if of_admins else "make")
        + " a key that has it"
    )


def _permitted(
    service: Service, caller: Caller, access: Access, found: Found, scope: Scope
) -> Caller:
    """The caller, with the project that what is made belongs to. Raises NotFoundError and
    ForbiddenError."""
    if access.kind is not None:
        name = next(iter(found.parameters.values()))
        thing = owned(service, access.kind, name, caller.viewer)
        _check_thing(caller, access, thing)
    wanted = Headers(scope=scope).get(PROJECT, "").strip() if access.makes else ""
    if not wanted:
        return caller
    seen = caller.viewer
    with service.database.reading() as session:
        project = projects.lookup(session, wanted)
    if project is None or not seen.sees(None, project.id):
        raise InvalidRequestError.at(PROJECT, f"there is no project {wanted[:64]}")
    if not seen.may_create_in(project.id):
        raise ForbiddenError(
            f"you are a viewer in the project {project.name}; an admin of it makes you a member"
        )
    return replace(caller, viewer=replace(seen, creates_in=project.id))


def _check_thing(caller: Caller, access: Access, thing: Owned) -> None:
    seen = caller.viewer
    if not thing.is_there or not thing.is_seen_by(seen):
        raise NotFoundError(thing.missing)
    if access.right == "change" and not thing.may_be_changed_by(seen):
        raise ForbiddenError(thing.closed)


async def _check_csrf(caller: Caller, access: Access, scope: Scope, receive: Receive) -> Receive:
    """Raise ForbiddenError unless a page of ours sends this; the body is still to be read."""
    headers = Headers(scope=scope)
    given = headers.get(CSRF_HEADER, "")
    if not given and access.of_form and headers.get("content-type", "").startswith(FORM):
        body = await Request(scope, receive).body()
        receive = _once(body, receive)
        given = parse_qs(body.decode("latin-1")).get(CSRF_FIELD, [""])[0]
    if not hmac.compare_digest(given.encode(), caller.csrf.encode()):
        raise ForbiddenError(
            "the request does not say the token of this browser's session; load the page again"
        )
    return receive


def _once(body: bytes, receive: Receive) -> Receive:
    given = False

    async def read() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return read


def _is_page(scope: Scope) -> bool:
    """Whether a person asks for a page."""
    accepted = Headers(scope=scope).get("accept", "")
    return (
        scope["method"] == "GET"
        and "text/html" in accepted
        and scope["path"] != "/metrics"
        and (not scope["path"].startswith("/v1/"))
    )


def _refuse_project(headers: Headers) -> None:
    if headers.get(PROJECT):
        raise InvalidRequestError.at(PROJECT, OPEN)


def _in_own_name(scope: Scope, caller: Caller) -> Scope:
    """The request with an Idempotency-Key that is of this user alone."""
    headers: Iterable[tuple[bytes, bytes]] = scope["headers"]
    if not any(name == KEY for name, _ in headers):
        return scope
    own = [(name, _own(value, caller) if name == KEY else value) for name, value in headers]
    return {**scope, "headers": own}


def _own(key: bytes, caller: Caller) -> bytes:
    if not 0 < len(key) <= 255:
        return key  # refused as it is
    short = key if len(key) <= LONGEST_KEY else hashlib.sha256(key).hexdigest().encode()
    return short + b" of " + caller.name.encode()
