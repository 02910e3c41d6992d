"""The states from which a job can go on. A worker writes them, under the fence of its claim.

A job that retries another begins with those of the other, as of attempt 0; the files are shared.
What a job starts from by its specification is kept beside them, as of attempt −1: the end of the
job that it continues, or, as of step 0, the state of the job whose weights it takes (`init`).
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from api.store.database import clock
from api.store.jobs import leases, progress
from api.store.tables.results import Checkpoint

KEPT = 2
INHERITED = 0  # in place of an attempt
ORIGIN = -1  # in place of an attempt: what the job starts from


def add(session: Session, claim: leases.Claim, *, step: int, sha256: str) -> list[str]:
    """A checkpoint is stored; the last two are kept. Returns the files that may go."""
    progress.secured(session, claim)
    session.merge(
        Checkpoint(
            job_id=claim.job_id,
            step=step,
            attempt=claim.attempt,
            sha256=sha256,
            created_at=clock(session),
        )
    )
    session.flush()
    old = session.scalars(
        select(Checkpoint)
        .where(Checkpoint.job_id == claim.job_id, Checkpoint.attempt != ORIGIN)
        .order_by(Checkpoint.step.desc())
        .offset(KEPT)
    ).all()
    for checkpoint in old:
        session.delete(checkpoint)
    session.flush()
    return [checkpoint.sha256 for checkpoint in old]


def newest(session: Session, job_id: str) -> Checkpoint | None:
    """The last one of a job's own training, or of the one that it goes on from."""
    query = select(Checkpoint).where(Checkpoint.job_id == job_id, Checkpoint.step > 0)
    return session.scalar(query.order_by(Checkpoint.step.desc()).limit(1))


def newest_steps(session: Session, job_ids: Sequence[str]) -> dict[str, int]:
    """The step of the last one of each of these jobs that has one."""
    query = (
        select(Checkpoint.job_id, func.max(Checkpoint.step).label("step"))
        .where(Checkpoint.job_id.in_(job_ids), Checkpoint.step > 0)
        .group_by(Checkpoint.job_id)
    )
    rows = session.execute(query)
    return {row.job_id: row.step for row in rows}


def locked(session: Session, job_id: str) -> list[Checkpoint]:
    """Those of a job, the newest first, kept from being removed until the transaction ends."""
    rows = session.scalars(
        select(Checkpoint)
        .where(Checkpoint.job_id == job_id)
        .order_by(Checkpoint.step.desc())
        .with_for_update()
    )
    return list(rows)


def inherit(session: Session, job_id: str, taken: Sequence[Checkpoint]) -> None:
    """Let a new job begin from the checkpoints of another one, and from what that began from."""
    session.add_all(
        Checkpoint(
            job_id=job_id,
            step=checkpoint.step,
            attempt=ORIGIN if checkpoint.attempt == ORIGIN else INHERITED,
            sha256=checkpoint.sha256,
            created_at=checkpoint.created_at,
        )
        for checkpoint in taken
    )
    session.flush()


def begin_from(session: Session, job_id: str, *, sha256: str, step: int) -> None:
    """Keep a file as what a new job starts from; of step 0, as the weights alone.

    IntegrityError where the file was removed at the same moment.
    """
    at = clock(session)
    session.add(Checkpoint(job_id=job_id, step=step, attempt=ORIGIN, sha256=sha256, created_at=at))
    session.flush()


def forget(session: Session, claim: leases.Claim, *, after_step: int) -> list[str]:
    """Drop the checkpoints after a step, which an attempt could not use. Returns their files."""
    leases.fence(session, claim)
    dropped = session.scalars(
        select(Checkpoint).where(
            Checkpoint.job_id == claim.job_id,
            Checkpoint.step > after_step,
            Checkpoint.attempt != ORIGIN,
        )
    ).all()
    for checkpoint in dropped:
        session.delete(checkpoint)
    session.flush()
    return [checkpoint.sha256 for checkpoint in dropped]
