"""A browser session as it begins, by a key or by a provider: its row, its cookie, its line of the
record, and where the person goes then."""

from __future__ import annotations

from fastapi import Request
from sqlalchemy.orm import Session
from starlette.responses import RedirectResponse, Response

from api.accounts.identify import COOKIE
from api.store.accounts import audit, sessions
from api.store.accounts.tables import BrowserSession, User
from api.web.asgi import prefix
from api.web.dependencies import Service
from api.web.limits import user_of
from api.web.problems.handler import request_id_of
from api.web.rendering import page

LONGEST = 2000  # characters of an address to go on to
OIDC = "/login/oidc"
OIDC_LEAVE = OIDC + "/leave"


def login(
    request: Request, wanted: str, problem: str = "", status: int = 200, *, left: bool = False
) -> Response:
    """The page to sign in, with all ways in; who has just left may sign out at the provider."""
    service: Service = request.app.state.service
    name = service.settings.oidc_name if service.settings.oidc_issuer else ""
    context = {"next": local(wanted), "problem": problem, "provider": name, "left": left}
    return page(request, "accounts/login.html", context, status=status)


def begin(
    request: Request, session: Session, user: User, *, key_id: str | None
) -> tuple[BrowserSession, str]:
    """Begin a session of a user in the browser that asks: its row, and what its cookie holds."""
    service: Service = request.app.state.service
    row, cookie = sessions.begin(
        session,
        user.id,
        key_id=key_id,
        hours=service.settings.session_hours,
        browser=request.headers.get("user-agent", ""),
        address=address_of(request),
    )
    record(request, session, user, thing_id=row.id, status=303, key_id=key_id)
    return row, cookie


def record(
    request: Request,
    session: Session,
    user: User,
    *,
    thing_id: str,
    status: int,
    key_id: str | None = None,
) -> None:
    """A line of the record about somebody who signs in, of whom nobody knew before who it is."""
    audit.append(
        session,
        user=user.name,
        user_id=user.id,
        key_id=key_id,
        address=address_of(request),
        action=f"{request.method} {request.scope['path']}",
        thing_id=thing_id,
        status=status,
        request_id=request_id_of(request),
    )


def go_on(request: Request, wanted: str, cookie: str) -> Response:
    """Lead to where the person wanted to go, with the cookie of their session."""
    service: Service = request.app.state.service
    response = RedirectResponse(prefix.at(local(wanted)), 303)
    response.set_cookie(
        COOKIE,
        cookie,
        max_age=int(3600 * service.settings.session_hours),
        path=prefix.root.get() or "/",
        secure=request.url.scheme == "https",
        httponly=True,
        samesite="lax",
    )
    return response


def address_of(request: Request) -> str:
    """From where a request comes."""
    service: Service = request.app.state.service
    return user_of(request.scope, service.settings.trusted_proxies)


def local(address: str) -> str:
    """An address of this service to go on to; the list of jobs for any other."""
    is_ours = address.startswith("/") and not address.startswith(("//", "/\\", "/login"))
    return address if is_ours and address.isprintable() and len(address) <= LONGEST else "/"
