"""How much users and projects may have, and have: told, and changed by admins of the service."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from fastapi import APIRouter, Body, Query
from sqlalchemy.orm import Session

from api.accounts.limits.requests import RequestLimits
from api.accounts.queries import whole_project
from api.accounts.schemas import LimitDocument, ProjectChange, WholeProjectDocument
from api.errors import ForbiddenError, InvalidRequestError, NotFoundError
from api.store.accounts import projects, users
from api.store.limits import full, hours, numbers, stored
from api.store.limits.kinds import DAYS, KINDS, Name, Side
from api.store.limits.tables import Attempt
from api.store.tables.jobs import WAITING, Job
from api.web.caller import AccountDependency, Caller
from api.web.dependencies import Service, ServiceDependency
from api.web.problems.documents import responses
from api.web.schemas import Listing

router = APIRouter(prefix="/v1", tags=["accounts"])


@router.get(
    "/limits", summary="Limits, and what is used", responses=responses(401, 403, 404, 409, 422, 503)
)
def list_limits(
    service: ServiceDependency,
    caller: AccountDependency,
    user: Annotated[str, Query(description="For admins: those of this user", max_length=64)] = "",
    project: Annotated[str, Query(description="Those of this project", max_length=64)] = "",
) -> Listing[LimitDocument]:
    """Those of whoever asks and of each of their projects; `PATCH` of a user or a project changes
    them, by admins of the service."""
    with service.database.reading() as session:
        return Listing(data=list(_asked(session, service, caller, user, project)))


@router.patch(
    "/projects/{project}",
    summary="Change the limits of a project",
    responses=responses(401, 403, 404, 409, 422, 503),
)
def change_project(
    service: ServiceDependency,
    caller: AccountDependency,
    project: str,
    changes: Annotated[ProjectChange, Body()],
) -> WholeProjectDocument:
    """By admins of the service. `limits` says how much of what it may have, by the names of
    `GET /v1/limits`; 0: any number; null: the default again."""
    for name in changes.limits:
        if not KINDS[name].of_projects:
            raise InvalidRequestError.at(f"/limits/{name}", "is a limit of users, not of projects")
    with service.database.writing() as session:
        row = projects.find(session, project)
        numbers.change(session, row.id, changes.limits)
        return whole_project(session, row, caller)


def own_limits(session: Session, service: Service, caller: Caller) -> Iterator[LimitDocument]:
    """Those of whoever asks, and of each project that they belong to."""
    seen = caller.viewer
    yield from limits_of(session, service, "users", seen.user_id, seen.name)
    for row in projects.listed(session, seen.projects):
        yield from limits_of(session, service, "projects", row.id, row.name)


def _asked(
    session: Session, service: Service, caller: Caller, user: str, project: str
) -> Iterator[LimitDocument]:
    seen = caller.viewer
    if user:
        if user not in (seen.name, seen.user_id) and "admin" not in caller.scopes:
            raise ForbiddenError("limits of others are for admins of the service")
        row = users.find(session, user)
        yield from limits_of(session, service, "users", row.id, row.name)
    if project:
        found = projects.lookup(session, project)
        if found is None or not seen.sees(None, found.id):
            raise NotFoundError(f"there is no project {project}")
        yield from limits_of(session, service, "projects", found.id, found.name)
    if not (user or project):
        yield from own_limits(session, service, caller)


def limits_of(
    session: Session, service: Service, side: Side, id_: str, of: str
) -> Iterator[LimitDocument]:
    """Those of a user or a project, by its id and its name."""
    said = numbers.own(session, id_)
    most = numbers.of(session, side, id_)
    days = numbers.of(session, "users", id_).get(DAYS, 30.0)
    for name, kind in KINDS.items():
        if kind.setting(side):
            yield LimitDocument(
                name=name,
                title=kind.title,
                side="user" if side == "users" else "project",
                of=of,
                most=most.get(name) or None,
                used=_used(session, service, side, id_, of, name, days, most.get(name, 0)),
                unit=kind.unit,
                within_days=days if name == "device_hours" else None,
                is_default=name not in said,
            )


def _used(
    session: Session,
    service: Service,
    side: Side,
    id_: str,
    of: str,
    name: Name,
    days: float,
    most: float,
) -> float:
    is_user = side == "users"
    jobs = Job.owner_id if is_user else Job.project_id
    match name:
        case "jobs_running":
            return full.running(session, jobs, id_).get(id_, 0)
        case "jobs_waiting":
            return full.count(session, jobs, WAITING, id_).get(id_, 0)
        case "device_hours":
            attempts = Attempt.owner_id if is_user else Attempt.project_id
            return hours.used(session, attempts, days, id_).get(id_, 0.0)
        case "stored_bytes":
            return stored.stored_bytes(session, stored.of(side, id_))
        case "uploads":
            return service.concurrency.taken("upload", of)
        case "streams":
            return service.concurrency.taken("live stream", of)
        case "requests":
            return service.part(RequestLimits).used(id_, most)
