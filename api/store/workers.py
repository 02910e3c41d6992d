"""Rows of workers: which are alive, and what they offer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, and_, or_, select, update
from sqlalchemy.orm import Session

from api.settings import Settings
from api.store.database import clock, now
from api.store.tables.workers import Worker

HEARTBEATS = 3  # missed by a worker that is taken for dead


class Drain(StrEnum):
    """Ways in which a worker that takes no more jobs ends."""

    hand_back = "hand_back"
    """its trainings write a checkpoint and go back into the queue"""
    finish = "finish"
    """it waits until they have ended"""


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
    """Insert the row of a worker; for an id that exists only the times change."""
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


def seen(
    session: Session, worker_id: str, *, busy: int, measures: Mapping[str, Any] | None = None
) -> bool:
    """Heartbeat: the worker lives and `busy` of its slots train; False when its row is gone."""
    touched = session.execute(
        update(Worker)
        .where(Worker.id == worker_id)
        .values(seen_at=now(), busy=busy, measures=dict(measures) if measures else None)
        .returning(Worker.id)
    )
    return touched.one_or_none() is not None


def drain(
    session: Session, how: Drain, *, name: str | None = None, host: str | None = None
) -> list[Worker]:
    """Ask workers to end, and return them: that of the id or those of the host `name`, or those of
    `host`, or all.

    A worker that was asked to hand back is not asked to finish instead.
    """
    wanted: list[ColumnElement[bool]] = [Worker.stopped_at.is_(None)]
    if name is not None:
        wanted.append(or_(Worker.id == name, Worker.host == name))
    if host is not None:
        wanted.append(Worker.host == host)
    asked = session.scalars(select(Worker).where(*wanted).with_for_update()).all()
    for worker in asked:
        if worker.draining != Drain.hand_back:
            worker.draining = how
    session.flush()
    return list(asked)


def draining(session: Session, worker_id: str) -> Drain | None:
    """How the worker was asked to end; None if it was not."""
    how = session.scalar(select(Worker.draining).where(Worker.id == worker_id))
    return Drain(how) if how else None


def stopped(session: Session, worker_id: str) -> None:
    """Note that the worker ended properly; one that was killed never says so."""
    session.execute(
        update(Worker).where(Worker.id == worker_id).values(seen_at=now(), stopped_at=now(), busy=0)
    )


def is_alive(settings: Settings) -> ColumnElement[bool]:
    """The condition on a worker's row."""
    timeout = HEARTBEATS * settings.heartbeat_seconds
    return and_(Worker.stopped_at.is_(None), Worker.seen_at > now() - timeout)
