"""What routes and pages of accounts ask of the database, and change in it."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy.orm import Session

from api.accounts.schemas import (
    KeyDocument,
    MeDocument,
    MemberDocument,
    NewKey,
    NewKeyDocument,
    ProjectDocument,
    Scope,
    WholeProjectDocument,
    key_document,
    project_document,
    user_document,
)
from api.errors import ForbiddenError, InvalidRequestError
from api.settings import Settings
from api.store.accounts import keys, projects, users
from api.store.accounts.tables import ApiKey, Project, User
from api.web.caller import Caller

ALL_SCOPES: tuple[Scope, ...] = ("read", "write", "admin", "metrics")


def me(session: Session, settings: Settings, caller: Caller | None) -> MeDocument:
    """Who asks."""
    if caller is None:
        return MeDocument(
            auth="open", user=None, key=None, scopes=list(ALL_SCOPES[:3]), projects=[]
        )
    user = users.find(session, caller.viewer.user_id)
    key = session.get(ApiKey, caller.key_id) if caller.key_id else None
    return MeDocument(
        auth=settings.auth,
        user=user_document(user),
        key=None if key is None else key_document(key, user.name),
        scopes=[scope for scope in ALL_SCOPES if scope in caller.scopes],
        projects=own_projects(session, caller),
    )


def own_projects(session: Session, caller: Caller) -> list[ProjectDocument]:
    """The projects that somebody sees."""
    roles = caller.viewer.projects
    rows = projects.listed(session, None if caller.viewer.is_admin else roles)
    return [project_document(row, roles) for row in rows]


def whole_project(session: Session, row: Project, caller: Caller) -> WholeProjectDocument:
    """A project and who belongs to it, as it is now."""
    found = projects.members(session, row)
    own = [role for user, role in found if user.id == caller.viewer.user_id]
    roles = dict.fromkeys([row.id], own[0]) if own else {}
    return WholeProjectDocument(
        **project_document(row, roles).model_dump(),
        members=[MemberDocument(user=user.name, role=role) for user, role in found],
    )


def keys_of(session: Session, user: User) -> list[KeyDocument]:
    """The keys of a user."""
    return [key_document(row, user.name) for row in keys.of(session, user.id)]


def make_key(session: Session, caller: Caller, wanted: NewKey) -> NewKeyDocument:
    """A new key, which opens no more than what it is made with. ForbiddenError,
    InvalidRequestError, NotFoundError."""
    user = users.find(session, wanted.user or caller.viewer.user_id)
    is_own = user.id == caller.viewer.user_id
    if not is_own and "admin" not in caller.scopes:
        raise ForbiddenError("keys of others are made by admins of the service")
    scopes: Sequence[str] = wanted.scopes or _usual(caller, user)
    beyond = [scope for scope in scopes if not caller.opens(scope)]
    if beyond:
        raise InvalidRequestError.at(
            "/scopes", f"a key opens no more than what it is made with, which lacks {beyond[0]}"
        )
    of_admins = [scope for scope in scopes if scope in ("admin", "metrics")]
    if of_admins and not user.is_admin:
        raise InvalidRequestError.at(
            "/scopes", f"{of_admins[0]} is for admins of the service, and {user.name} is none"
        )
    row, secret = keys.add(session, user, wanted.name, scopes=scopes, days=wanted.expires_days)
    return NewKeyDocument(**key_document(row, user.name).model_dump(), secret=secret)


def _usual(caller: Caller, user: User) -> list[str]:
    if user.id == caller.viewer.user_id:
        return [scope for scope in ALL_SCOPES if scope in caller.scopes]
    return list(ALL_SCOPES[:3]) if user.is_admin else ["read", "write"]
