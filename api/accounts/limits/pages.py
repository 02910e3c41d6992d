"""The page on which an admin of the service says how much a user or a project may have."""

from __future__ import annotations

from collections.abc import Mapping

import anyio.to_thread
from fastapi import APIRouter, Request
from pydantic import TypeAdapter, ValidationError
from sqlalchemy.orm import Session
from starlette.responses import RedirectResponse, Response

from api.accounts.limits.routes import limits_of
from api.accounts.pages import form_of
from api.accounts.schemas import Limits
from api.store.accounts import projects, users
from api.store.limits import numbers
from api.store.limits.kinds import KINDS, Name, Side
from api.web.asgi import prefix
from api.web.dependencies import Service, ServiceDependency
from api.web.rendering import page
from saf import sizes

router = APIRouter(prefix="/account/limits", include_in_schema=False)
_LIMITS: TypeAdapter[Limits] = TypeAdapter(Limits)


@router.get("/users/{user}")
def limits_of_user(request: Request, service: ServiceDependency, user: str) -> Response:
    """What a user may have, and has."""
    return _page(request, service, "users", user)


@router.post("/users/{user}")
async def change_limits_of_user(request: Request, user: str) -> Response:
    """Says other numbers for a user."""
    return await _changed(request, "users", user)


@router.get("/projects/{project}")
def limits_of_project(request: Request, service: ServiceDependency, project: str) -> Response:
    """What a project may have, and has."""
    return _page(request, service, "projects", project)


@router.post("/projects/{project}")
async def change_limits_of_project(request: Request, project: str) -> Response:
    """Says other numbers for a project."""
    return await _changed(request, "projects", project)


async def _changed(request: Request, side: Side, name: str) -> Response:
    form = await form_of(request)
    return await anyio.to_thread.run_sync(_change, request, side, name, form)


def _change(request: Request, side: Side, name: str, form: Mapping[str, str]) -> Response:
    service: Service = request.app.state.service
    try:
        given = {
            limit: _number(limit, form[limit])
            for limit, kind in KINDS.items()
            if limit in form and kind.setting(side)
        }
        wanted = _LIMITS.validate_python(given)
    except ValidationError as error:
        return _page(request, service, side, name, given=form, problem=error.errors()[0]["msg"])
    except ValueError as error:
        return _page(request, service, side, name, given=form, problem=str(error))
    with service.database.writing() as session:
        id_, _ = _subject(session, side, name)
        numbers.change(session, id_, wanted)
    return RedirectResponse(prefix.at(f"/account/limits/{side}/{name}"), 303)


def _page(
    request: Request,
    service: Service,
    side: Side,
    name: str,
    *,
    given: Mapping[str, str] | None = None,
    problem: str = "",
) -> Response:
    with service.database.reading() as session:
        id_, of = _subject(session, side, name)
        found = list(limits_of(session, service, side, id_, of))
        said, default = numbers.own(session, id_), numbers.own(session, side)
    shown = [
        {
            "limit": one,
            "value": (given or {}).get(one.name, _written(one.name, said.get(one.name))),
            "default": _written(one.name, default.get(one.name) or None) or "any number",
        }
        for one in found
    ]
    context = {"side": side, "of": of, "shown": shown, "problem": problem}
    return page(request, "accounts/limits.html", context, status=422 if problem else 200)


def _subject(session: Session, side: Side, name: str) -> tuple[str, str]:
    """Its id and name. NotFoundError."""
    row = users.find(session, name) if side == "users" else projects.find(session, name)
    return row.id, row.name


def _number(name: Name, text: str) -> float | None:
    """What a field says; empty: the default. ValueError."""
    if not text.strip():
        return None
    try:
        return sizes.parsed(text) if KINDS[name].unit == "bytes" else float(text)
    except ValueError:
        size = ", such as 200 GiB," if KINDS[name].unit == "bytes" else ""
        raise ValueError(f"{KINDS[name].title} is a number{size} or nothing") from None


def _written(name: Name, most: float | None) -> str:
    if most is None:
        return ""
    return sizes.exactly(int(most)) if KINDS[name].unit == "bytes" else f"{most:.15g}"
