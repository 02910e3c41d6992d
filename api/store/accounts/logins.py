"""Sign-ins that wait at a provider: bound to a browser, used once, gone after ten minutes."""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import ColumnElement, delete, select
from sqlalchemy.orm import Session

from api.store.accounts import secrets
from api.store.accounts.tables import PendingLogin
from api.store.database import clock

PENDING_SECONDS = 600.0
MOST_OF_ADDRESS, MOST = 100, 10_000
"""Of them wait, of one address and of all; those that began first go."""


class Begun(NamedTuple):
    """What a browser takes to the provider, and what the code is asked with."""

    state: str
    nonce: str
    verifier: str


def begin(session: Session, *, browser: str, redirect_uri: str, wanted: str, address: str) -> Begun:
    """A new one."""
    at = clock(session)
    begun = Begun(secrets.new_token(), secrets.new_token(), secrets.new_token())
    session.execute(delete(PendingLogin).where(PendingLogin.expires_at <= at))
    _make_room(session, MOST_OF_ADDRESS - 1, PendingLogin.address == address[:64])
    _make_room(session, MOST - 1)
    session.add(
        PendingLogin(
            state_sha256=secrets.digest(begun.state),
            browser_sha256=secrets.digest(browser),
            nonce=begun.nonce,
            verifier=begun.verifier,
            redirect_uri=redirect_uri,
            wanted=wanted,
            address=address[:64],
            expires_at=at + PENDING_SECONDS,
        )
    )
    session.flush()
    return begun


def take(session: Session, *, state: str, browser: str) -> PendingLogin | None:
    """The one that this browser began with that state; there is none a second time."""
    found = session.scalars(
        delete(PendingLogin)
        .where(
            PendingLogin.state_sha256 == secrets.digest(state),
            PendingLogin.browser_sha256 == secrets.digest(browser),
        )
        .returning(PendingLogin)
        .execution_options(synchronize_session=False)
    ).one_or_none()
    return None if found is None or found.expires_at <= clock(session) else found


def _make_room(session: Session, most: int, *of: ColumnElement[bool]) -> None:
    """Let no more than so many wait."""
    kept = select(PendingLogin.state_sha256).where(*of)
    beyond = kept.order_by(PendingLogin.expires_at.desc()).offset(most)
    gone = session.scalars(beyond.limit(MOST)).all()
    if gone:
        session.execute(delete(PendingLogin).where(PendingLogin.state_sha256.in_(gone)))
