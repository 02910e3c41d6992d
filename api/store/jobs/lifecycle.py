"""The life of a job, and the only place that writes its status.

    queued → starting → running → converting → succeeded
    running, converting → pausing → paused → queued (resume)
    running → queued                               (handed back by a worker that shuts down)
    a lease runs out → recovering → starting       (or failed, worker_lost, after too many)
    an error that may pass → recovering → starting (or failed, with that error, after too many)
    cancelling → cancelled, and failed, from whatever is not terminal

Every function is one conditional UPDATE inside the caller's transaction plus one event; terminal
states are never left. Writes of a worker name their attempt and raise `Fenced` when a newer one
exists, so a worker that slept through its lease can change nothing any more.

A recovering job may have a `retry_at`, before which no worker takes it: the wait doubles with
every attempt that was lost since the last checkpoint.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from api.errors import ConflictError, NotFoundError
from api.store.blobs import references
from api.store.database import clock, now
from api.store.jobs import events, fairness, leases, result, retry_delay
from api.store.jobs.leases import Claim
from api.store.jobs.queue import next_in_line
from api.store.limits import full, hours
from api.store.tables.jobs import ACTIVE, TERMINAL, WAITING, Job, Status
from saf.errors import WorkerLostError


def submit(session: Session, job: Job, **data: Any) -> None:
    """Store a new job as queued; `data` goes into the first line of its timeline."""
    job.status = Status.queued
    job.attempt = 0
    job.events_count = 0
    job.created_at = job.queued_at = job.announced_at = clock(session)
    session.add(job)
    session.flush()
    events.add(session, job.id, Status.queued, **data)


def claim(session: Session, *, worker_id: str, device: str, lease_seconds: float) -> Claim | None:
    """Take the job that is first in line; None when nothing waits but what a limit holds back."""
    held = full.full(session, alone=True)
    row = session.execute(
        update(Job)
        .where(Job.id == next_in_line(session, held), Job.status.in_(WAITING))
        .values(
            status=Status.starting,
            attempt=Job.attempt + 1,
            worker_id=worker_id,
            device=device,
            lease_until=now() + lease_seconds,
            heartbeat_at=now(),
            retry_at=None,
            started_at=func.coalesce(Job.started_at, now()),
            running_at=None,
            version=Job.version + 1,
        )
        .returning(
            Job.id,
            Job.attempt,
            Job.specification,
            Job.dataset_id,
            Job.micro_batches,
            Job.memory_bytes,
            Job.losses,
            Job.origin,
            Job.owner_id,
            Job.project_id,
        )
        .execution_options(synchronize_session=False)
    ).one_or_none()
    if row is None:
        return None
    fairness.was_served(session, row.owner_id)
    hours.begin(session, row.id, row.attempt, owner_id=row.owner_id, project_id=row.project_id)
    events.add(session, row.id, Status.starting, worker_id=worker_id, device=device)
    readable = isinstance(row.specification, dict)
    specification = dict(row.specification) if readable else {}  # empty: the worker says why
    if specification and row.micro_batches is not None:
        specification["micro_batches"] = row.micro_batches
    return Claim(
        job_id=row.id,
        attempt=row.attempt,
        specification=specification,
        dataset_id=row.dataset_id,
        memory_bytes=row.memory_bytes,
        losses=row.losses,
        origin=row.origin or {},
    )


def running(
    session: Session,
    claim: Claim,
    *,
    step: int,
    steps_total: int,
    environment: Mapping[str, Any] | None = None,
) -> None:
    """The training process reported for the first time; it goes on from `step`. The timeline keeps
    the environment that it runs in."""
    _move(
        session,
        claim,
        Status.running,
        {Status.starting},
        event={"environment": dict(environment)} if environment else None,
        step=step,
        started_step=step,
        steps_total=steps_total,
        running_at=now(),
        checked=None,
        to_check=None,
    )


def converting(session: Session, claim: Claim) -> None:
    """Training is over, conversion has begun."""
    _move(session, claim, Status.converting, {Status.starting, Status.running})


def succeed(session: Session, claim: Claim, *, summary: Mapping[str, Any] | None = None) -> None:
    """Everything is stored. A request to cancel or pause that came too late is overtaken.

    `summary` goes into the timeline, and what it says of the network and its findings to the job.
    """
    data = {} if summary is None else {"summary": dict(summary)}
    _end(session, claim, Status.succeeded, frozenset(ACTIVE), result.columns(summary), **data)


def fail(session: Session, claim: Claim, *, code: str, message: str, hint: str) -> None:
    """The attempt ended with an error that another attempt would meet again."""
    error = {"code": code, "message": message, "hint": hint}
    _end(session, claim, Status.failed, frozenset(ACTIVE), error=error)


def stopped(session: Session, claim: Claim) -> Status:
    """The process group is gone: finish what was asked, and return what the job is then.

    `cancelling` becomes cancelled, `pausing` paused; anything else is handed back to the queue.
    """
    leases.fence(session, claim)  # takes the row's lock: what is asked cannot change below
    status = leases.asked(session, claim)
    if status is Status.cancelling:
        _end(session, claim, Status.cancelled, {Status.cancelling})
        return Status.cancelled
    if status is Status.pausing:
        _move(session, claim, Status.paused, {Status.pausing}, lease_until=None)
        return Status.paused
    _move(session, claim, Status.queued, frozenset(ACTIVE), lease_until=None, worker_id=None)
    return Status.queued


def lost(
    session: Session, claim: Claim, *, reason: str, max_losses: int, retry_seconds: float = 0.0
) -> Status:
    """The training process died under its worker: recover, or give up after too many starts."""
    leases.fence(session, claim)
    wait = retry_delay.of_a_lost_worker(retry_seconds)
    return _recover(session, claim.job_id, claim.attempt, _lost(reason), max_losses, wait)


def try_again(
    session: Session,
    claim: Claim,
    *,
    code: str,
    message: str,
    hint: str,
    max_losses: int,
    retry_seconds: float = 0.0,
    micro_batches: int | None = None,
) -> Status:
    """The attempt ended with an error that another attempt may not meet: recover, or give up.

    With `micro_batches` the next attempt computes each batch in so many parts, and need not wait.
    """
    leases.fence(session, claim)
    wait = retry_delay.of_an_error(retry_seconds)
    if micro_batches is not None:
        wait = retry_delay.of_a_change
        session.execute(leases.fenced(claim).values(micro_batches=micro_batches))
    error = {"code": code, "message": message, "hint": hint}
    return _recover(session, claim.job_id, claim.attempt, error, max_losses, wait)


def cancel(session: Session, job_id: str) -> Job:
    """Ask to cancel. A job that no worker holds is cancelled at once."""
    job = _request(
        session,
        job_id,
        "cancel",
        {
            Status.cancelled: (*WAITING, Status.paused),
            Status.cancelling: (
                Status.starting,
                Status.running,
                Status.converting,
                Status.pausing,
            ),
        },
        already=Status.cancelling,
    )
    if job.status == Status.cancelled:
        job.finished_at = clock(session)
    return job


def pause(session: Session, job_id: str) -> Job:
    """Ask to pause at the next step, or between two batches of the check of its LIF network. A job
    that waits is paused at once."""
    return _request(
        session,
        job_id,
        "pause",
        {
            Status.paused: WAITING,
            Status.pausing: (Status.starting, Status.running, Status.converting),
        },
        already=Status.pausing,
    )


def resume(session: Session, job_id: str) -> Job:
    """Put a paused job back into the queue."""
    job = _request(session, job_id, "resume", {Status.queued: (Status.paused,)})
    job.queued_at = job.announced_at = clock(session)
    return job


def delete(session: Session, job_id: str) -> list[str]:
    """Remove a terminal job's row and all that belongs to it; returns the hashes of its files,
    which are the caller's to remove."""
    job = _locked(session, job_id)
    if job.status not in TERMINAL:
        raise ConflictError(f"job {job_id} is {job.status}; cancel it first")
    hashes = references.hashes_of_job(session, job_id)
    session.delete(job)
    session.flush()
    return hashes


