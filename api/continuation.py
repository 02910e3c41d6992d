"""Where a job that retries another one begins: at its last checkpoint, or anew."""

from __future__ import annotations

from sqlalchemy.orm import Session

from api.store import checkpoints, lifecycle
from api.store.tables import Job, Status

STOPPED_FROM_OUTSIDE = ("worker_lost", "time_limit", "out_of_memory", "stalled", "internal")
"""Errors that are not in the state of the training, so that it may go on from there."""


def continue_job(session: Session, job: Job, old: Job, *, from_start: bool) -> None:
    """Store `job`, a new one with the specification of `old`, and say where it begins.

    The files of the checkpoints are shared: deleting the old job takes nothing from the new one.
    """
    why = _why_anew(old, from_start)
    taken = [] if why else checkpoints.locked(session, old.id)
    if not taken:
        why = why or "it left no checkpoint"
        lifecycle.submit(session, job, text=f"begins anew, not where {old.id} ended: {why}")
        return
    job.step = job.started_step = job.inherited_step = taken[0].step
    job.steps_total = old.steps_total
    job.micro_batches = old.micro_batches
    if old.steps_total:
        job.epoch = job.step / old.steps_total * int(old.specification.get("epochs", 0))
    text = f"goes on from step {job.step}, the last checkpoint of {old.id}"
    lifecycle.submit(session, job, text=text)
    checkpoints.inherit(session, job.id, taken)


def _why_anew(old: Job, from_start: bool) -> str | None:
    if from_start:
        return "as asked"
    if old.status == Status.cancelled:
        return None
    code = (old.error or {}).get("code")
    if code in STOPPED_FROM_OUTSIDE:
        return None
    return f"{code} is in the state of the training, which a checkpoint would bring back"
