"""Users: made, found, disabled; the first one, to whom belongs what was there before."""

from __future__ import annotations

import re

from sqlalchemy import func, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from api.errors import ConflictError, InvalidRequestError, NotFoundError
from api.store.accounts import sessions
from api.store.accounts.tables import BrowserSession, User
from api.store.database import clock
from api.store.ids import is_id, named, new_id
from api.store.visibility import OWNED

NAME = re.compile(r"[a-z0-9][a-z0-9._@\-]{0,63}")
FIRST = "admin"


def check_name(name: str) -> None:
    """Raise InvalidRequestError for what can be no name of a user or project."""
    if not NAME.fullmatch(name):
        raise InvalidRequestError.at(
            "/name",
            "is 1 to 64 small letters, digits and . _ @ -, beginning with a letter or digit",
        )
    if is_id(name):
        raise InvalidRequestError.at("/name", f"{name} has the form of an id; use another name")


def add(session: Session, name: str, *, is_admin: bool = False, subject: str | None = None) -> User:
    """A new user. Raises InvalidRequestError for what is no name, ConflictError for one that is
    taken."""
    check_name(name)
    row = User(
        id=new_id("usr"), name=name, is_admin=is_admin, subject=subject, created_at=clock(session)
    )
    session.add(row)
    try:
        session.flush()
    except IntegrityError as error:
        raise ConflictError(f"there is a user {name} already; choose another name") from error
    return row


def find(session: Session, name_or_id: str) -> User:
    """The user of that name or id, or NotFoundError."""
    found = session.scalar(select(User).where(named(User, name_or_id)))
    if found is None:
        raise NotFoundError(f"there is no user {name_or_id[:64]}")
    return found


def by_identity(session: Session, issuer: str, subject: str) -> User | None:
    """The user whom a provider knows by that subject."""
    return session.scalar(
        select(User).where(User.oidc_issuer == issuer, User.oidc_subject == subject)
    )


def link(session: Session, user: User, issuer: str, subject: str) -> None:
    """Let whom a provider knows by that subject sign in as a user, and nobody else by a provider.
    Whoever is signed in as that user has to sign in again. ConflictError where it is another's."""
    found = by_identity(session, issuer, subject)
    if found is not None and found.id == user.id:
        return
    if found is None:
        user.oidc_issuer, user.oidc_subject = issuer, subject
        sessions.end_all(session, user.id)
        try:
            session.flush()
            return
        except IntegrityError:
            raise ConflictError(f"{subject} was linked to a user at this moment") from None
    raise ConflictError(
        f"{subject} is linked to the user {found.name}; `saf users unlink {found.name}` first"
    )


def unlink(session: Session, user: User) -> None:
    """Let nobody sign in by a provider as that user, and end their sessions."""
    user.oidc_issuer = user.oidc_subject = None
    sessions.end_all(session, user.id)
    session.flush()


def everybody(session: Session) -> list[User]:
    """All users, by name."""
    return list(session.scalars(select(User).order_by(User.name)))


def exist(session: Session) -> bool:
    """Whether there is any."""
    return session.scalar(select(User.id).limit(1)) is not None


def change(
    session: Session, user: User, *, is_admin: bool | None = None, disabled: bool | None = None
) -> None:
    """Make a user an admin or none, disable or enable. ConflictError where no admin would be
    left."""
    loses = (is_admin is False or disabled is True) and user.is_admin and user.disabled_at is None
    if loses:
        others = select(User.id).where(
            User.is_admin, User.disabled_at.is_(None), User.id != user.id
        )
        if session.scalar(others.with_for_update().limit(1)) is None:
            raise ConflictError(f"{user.name} is the only admin; make another user an admin first")
    if is_admin is not None:
        user.is_admin = is_admin
    if disabled is not None:
        user.disabled_at = clock(session) if disabled else None
    session.flush()


def adopt(session: Session) -> int:
    """Give what belongs to nobody to the first admin: what was stored before there were accounts.
    The number of things."""
    first = session.scalar(
        select(User.id).where(User.is_admin).order_by(User.created_at, User.id).limit(1)
    )
    if first is None:
        return 0
    adopted = 0
    for table in OWNED:
        if session.scalar(select(table.id).where(table.owner_id.is_(None)).limit(1)) is None:
            continue
        ids = session.scalars(
            update(table)
            .where(table.owner_id.is_(None))
            .values(owner_id=first)
            .returning(table.id)
            .execution_options(synchronize_session=False)
        ).all()
        adopted += len(ids)
    return adopted


def names(session: Session, ids: set[str]) -> dict[str, str]:
    """The names of users by their ids."""
    if not ids:
        return {}
    found = session.execute(select(User.id, User.name).where(User.id.in_(ids)))
    return {row.id: row.name for row in found}


def count_sessions(session: Session) -> dict[str, int]:
    """Open browser sessions of each user, by id."""
    counted = (
        select(BrowserSession.user_id, func.count())
        .where(BrowserSession.expires_at > clock(session))
        .group_by(BrowserSession.user_id)
    )
    return {str(user): int(number) for user, number in session.execute(counted)}
