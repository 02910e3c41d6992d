"""Who sent a request, and what is open to them; what `api.accounts.guard` found out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from fastapi import Depends, Header, Query, Request
from sqlalchemy import ColumnElement
from sqlalchemy.orm import Session
from starlette.types import Scope

from api.errors import ConflictError, NotFoundError
from api.store.accounts import projects, users
from api.store.viewer import Viewer

PROJECT = "saf-project"  # the header that names the project of what a request makes
OPEN = (
    "this service has no accounts: whoever reaches it may do everything; its operator starts it "
    "with SAF_AUTH=keys to have them"
)


@dataclass(frozen=True, kw_only=True)
class Caller:
    """An account that sends a request."""

    viewer: Viewer
    scopes: frozenset[str]
    how: Literal["key", "session", "proxy"]
    key_id: str | None = None
    session_id: str | None = None
    adds_to: tuple[str, ...] = ()
    """Names of the projects that new things of theirs may belong to; of browsers alone."""
    csrf: str = ""
    """What forms and scripts of its pages say; empty without a browser session."""

    @property
    def name(self) -> str:
        """That of the user."""
        return self.viewer.name

    def opens(self, scope: str) -> bool:
        """Whether what asks for that scope is open to them; `admin` opens `metrics`, too."""
        return scope in self.scopes or (scope == "metrics" and "admin" in self.scopes)


def caller_of(scope: Scope) -> Caller | None:
    """Who sent the request; None where there are no accounts, and at public addresses."""
    found: Caller | None = scope.get("state", {}).get("caller")
    return found


async def _caller(request: Request) -> Caller | None:
    return caller_of(request.scope)


async def _account(request: Request) -> Caller:
    found = caller_of(request.scope)
    if found is None:
        raise ConflictError(OPEN)
    return found


CallerDependency = Annotated[Caller | None, Depends(_caller)]
AccountDependency = Annotated[Caller, Depends(_account)]
"""Refused with 409 where there are no accounts."""

ProjectHeader = Annotated[
    str | None,
    Header(
        max_length=64,
        description="Name of the project that it belongs to; none: to the user alone",
    ),
]
"""For the documentation: the guard reads it, since it decides who may create where."""
Mine = Annotated[bool, Query(description="Only what belongs to whoever asks")]
OfProject = Annotated[
    str, Query(description="Only what belongs to the project of this name", max_length=64)
]


@dataclass(frozen=True, kw_only=True)
class Belonging:
    """Restriction of a list to what belongs to somebody; an empty one does not restrict it."""

    owner_id: str = ""
    project_id: str = ""


def belonging(session: Session, caller: Caller | None, mine: bool, project: str) -> Belonging:
    """What the parameters `mine` and `project` of a list mean. ConflictError without accounts,
    NotFoundError for a project that is none."""
    if not (mine or project):
        return Belonging()
    if caller is None:
        raise ConflictError(OPEN)
    viewer = caller.viewer
    found = projects.lookup(session, project) if project else None
    if project and (found is None or not viewer.sees(None, found.id)):
        raise NotFoundError(f"there is no project {project}")
    return Belonging(owner_id=viewer.user_id if mine else "", project_id=found.id if found else "")


def conditions(table: Any, of: Belonging | None) -> tuple[ColumnElement[bool], ...]:
    """The conditions on rows of something that is owned."""
    found = []
    if of is not None and of.owner_id:
        found.append(table.owner_id == of.owner_id)
    if of is not None and of.project_id:
        found.append(table.project_id == of.project_id)
    return tuple(found)


def own_names(session: Session, caller: Caller) -> list[str]:
    """Names of the projects that somebody sees, in order."""
    seen = None if caller.viewer.is_admin else caller.viewer.projects
    return [row.name for row in projects.listed(session, seen)]


class Names:
    """Names of the owners and projects of some rows, by two queries at most."""

    def __init__(self, session: Session, rows: Iterable[tuple[str | None, str | None]]) -> None:
        pairs = list(rows)
        self._users = users.names(session, {owner for owner, _ in pairs if owner})
        self._projects = projects.names(session, {project for _, project in pairs if project})

    def of(self, owner_id: str | None, project_id: str | None) -> tuple[str | None, str | None]:
        """Name of the owner, and of the project."""
        return self._users.get(owner_id or ""), self._projects.get(project_id or "")
