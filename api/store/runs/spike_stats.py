"""Looks into networks in training: a row each, of `saf.training.evaluation.spike_stats`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from api.store.tables import Vitals


def append(
    session: Session, job_id: str, attempt: int, looks: Iterable[tuple[int, Mapping[str, Any]]]
) -> None:
    """Store looks of an attempt, each with its step. A step that is there already is skipped, so
    a batch that is sent again changes nothing."""
    for step, data in looks:
        if session.get(Vitals, (job_id, step)) is None:
            session.add(Vitals(job_id=job_id, step=step, attempt=attempt, data=dict(data)))
    session.flush()


def cut(session: Session, job_id: str, *, after_step: int) -> None:
    """Drop the looks after a step: an attempt goes on from a checkpoint made there."""
    session.execute(delete(Vitals).where(Vitals.job_id == job_id, Vitals.step > after_step))


def read(
    session: Session, job_id: str, *, after_step: int = -1, newest: int | None = None
) -> list[Vitals]:
    """The looks after a step, in order; with `newest`, only so many, the last ones."""
    query = (
        select(Vitals)
        .where(Vitals.job_id == job_id, Vitals.step > after_step)
        .order_by(Vitals.step.desc())
        .limit(newest)
    )
    return list(session.scalars(query))[::-1]
