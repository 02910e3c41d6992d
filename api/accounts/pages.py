"""Signing in and out in a browser, and the page of an account: keys, sessions, projects, users."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs

import anyio.to_thread
from fastapi import APIRouter, Request
from starlette.responses import RedirectResponse, Response

from api.accounts import mail
from api.accounts.entering import go_on, login
from api.accounts.identify import COOKIE
from api.accounts.limits.routes import own_limits
from api.accounts.queries import keys_of, make_key, own_projects, whole_project
from api.accounts.schemas import NewKey, user_document
from api.accounts.signing_in import SignIns
from api.errors import InvalidRequestError, ServiceError
from api.store.accounts import keys, projects, sessions, users
from api.web.asgi import prefix
from api.web.caller import AccountDependency, Caller, CallerDependency
from api.web.dependencies import Service, ServiceDependency
from api.web.rendering import page
from api.web.schemas import iso

router = APIRouter(include_in_schema=False)
MOST_FORM_BYTES = 20_000
UNKNOWN = "This key opens nothing: it is unknown, revoked or expired, or its user is disabled."


@router.get("/login")
def login_page(
    request: Request, service: ServiceDependency, next: str = "/", left: bool = False
) -> Response:
    """Where a browser signs in, with a key or at a provider."""
    if service.settings.auth != "keys":
        return RedirectResponse(prefix.at("/"), 303)
    return login(request, next, left=left)


@router.post("/login")
async def sign_in(request: Request) -> Response:
    """Begins a browser session by a key, and leads to where the person wanted to go."""
    service: Service = request.app.state.service
    if service.settings.auth != "keys":
        return RedirectResponse(prefix.at("/"), 303)
    form = await form_of(request)
    wanted = form.get("next", "/")
    signed_in = await service.part(SignIns).sign_in(request, form.get("key", "").strip())
    if signed_in is None:
        return login(request, wanted, UNKNOWN, status=401)
    return go_on(request, wanted, signed_in)


@router.post("/logout")
def sign_out(request: Request, service: ServiceDependency, caller: AccountDependency) -> Response:
    """Ends this browser's session."""
    if caller.session_id is not None:
        with service.database.writing() as session:
            sessions.end(session, caller.session_id)
    return _signed_out(request, service, caller)


@router.post("/account/sessions/end")
def end_all_sessions(
    request: Request, service: ServiceDependency, caller: AccountDependency
) -> Response:
    """Ends the sessions of all one's browsers."""
    with service.database.writing() as session:
        sessions.end_all(session, caller.viewer.user_id)
    return _signed_out(request, service, caller)


@router.get("/account")
def account_page(
    request: Request, service: ServiceDependency, caller: CallerDependency
) -> Response:
    """One's keys, browser sessions and projects; for admins all users."""
    if caller is None:
        with service.database.reading() as session:
            return page(request, "accounts/open.html", {"mail": mail.shown(service, session)})
    return page(request, "accounts/account.html", _account(service, caller))


@router.post("/account/keys")
async def make_key_by_form(request: Request) -> Response:
    """Makes a key and shows it, once."""
    form = await form_of(request)
    return await _in_thread(_make_key, request, form)


@router.post("/account/keys/{key}/revoke")
def revoke_key_by_form(
    request: Request, service: ServiceDependency, caller: AccountDependency, key: str
) -> Response:
    """Revokes a key."""
    with service.database.writing() as session:
        keys.revoke(session, keys.find(session, key))
    return RedirectResponse(prefix.at("/account"), 303)


def _make_key(request: Request, form: dict[str, str]) -> Response:
    service: Service = request.app.state.service
    caller: Caller = request.state.caller
    days = form.get("days", "").strip()
    problem, made = "", None
    try:
        if days and not days.replace(".", "", 1).isdecimal():
            raise InvalidRequestError("The days until it expires are a number, or nothing.")
        wanted = NewKey(
            name=form.get("name", "").strip()[:100] or "browser",
            scopes=["read"] if form.get("only") == "read" else None,
            expires_days=float(days) if days else None,
        )
        with service.database.writing() as session:
            made = make_key(session, caller, wanted)
    except ServiceError as error:
        problem = error.detail
    except ValueError:
        problem = "The days until it expires are a number from above 0 to 3650, or nothing."
    context = _account(service, caller) | {"made": made, "problem": problem}
    return page(request, "accounts/account.html", context, status=422 if problem else 200)


def _account(service: Service, caller: Caller) -> dict[str, Any]:
    with service.database.reading() as session:
        user = users.find(session, caller.viewer.user_id)
        rows = sessions.of(session, user.id)
        shown = own_projects(session, caller)
        everybody = users.everybody(session) if caller.viewer.is_admin else []
        return {
            "user": user_document(user),
            "keys": keys_of(session, user),
            "limits": list(own_limits(session, service, caller)),
            "key_id": caller.key_id,
            "scopes": sorted(caller.scopes),
            "projects": [
                whole_project(session, projects.find(session, one.id), caller) for one in shown
            ],
            "sessions": [
                {
                    "browser": row.browser,
                    "address": row.address,
                    "since": iso(row.created_at),
                    "until": iso(row.expires_at),
                    "is_this": row.id == caller.session_id,
                }
                for row in rows
            ],
            "users": [user_document(row) for row in everybody],
            "mail": mail.shown(service, session),
            "made": None,
            "problem": "",
            "signs_out": caller.how == "session",
        }


def _signed_out(request: Request, service: Service, caller: Caller) -> Response:
    by_provider = bool(service.settings.oidc_issuer) and caller.key_id is None
    there = "/login?left=true" if by_provider else "/login"
    response = RedirectResponse(prefix.at(there if service.settings.auth == "keys" else "/"), 303)
    response.delete_cookie(
        COOKIE,
        path=prefix.root.get() or "/",
        secure=request.url.scheme == "https",
        httponly=True,
        samesite="lax",
    )
    response.headers["Clear-Site-Data"] = '"cache"'
    return response


async def form_of(request: Request) -> dict[str, str]:
    """The fields of a form; the first value of each."""
    body = await request.body()
    if len(body) > MOST_FORM_BYTES:
        raise InvalidRequestError(f"the form has more than {MOST_FORM_BYTES} bytes")
    found = parse_qs(body.decode("utf-8", "replace"), keep_blank_values=True)
    return {name: values[0] for name, values in found.items()}


async def _in_thread(answer: Any, request: Request, form: dict[str, str]) -> Response:
    response: Response = await anyio.to_thread.run_sync(answer, request, form)
    return response
