"""What an attempt reports of its job on the way: how far it is, and what it has secured.

Nothing here writes a status: that is `api.store.jobs.lifecycle`. All of it raises `Fenced` when a
newer attempt of the job exists.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy.orm import Session

from api.store.jobs import events, leases
from api.store.jobs.leases import Claim, Fenced
from api.store.tables.jobs import Job


def trained(
    session: Session,
    claim: Claim,
    *,
    step: int,
    epoch: float,
    latest: Mapping[str, float | None],
    best_accuracy: float | None = None,
) -> None:
    """How far the training is, and the newest values of its metrics; `best_accuracy` is that of its
    best epoch, None where there is no newer one."""
    job = session.execute(
        leases.fenced(claim)
        .values(step=step, epoch=epoch, version=Job.version + 1)
        .returning(Job.latest)
    ).one_or_none()
    if job is None:
        raise Fenced
    known = {} if best_accuracy is None else {"best_accuracy": best_accuracy}
    session.execute(leases.fenced(claim).values(latest={**job.latest, **latest}, **known))


def checked(session: Session, claim: Claim, *, done: int, total: int) -> None:
    """How many samples the check of the LIF network has done, and of how many."""
    leases.fence(session, claim)
    session.execute(
        leases.fenced(claim).values(checked=done, to_check=total, version=Job.version + 1)
    )


def secured(session: Session, claim: Claim) -> None:
    """A checkpoint is stored: whatever happens now, the job does not fall back behind it."""
    leases.fence(session, claim)
    session.execute(leases.fenced(claim).values(losses=0))


def noted(session: Session, claim: Claim, type_: str, **data: Any) -> None:
    """Add a line to the timeline that changes no status."""
    leases.fence(session, claim)
    events.add(session, claim.job_id, type_, **data)
