"""To the provider and back: the two addresses that a browser meets on its way in."""

from __future__ import annotations

import logging
import re
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.responses import RedirectResponse, Response

from api.accounts import entering
from api.accounts.oidc import people
from api.accounts.oidc.idtoken import verified
from api.accounts.oidc.provider import Provider
from api.accounts.recording import Closed, ClosedError, write
from api.accounts.signing_in import PATIENCE_SECONDS
from api.errors import ForbiddenError, ServiceError, UnauthorizedError
from api.store.accounts import logins, secrets
from api.store.accounts.tables import PendingLogin
from api.web.asgi import prefix
from api.web.dependencies import Service, ServiceDependency

router = APIRouter(include_in_schema=False)
CALLBACK = entering.OIDC + "/callback"
COOKIE = "saf_login"
_COOKIE = re.compile(r"[A-Za-z0-9_\-]{43}")
_CODE = re.compile(r"[a-z_]{1,60}")
LOST = (
    "this sign-in cannot be finished: it was begun in another browser, or more than ten minutes "
    "ago, or was finished before; start again"
)
log = logging.getLogger(__name__)
Text = Annotated[str, Query()]


@router.get(entering.OIDC)
async def leave(request: Request, service: ServiceDependency, next: str = "/") -> Response:
    """Sends a browser to the provider."""
    if not service.settings.oidc_issuer:
        return RedirectResponse(prefix.at("/login"), 303)
    browser = request.cookies.get(COOKIE, "")
    browser = browser if _COOKIE.fullmatch(browser) else secrets.new_token()
    turns = service.part(Provider).turns
    try:
        there = await turns.take(partial(_begin_login, request, service, browser, next))
    except ServiceError as error:
        return _refused(request, error, next)
    request.scope["state"][prefix.LEAVES] = True
    response = RedirectResponse(there, 303, {"Cache-Control": "no-store"})
    response.set_cookie(
        COOKIE,
        browser,
        max_age=int(logins.PENDING_SECONDS),
        path=prefix.at(entering.OIDC),
        secure=request.url.scheme == "https",
        httponly=True,
        samesite="lax",
    )
    return response


@router.get(CALLBACK)
async def come_back(
    request: Request,
    service: ServiceDependency,
    state: Text = "",
    code: Text = "",
    error: Text = "",
    iss: Text = "",
) -> Response:
    """Begins a session for whom the provider says it is, and leads to where they wanted to go."""
    if not service.settings.oidc_issuer:
        return RedirectResponse(prefix.at("/login"), 303)
    wanted = "/"

    def finish() -> str:
        nonlocal wanted
        browser = request.cookies.get(COOKIE, "")
        with service.database.writing(patience=PATIENCE_SECONDS) as session:
            pending = logins.take(session, state=state, browser=browser)
        if pending is None:
            raise UnauthorizedError(LOST)
        wanted = pending.wanted
        _check(service, error, code, iss)
        return _enter(request, service, pending, code)

    try:
        cookie = await service.part(Provider).turns.take(finish)
    except ServiceError as refusal:
        return _refused(request, refusal, wanted)
    response = entering.go_on(request, wanted, cookie)
    response.delete_cookie(
        COOKIE,
        path=prefix.at(entering.OIDC),
        secure=request.url.scheme == "https",
        httponly=True,
        samesite="lax",
    )
    return response


@router.get(entering.OIDC_LEAVE)
async def sign_out_there(request: Request, service: ServiceDependency) -> Response:
    """Sends a browser that has signed out here to sign out at the provider too (RP-Initiated
    Logout)."""
    if not service.settings.oidc_issuer:
        return RedirectResponse(prefix.at("/login"), 303)
    provider = service.part(Provider)
    try:
        there = await provider.turns.take(provider.end_address)
    except ServiceError as error:
        return _refused(request, error, "/")
    if not there:
        name = service.settings.oidc_name
        return entering.login(request, "/", f"{name} has no page to sign out: sign out there.")
    request.scope["state"][prefix.LEAVES] = True
    return RedirectResponse(there, 303, {"Cache-Control": "no-store"})


def _begin_login(request: Request, service: Service, browser: str, wanted: str) -> str:
    """Let a sign-in of a browser wait: where the provider is. Raises ServiceError."""
    provider = service.part(Provider)
    provider.description  # noqa: B018  (nothing is written where it is away)
    back = _callback(request)
    with service.database.writing(patience=PATIENCE_SECONDS) as session:
        begun = logins.begin(
            session,
            browser=browser,
            redirect_uri=back,
            wanted=entering.local(wanted),
            address=entering.address_of(request),
        )
    return provider.address(
        state=begun.state, nonce=begun.nonce, verifier=begun.verifier, redirect_uri=back
    )


def _check(service: Service, error: str, code: str, iss: str) -> None:
    """Raise UnauthorizedError for a browser that comes back without what it was sent for."""
    name = service.settings.oidc_name
    provider = service.part(Provider)
    if iss != provider.issuer and (iss or provider.description.names_itself):
        log.warning("a browser came back from another provider")
        raise UnauthorizedError(f"the browser came back from another provider than {name}")
    if error == "access_denied":
        raise UnauthorizedError(f"{name} was told not to let you in here, by you or an admin there")
    if error or not code:
        told = error if _CODE.fullmatch(error) else "no code"
        log.warning("the provider sends a browser back with %s", told)
        raise UnauthorizedError(f"{name} did not let you in: {told}")


def _enter(request: Request, service: Service, pending: PendingLogin, code: str) -> str:
    """The cookie of the session of whoever the code stands for. Raises ServiceError."""
    settings, provider = service.settings, service.part(Provider)
    tokens = provider.exchange(code, verifier=pending.verifier, redirect_uri=pending.redirect_uri)
    claims = verified(provider, tokens, client_id=settings.oidc_client_id, nonce=pending.nonce)
    subject: str = claims["sub"]

    def is_known() -> bool:
        with service.database.reading() as session:
            return people.known(session, provider.issuer, subject) is not None

    try:
        is_new = settings.oidc_new_users == "create" and not is_known()
        if is_new or (settings.smtp_host and "email" not in claims):
            claims = {**provider.userinfo(tokens.access_token, subject), **claims}
        return _begin(request, service, claims)
    except ForbiddenError:
        if is_known():  # by another of their browsers, at this moment
            return _begin(request, service, claims)
        raise
    except ClosedError as error:
        if service.part(Closed).is_due(error.actor):
            write(service, request.scope, error.actor, f"GET {CALLBACK}", None, error.status)
        raise


def _begin(request: Request, service: Service, claims: dict[str, Any]) -> str:
    """Begin a session of whom the claims are about, a new user where they are none."""
    settings = service.settings
    with service.database.writing(patience=PATIENCE_SECONDS) as session:
        user = people.known(session, settings.oidc_issuer, claims["sub"])
        if user is None:
            user = people.newcomer(session, settings, claims)
            entering.record(request, session, user, thing_id=user.id, status=201)
        people.note_email(user, claims)
        _, cookie = entering.begin(request, session, user, key_id=None)
    return cookie


def _callback(request: Request) -> str:
    """Where the provider sends a browser back to: by the name that it asked for."""
    host = request.headers.get("host", "")
    return f"{request.url.scheme}://{host}{prefix.at(CALLBACK)}"


def _refused(request: Request, error: ServiceError, wanted: str) -> Response:
    log.warning("nobody was signed in: %s", error.detail)
    said = error.detail[:1].upper() + error.detail[1:].rstrip(".") + "."
    return entering.login(request, wanted, said, status=error.status)
