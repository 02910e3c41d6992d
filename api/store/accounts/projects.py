"""Projects, and who belongs to each as what."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from sqlalchemy import delete, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from api.errors import ConflictError, NotFoundError
from api.store.accounts.tables import Membership, Project, User
from api.store.accounts.users import check_name
from api.store.database import clock
from api.store.ids import named, new_id
from api.store.viewer import CREATING, Role
from api.store.visibility import EVERYTHING, OWNED


def add(session: Session, name: str, *, admin: User | None) -> Project:
    """A new project with its first admin. Raises InvalidRequestError and ConflictError."""
    check_name(name)
    row = Project(id=new_id("prj"), name=name, created_at=clock(session))
    session.add(row)
    try:
        session.flush()
    except IntegrityError as error:
        raise ConflictError(f"there is a project {name} already; choose another name") from error
    if admin is not None:
        put(session, row, admin, "admin")
    return row


def lookup(session: Session, name_or_id: str) -> Project | None:
    """The project of that name or id."""
    return session.scalar(select(Project).where(named(Project, name_or_id)))


def find(session: Session, name_or_id: str) -> Project:
    """The same, or NotFoundError."""
    found = lookup(session, name_or_id)
    if found is None:
        raise NotFoundError(f"there is no project {name_or_id[:64]}")
    return found


def roles(session: Session, user_id: str) -> dict[str, Role]:
    """The projects of a user, by id, and as what they are there."""
    rows = session.execute(
        select(Membership.project_id, Membership.role).where(Membership.user_id == user_id)
    )
    return {row.project_id: cast(Role, row.role) for row in rows}


def creatable(session: Session, roles: Mapping[str, Role] | None) -> tuple[str, ...]:
    """Names of the projects that somebody with those roles adds to, all where `roles` is None."""
    adds = None if roles is None else {id_: role for id_, role in roles.items() if role in CREATING}
    if adds is not None and not adds:
        return ()
    return tuple(row.name for row in listed(session, adds))


def listed(session: Session, ids: Mapping[str, Role] | None) -> list[Project]:
    """Those projects, or all of them where `ids` is None, by name."""
    query = select(Project).order_by(Project.name)
    if ids is not None:
        query = query.where(Project.id.in_(sorted(ids)))
    return list(session.scalars(query))


def members(session: Session, project: Project) -> list[tuple[User, Role]]:
    """Who belongs to a project, by name."""
    rows = session.execute(
        select(User, Membership.role)
        .join(Membership, Membership.user_id == User.id)
        .where(Membership.project_id == project.id)
        .order_by(User.name)
    )
    return [(row.User, cast(Role, row.role)) for row in rows]


def put(session: Session, project: Project, user: User, role: Role) -> None:
    """Let a user belong to a project as that. ConflictError where no admin would be left;
    IntegrityError where the same, or the deletion of the project, came at the same moment."""
    found = session.get(Membership, (project.id, user.id), with_for_update=True)
    if found is None:
        found = Membership(
            project_id=project.id, user_id=user.id, role=role, created_at=clock(session)
        )
        session.add(found)
    elif found.role == "admin" and role != "admin":
        _check_admin(session, project, user)
    found.role = role
    session.flush()


def remove(session: Session, project: Project, user: User) -> None:
    """Let a user belong to a project no more; what is theirs stays there. NotFoundError,
    ConflictError."""
    found = session.get(Membership, (project.id, user.id), with_for_update=True)
    if found is None:
        raise NotFoundError(f"{user.name} does not belong to the project {project.name}")
    if found.role == "admin":
        _check_admin(session, project, user)
    session.delete(found)
    session.flush()


def drop(session: Session, project: Project) -> None:
    """Delete a project that nothing belongs to; ConflictError else. NotFoundError where somebody
    else has just deleted it."""
    if session.get(Project, project.id, with_for_update=True) is None:
        raise NotFoundError(f"there is no project {project.name}")
    for table in OWNED:
        query = select(table.id).where(table.project_id == project.id).limit(1)
        held = session.scalar(query.execution_options(**EVERYTHING))
        if held is not None:
            raise ConflictError(
                f"the project {project.name} has things, {held} among them; delete them first"
            )
    session.execute(delete(Membership).where(Membership.project_id == project.id))
    session.delete(project)
    session.flush()


def names(session: Session, ids: set[str]) -> dict[str, str]:
    """The names of projects by their ids."""
    if not ids:
        return {}
    found = session.execute(select(Project.id, Project.name).where(Project.id.in_(ids)))
    return {row.id: row.name for row in found}


def _check_admin(session: Session, project: Project, user: User) -> None:
    others = select(Membership.user_id).where(
        Membership.project_id == project.id,
        Membership.role == "admin",
        Membership.user_id != user.id,
    )
    if session.scalar(others.with_for_update().limit(1)) is None:
        raise ConflictError(
            f"{user.name} is the only admin of {project.name}; make another member an admin first"
        )
