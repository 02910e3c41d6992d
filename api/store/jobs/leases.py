"""The claim of a worker to a job, and its lease.

A claim has the number of its attempt, the fencing token. Its holder writes through `fence` or
`fenced`, which raise `Fenced` when a newer attempt exists, so that a worker whose lease ran out
unnoticed can change nothing. No status is written here: that is `api.store.jobs.lifecycle`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from api.store.database import now
from api.store.jobs import retry_delay
from api.store.tables.jobs import ACTIVE, WAITING, Job, Status


class Fenced(Exception):  # noqa: N818  (a signal, not an error)
    """A newer attempt of the job exists, or the job has ended: stop, and write nothing."""


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A job that this worker may run until its lease ends."""

    job_id: str
    attempt: int
    specification: dict[str, Any]
    """As it was sent, except for the number of micro-batches once memory ran out."""
    dataset_id: str | None
    memory_bytes: int = 0
    """The forecast for the job as it was sent."""
    losses: int = 0
    """Attempts that were lost since the last checkpoint."""
    origin: dict[str, Any] = field(default_factory=dict)
    """Ids of the request that the job came with, such as `request_id`."""


def renew(session: Session, claim: Claim, *, lease_seconds: float) -> Status:
    """Heartbeat: renew the lease. Returns the request of people, if any (`cancelling`,
    `pausing`)."""
    status = session.scalar(
        fenced(claim)
        .values(lease_until=now() + lease_seconds, heartbeat_at=now())
        .returning(Job.status)
    )
    if status is None:
        raise Fenced
    return Status(status)


def asked(session: Session, claim: Claim) -> Status:
    """The request of people, by the job's status, without writing."""
    status = session.scalar(
        select(Job.status).where(
            Job.id == claim.job_id, Job.attempt == claim.attempt, Job.status.in_(ACTIVE)
        )
    )
    if status is None:
        raise Fenced
    return Status(status)


def fence(session: Session, claim: Claim) -> None:
    """Lock the job's row and raise its version; a worker's transaction begins with it."""
    touched = session.execute(fenced(claim).values(version=Job.version + 1).returning(Job.id))
    if touched.one_or_none() is None:
        raise Fenced


def correct_times(session: Session, *, lease_seconds: float) -> None:
    """Shorten leases and waits that end later than any can: the clock has been put back since."""
    for column, statuses, most in (
        (Job.lease_until, ACTIVE, lease_seconds),
        (Job.retry_at, WAITING, retry_delay.LONGEST_WAIT),
    ):
        session.execute(
            update(Job)
            .where(Job.status.in_(statuses), column > now() + most)
            .values({column: now() + most})
            .execution_options(synchronize_session=False)
        )


def fenced(claim: Claim) -> Any:
    """An UPDATE of the job that matches no row once a newer attempt exists."""
    return (
        update(Job)
        .where(Job.id == claim.job_id, Job.attempt == claim.attempt, Job.status.in_(ACTIVE))
        .execution_options(synchronize_session=False)
    )