def expire_leases(
    session: Session,
    *,
    at: float | None = None,
    max_losses: int,
    retry_seconds: float = 0.0,
) -> list[str]:
    """Recover every job whose lease had run out at the time `at` of the database's clock (default:
    its present); returns the jobs that wait again."""
    overdue = session.execute(
        select(Job.id, Job.attempt)
        .where(Job.status.in_(ACTIVE), Job.lease_until < (now() if at is None else at))
        .with_for_update(skip_locked=True)
    ).all()
    error = _lost("the worker has not been heard of for longer than its lease")
    wait = retry_delay.of_a_lost_worker(retry_seconds)
    return [
        job_id
        for job_id, attempt in overdue
        if _recover(session, job_id, attempt, error, max_losses, wait) is Status.recovering
    ]


def _move(
    session: Session,
    claim: Claim,
    to: Status,
    allowed: Collection[Status],
    *,
    event: Mapping[str, Any] | None = None,
    **values: Any,
) -> None:
    """Change the status from one of `allowed`; from another active one only the values change.

    So a job that somebody asked to cancel or pause meanwhile keeps that request.
    """
    leases.fence(session, claim)
    moved = session.execute(
        leases.fenced(claim)
        .where(Job.status.in_(allowed))
        .values(status=to, version=Job.version + 1, **values)
        .returning(Job.id)
    ).one_or_none()
    if moved is not None:
        if to not in ACTIVE:
            hours.end(session, claim.job_id, claim.attempt)
        events.add(session, claim.job_id, to, **(event or {}))
    elif values:
        session.execute(leases.fenced(claim).values(**values))


