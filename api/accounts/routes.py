"""Who asks; users, keys, projects and their members; ending browser sessions."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Body, Query, Response
from sqlalchemy.orm import Session

from api.accounts.oidc.people import link
from api.accounts.queries import keys_of, make_key, me, own_projects, whole_project
from api.accounts.schemas import (
    AuditDocument,
    KeyDocument,
    MeDocument,
    MemberRole,
    NewKey,
    NewKeyDocument,
    NewProject,
    NewUser,
    ProjectDocument,
    UserChange,
    UserDocument,
    WholeProjectDocument,
    audit_document,
    user_document,
)
from api.errors import ForbiddenError
from api.store.accounts import audit, keys, projects, sessions, users
from api.store.accounts.tables import ApiKey, Project, User
from api.store.limits import numbers
from api.web.asgi import prefix
from api.web.caller import AccountDependency, CallerDependency
from api.web.dependencies import ServiceDependency
from api.web.idempotency import IdempotencyKey, forget, made_before, remember, written
from api.web.problems.documents import responses
from api.web.schemas import Listing

router = APIRouter(prefix="/v1", tags=["accounts"])
SAME = {"description": "The same request came before (Idempotency-Key)"}


@router.get("/me", summary="Who asks", responses=responses(401, 503))
def get_me(service: ServiceDependency, caller: CallerDependency) -> MeDocument:
    """The account that the request is sent by, its scopes and projects."""
    with service.database.reading() as session:
        return me(session, service.settings, caller)


@router.get("/users", summary="List users", responses=responses(401, 403, 409, 503))
def list_users(service: ServiceDependency, caller: AccountDependency) -> Listing[UserDocument]:
    """For admins: all of them, by name."""
    with service.database.reading() as session:
        found = [user_document(row) for row in users.everybody(session)]
    return Listing(
        data=found,
        first_id=found[0].id if found else None,
        last_id=found[-1].id if found else None,
    )


@router.post(
    "/users",
    status_code=201,
    summary="Make a user",
    responses={200: SAME, **responses(401, 403, 409, 422, 503)},
)
def add_user(
    service: ServiceDependency,
    caller: AccountDependency,
    response: Response,
    user: Annotated[NewUser, Body()],
    idempotency_key: IdempotencyKey = None,
) -> UserDocument:
    """For admins. The user has no key yet: `POST /v1/keys` with their name makes one. One with a
    `subject` signs in by the provider."""
    request = ("users", user.name, user.admin, *([user.subject] if user.subject else []))

    def make(session: Session) -> tuple[UserDocument, bool]:
        earlier = made_before(session, User, idempotency_key, *request)
        if earlier is not None:
            return user_document(earlier), False
        row = users.add(session, user.name, is_admin=user.admin)
        if user.subject is not None:
            link(session, service.settings, row, user.subject)
        remember(session, idempotency_key, row.id, *request)
        return user_document(row), True

    made, is_new = written(service, make)
    response.headers["Location"] = prefix.at(f"/v1/users/{made.id}")
    response.status_code = 201 if is_new else 200
    return made


@router.patch(
    "/users/{user}",
    summary="Change a user",
    responses=responses(401, 403, 404, 409, 422, 503),
)
def change_user(
    service: ServiceDependency,
    caller: AccountDependency,
    user: str,
    changes: Annotated[UserChange, Body()],
) -> UserDocument:
    """For admins. Of one who is disabled neither keys nor browser sessions open anything; what is
    theirs stays."""
    with service.database.writing() as session:
        row = users.find(session, user)
        users.change(session, row, is_admin=changes.admin, disabled=changes.disabled)
        if changes.subject is not None:
            link(session, service.settings, row, changes.subject)
        if changes.disabled:
            sessions.end_all(session, row.id)
        numbers.change(session, row.id, changes.limits)
        return user_document(row)


@router.get("/keys", summary="List keys", responses=responses(401, 403, 404, 409, 503))
def list_keys(
    service: ServiceDependency,
    caller: AccountDependency,
    user: Annotated[str, Query(description="For admins: those of this user", max_length=64)] = "",
) -> Listing[KeyDocument]:
    """Those of whoever asks, the newest first, revoked ones too."""
    with service.database.reading() as session:
        if user and user != caller.name and "admin" not in caller.scopes:
            raise ForbiddenError("keys of others are for admins of the service")
        found = keys_of(session, users.find(session, user or caller.viewer.user_id))
    return Listing(
        data=found,
        first_id=found[0].id if found else None,
        last_id=found[-1].id if found else None,
    )


@router.post(
    "/keys",
    status_code=201,
    summary="Make a key",
    responses={200: SAME, **responses(401, 403, 404, 409, 422, 503)},
)
def add_key(
    service: ServiceDependency,
    caller: AccountDependency,
    response: Response,
    key: Annotated[NewKey, Body()],
    idempotency_key: IdempotencyKey = None,
) -> NewKeyDocument:
    """`secret` is the key; it is in this answer and nowhere else. The same request again
    (`Idempotency-Key`), as where the answer was lost, makes another key in place of the first,
    `replaces`, for ten minutes while that was never used; else 409, and nothing is revoked."""
    response.headers["Cache-Control"] = "no-store"
    request = ("keys", key.model_dump(mode="json"))

    def make(session: Session) -> tuple[NewKeyDocument, bool]:
        earlier = made_before(session, ApiKey, idempotency_key, *request)
        if earlier is not None:
            keys.check_unused(session, earlier)
            keys.revoke(session, earlier)
            forget(session, idempotency_key)
        made = make_key(session, caller, key)
        remember(session, idempotency_key, made.id, *request)
        if earlier is not None:
            made.replaces = earlier.id
        return made, earlier is None

    made, is_new = written(service, make)
    response.headers["Location"] = prefix.at(f"/v1/keys/{made.id}")
    response.status_code = 201 if is_new else 200
    return made


@router.delete(
    "/keys/{key}",
    status_code=204,
    summary="Revoke a key",
    responses=responses(401, 403, 404, 409, 503),
)
def revoke_key(service: ServiceDependency, caller: AccountDependency, key: str) -> None:
    """For good. Browsers that signed in with it are signed out."""
    with service.database.writing() as session:
        keys.revoke(session, keys.find(session, key))


@router.delete(
    "/sessions",
    status_code=204,
    summary="End all browser sessions",
    responses=responses(401, 403, 409, 503),
)
def end_sessions(service: ServiceDependency, caller: AccountDependency) -> None:
    """Of whoever asks: every browser has to sign in again."""
    with service.database.writing() as session:
        sessions.end_all(session, caller.viewer.user_id)


@router.get("/audit", summary="Who changed what", responses=responses(401, 403, 409, 422, 503))
def list_audit(
    service: ServiceDependency,
    caller: AccountDependency,
    thing: Annotated[str, Query(description="Id of a job, data set …", max_length=200)] = "",
    user: Annotated[str, Query(description="Name of a user", max_length=64)] = "",
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    after: Annotated[
        int, Query(ge=0, lt=2**63, description="`last_id` of the page before; 0: the newest")
    ] = 0,
) -> Listing[AuditDocument]:
    """For admins, the newest first: a line for each request that was to change something, and each
    signing in. Lines are only ever added; `saf audit verify` checks their chain of hashes."""
    with service.database.reading() as session:
        found = audit.newest(session, limit=limit + 1, before=after, thing_id=thing, user=user)
    shown = [audit_document(row) for row in found[:limit]]
    return Listing(
        data=shown,
        first_id=str(shown[0].number) if shown else None,
        last_id=str(shown[-1].number) if shown else None,
        has_more=len(found) > limit,
    )


@router.get("/projects", summary="List projects", responses=responses(401, 409, 503))
def list_projects(
    service: ServiceDependency, caller: AccountDependency
) -> Listing[ProjectDocument]:
    """Those that whoever asks belongs to, by name; for admins of the service all."""
    with service.database.reading() as session:
        found = own_projects(session, caller)
    return Listing(
        data=found,
        first_id=found[0].id if found else None,
        last_id=found[-1].id if found else None,
    )


@router.post(
    "/projects",
    status_code=201,
    summary="Make a project",
    responses={200: SAME, **responses(401, 403, 409, 422, 503)},
)
def add_project(
    service: ServiceDependency,
    caller: AccountDependency,
    response: Response,
    project: Annotated[NewProject, Body()],
    idempotency_key: IdempotencyKey = None,
) -> WholeProjectDocument:
    """Whoever makes it is its first admin."""
    request = ("projects", project.name)
    maker = caller.viewer.user_id

    def make(session: Session) -> tuple[WholeProjectDocument, bool]:
        earlier = made_before(session, Project, idempotency_key, *request)
        if earlier is not None and earlier.id in projects.roles(session, maker):
            return whole_project(session, earlier, caller), False
        # Whoever left it since reads no more of it than that the name is taken.
        row = projects.add(session, project.name, admin=users.find(session, maker))
        remember(session, idempotency_key, row.id, *request)
        return whole_project(session, row, caller), True

    made, is_new = written(service, make)
    response.headers["Location"] = made.url
    response.status_code = 201 if is_new else 200
    return made


@router.get(
    "/projects/{project}", summary="Read a project", responses=responses(401, 404, 409, 503)
)
def get_project(
    service: ServiceDependency, caller: AccountDependency, project: str
) -> WholeProjectDocument:
    """By id or name: who belongs to it, and as what."""
    with service.database.reading() as session:
        return whole_project(session, projects.find(session, project), caller)


@router.delete(
    "/projects/{project}",
    status_code=204,
    summary="Delete an empty project",
    responses=responses(401, 403, 404, 409, 503),
)
def delete_project(service: ServiceDependency, caller: AccountDependency, project: str) -> None:
    """By its admins. 409 while jobs, sweeps or data sets belong to it."""
    with service.database.writing() as session:
        projects.drop(session, projects.find(session, project))


@router.put(
    "/projects/{project}/members/{user}",
    summary="Add a member, or change their role",
    responses=responses(401, 403, 404, 409, 422, 503),
)
def put_member(
    service: ServiceDependency,
    caller: AccountDependency,
    project: str,
    user: str,
    member: Annotated[MemberRole, Body()],
) -> WholeProjectDocument:
    """By admins of the project. A `viewer` sees all of it; a `member` adds to it, and changes what
    is their own; an `admin` changes all of it and who belongs to it."""

    def put(session: Session) -> WholeProjectDocument:
        row = projects.find(session, project)
        projects.put(session, row, users.find(session, user), member.role)
        return whole_project(session, row, caller)

    return written(service, put)


@router.delete(
    "/projects/{project}/members/{user}",
    status_code=204,
    summary="Remove a member",
    responses=responses(401, 403, 404, 409, 503),
)
def remove_member(
    service: ServiceDependency, caller: AccountDependency, project: str, user: str
) -> None:
    """By admins of the project. What is theirs stays in it."""
    with service.database.writing() as session:
        projects.remove(session, projects.find(session, project), users.find(session, user))
