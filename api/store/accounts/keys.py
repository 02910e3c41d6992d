"""Keys of programs: made, shown once, found by their hash, revoked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from api.errors import ConflictError, InvalidRequestError, NotFoundError
from api.store.accounts import secrets
from api.store.accounts.tables import ApiKey, User
from api.store.database import clock
from api.store.ids import new_id

SCOPES = ("read", "write", "admin", "metrics")
"""What a key opens: reading; submitting, steering and deleting; users and settings of all, for
admins; the numbers for Prometheus alone, for admins."""
USED_SECONDS = 60.0  # `last_used_at` is not written more often
DAY = 86_400.0
MOST_DAYS = 3650
LOST_SECONDS = 600.0  # in which who has made a key and got no answer asks again


def add(
    session: Session,
    user: User,
    name: str,
    *,
    scopes: Sequence[str] = ("read", "write", "admin"),
    days: float | None = None,
) -> tuple[ApiKey, str]:
    """A new key of a user, and the secret, which is nowhere else. Raises InvalidRequestError."""
    unknown = [scope for scope in scopes if scope not in SCOPES]
    if unknown or not scopes:
        detail = f"are one or more of {', '.join(SCOPES)}"
        raise InvalidRequestError.at("/scopes", f"{detail}, not {', '.join(unknown) or 'none'}")
    secret = secrets.new_key()
    at = clock(session)
    row = ApiKey(
        id=new_id("key"),
        user_id=user.id,
        name=name,
        prefix=secret[: secrets.SHOWN],
        sha256=secrets.digest(secret),
        scopes=[scope for scope in SCOPES if scope in scopes],
        created_at=at,
        expires_at=None if days is None else at + days * DAY,
    )
    session.add(row)
    session.flush()
    return row, secret


def find(session: Session, key_id: str) -> ApiKey:
    """The key of that id, or NotFoundError."""
    found = session.get(ApiKey, key_id)
    if found is None:
        raise NotFoundError(f"there is no key {key_id[:64]}")
    return found


def by_secret(session: Session, secret: str) -> ApiKey | None:
    """The key that this text is, whatever has become of it."""
    if not secrets.KEY.fullmatch(secret):
        return None
    return session.scalar(select(ApiKey).where(ApiKey.sha256 == secrets.digest(secret)))


def why_closed(key: ApiKey, at: float) -> str:
    """Why a key opens nothing; empty where it does."""
    if key.revoked_at is not None:
        return "was revoked"
    if key.expires_at is not None and key.expires_at <= at:
        return "has expired"
    return ""


def of(session: Session, user_id: str | None = None) -> list[ApiKey]:
    """The keys of a user, or of all, the newest first."""
    query = select(ApiKey).order_by(ApiKey.id.desc())
    if user_id is not None:
        query = query.where(ApiKey.user_id == user_id)
    return list(session.scalars(query))


def revoke(session: Session, key: ApiKey) -> None:
    """Close a key for good, and the browser sessions that it opened with it."""
    if key.revoked_at is None:
        key.revoked_at = clock(session)
        session.flush()


def check_unused(session: Session, key: ApiKey) -> None:
    """Raise ConflictError unless nobody can be using a key, since the answer that had it was lost:
    it was made just now, and has opened nothing yet."""
    is_new = clock(session) - key.created_at < LOST_SECONDS
    if is_new and key.last_used_at is None and key.revoked_at is None:
        return
    raise ConflictError(
        f"this request has made the key {key.id} ({key.prefix}…) before, which is not shown again; "
        f"make another one with a new Idempotency-Key, and revoke {key.id} if it is lost"
    )


def used(session: Session, times: Mapping[str, float]) -> None:
    """Write down when keys were last used, by their ids, unless a later use is known."""
    for key_id, at in sorted(times.items()):  # in one order: of two processes neither holds up both
        session.execute(
            update(ApiKey)
            .where(ApiKey.id == key_id, func.coalesce(ApiKey.last_used_at, 0.0) < at)
            .values(last_used_at=at)
            .execution_options(synchronize_session=False)
        )
