"""Browser sessions: opened by a key or a provider, found by the hash of their cookie, ended."""

from __future__ import annotations

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from api.store.accounts import secrets
from api.store.accounts.tables import BrowserSession
from api.store.database import clock
from api.store.ids import new_id


def begin(
    session: Session,
    user_id: str,
    *,
    key_id: str | None,
    hours: float,
    browser: str,
    address: str,
) -> tuple[BrowserSession, str]:
    """A new session, and what its cookie holds. Those that have run out go."""
    at = clock(session)
    session.execute(delete(BrowserSession).where(BrowserSession.expires_at < at))
    cookie = secrets.new_token()
    row = BrowserSession(
        id=new_id("ses"),
        user_id=user_id,
        key_id=key_id,
        sha256=secrets.digest(cookie),
        csrf=secrets.new_token(),
        browser=browser[:200],
        address=address[:64],
        created_at=at,
        expires_at=at + 3600.0 * hours,
    )
    session.add(row)
    session.flush()
    return row, cookie


def by_cookie(session: Session, cookie: str) -> BrowserSession | None:
    """The session of that cookie, unless it has run out."""
    return session.scalar(
        select(BrowserSession).where(
            BrowserSession.sha256 == secrets.digest(cookie),
            BrowserSession.expires_at > clock(session),
        )
    )


def of(session: Session, user_id: str) -> list[BrowserSession]:
    """The open sessions of a user, the newest first."""
    found = select(BrowserSession).where(
        BrowserSession.user_id == user_id, BrowserSession.expires_at > clock(session)
    )
    return list(session.scalars(found.order_by(BrowserSession.id.desc())))


def end(session: Session, session_id: str) -> None:
    """End one."""
    session.execute(delete(BrowserSession).where(BrowserSession.id == session_id))


def end_all(session: Session, user_id: str) -> int:
    """End all of a user; how many there were."""
    ended = session.scalars(
        delete(BrowserSession)
        .where(BrowserSession.user_id == user_id)
        .returning(BrowserSession.id)
        .execution_options(synchronize_session=False)
    )
    return len(ended.all())
