"""Spike statistics of jobs: a row for each measurement of `saf.training.evaluation.spike_stats`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from api.store.tables.results import SpikeStatistics


def append(
    session: Session,
    job_id: str,
    attempt: int,
    measurements: Iterable[tuple[int, Mapping[str, Any]]],
) -> None:
    """Store measurements of an attempt, each with its step. Steps that have a row are skipped, so
    a batch that is sent again changes nothing."""
    for step, data in measurements:
        if session.get(SpikeStatistics, (job_id, step)) is None:
            session.add(SpikeStatistics(job_id=job_id, step=step, attempt=attempt, data=dict(data)))
    session.flush()


def cut(session: Session, job_id: str, *, after_step: int) -> None:
    """Delete measurements after a step: an attempt goes on from a checkpoint made there."""
    session.execute(
        delete(SpikeStatistics).where(
            SpikeStatistics.job_id == job_id, SpikeStatistics.step > after_step
        )
    )


def read(
    session: Session, job_id: str, *, after_step: int = -1, newest: int | None = None
) -> list[SpikeStatistics]:
    """Read the measurements after a step in order; with `newest`, only the last so many."""
    query = (
        select(SpikeStatistics)
        .where(SpikeStatistics.job_id == job_id, SpikeStatistics.step > after_step)
        .order_by(SpikeStatistics.step.desc())
        .limit(newest)
    )
    return list(session.scalars(query))[::-1]
