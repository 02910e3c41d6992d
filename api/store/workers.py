"""The rows that say which workers are alive and what they offer."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import update
from sqlalchemy.orm import Session

from api.store.database import clock, now
from api.store.tables import Worker


def register(
    session: Session,
    *,
    worker_id: str,
    host: str,
    pid: int,
    version: str,
    devices: Sequence[str],
    slots: int,
) -> None:
    """Say that a worker is there; again for the same id changes nothing but the times."""
    at = clock(session)
    session.merge(
        Worker(
            id=worker_id,
            host=host,
            pid=pid,
            version=version,
            devices=list(devices),
            slots=slots,
            busy=0,
            started_at=at,
            seen_at=at,
            stopped_at=None,
        )
    )
    session.flush()


def seen(session: Session, worker_id: str, *, busy: int) -> bool:
    """The worker lives and `busy` of its slots train; False when its row is gone."""
    touched = session.execute(
        update(Worker)
        .where(Worker.id == worker_id)
        .values(seen_at=now(), busy=busy)
        .returning(Worker.id)
    )
    return touched.one_or_none() is not None


def stopped(session: Session, worker_id: str) -> None:
    """The worker ended as it should; a worker that was killed never says so."""
    session.execute(
        update(Worker).where(Worker.id == worker_id).values(seen_at=now(), stopped_at=now(), busy=0)
    )