def _end(
    session: Session,
    claim: Claim,
    to: Status,
    allowed: Collection[Status],
    found: Mapping[str, Any] | None = None,
    *,
    error: dict[str, str] | None = None,
    **data: Any,
) -> None:
    values: dict[str, Any] = {"finished_at": now(), "lease_until": None, **(found or {})}
    if error is not None:
        values |= {"error": error, "health": "failed"}
        data = {**data, "error": error}
    _move(session, claim, to, allowed, event=data, **values)


def _lost(reason: str) -> dict[str, str]:
    return {
        "code": WorkerLostError.code,
        "message": reason,
        "hint": "look at the job's log for what stops the process (often memory), then retry",
    }


def _recover(
    session: Session,
    job_id: str,
    attempt: int,
    error: dict[str, str],
    max_losses: int,
    wait: retry_delay.Wait,
) -> Status:
    job = _locked(session, job_id)
    if job.attempt != attempt or job.status not in ACTIVE:
        return Status(job.status)
    hours.end(session, job_id, attempt, at=job.heartbeat_at)
    job.lease_until = None
    job.losses += 1
    at = job.announced_at = clock(session)
    data: dict[str, Any] = {"reason": error["message"]}
    if job.status == Status.cancelling:
        to = Status.cancelled
    elif job.status == Status.pausing:
        to = Status.paused
    elif job.losses > max_losses:
        to = Status.failed
        times = f"{job.losses} times without a checkpoint in between"
        job.error = {**error, "message": f"{error['message']}, {times}"}
        job.health = "failed"
        data["error"] = job.error
    else:
        to = Status.recovering
        if seconds := wait(job.losses):
            job.retry_at = at + seconds
            data["reason"] += f"; the next try is in {seconds:g} s"
            data["retry_in_seconds"] = seconds
    if to in TERMINAL:
        job.finished_at = at
    job.status = to
    job.version += 1
    session.flush()
    events.add(session, job_id, to, **data)
    return to


def _request(
    session: Session,
    job_id: str,
    verb: str,
    moves: Mapping[Status, Collection[Status]],
    *,
    already: Status | None = None,
) -> Job:
    job = _locked(session, job_id)
    if job.status == already:
        return job
    for to, allowed in moves.items():
        if job.status in allowed:
            job.status = to
            job.retry_at = None
            job.version += 1
            session.flush()
            events.add(session, job_id, to)
            return job
    raise ConflictError(f"job {job_id} is {job.status}; it cannot {verb} from there")


def _locked(session: Session, job_id: str) -> Job:
    job = session.scalar(
        select(Job)
        .where(Job.id == job_id)
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    if job is None:
        raise NotFoundError(f"there is no job {job_id}")
    return job
