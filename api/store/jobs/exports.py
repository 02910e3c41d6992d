"""The life of an export, and the only place that writes its status.

    queued → running → succeeded
    running → queued     (handed back by a worker that ends, its lease ran out, or put off)
    running → failed     (an error, or a lease that ran out too often)

A claim has the number of its attempt, and its holder writes with it: where a newer attempt exists,
or the export was deleted, it raises `Fenced` and changes nothing.

One that a disk or the artifact store does not take is put off: no worker takes it before its
`retry_at`, and the wait doubles each time. That is no attempt that failed, as somebody can put it
right.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, and_, delete, func, or_, select, update
from sqlalchemy.orm import Session

from api.store.database import now
from api.store.ids import new_id
from api.store.jobs import fairness
from api.store.jobs.leases import Fenced
from api.store.jobs.retry_delay import LONGEST_WAIT, Wait
from api.store.tables.results import Artifact, Export
from saf.errors import WorkerLostError

QUEUED, RUNNING, SUCCEEDED, FAILED = "queued", "running", "succeeded", "failed"
STATUSES = (QUEUED, RUNNING, SUCCEEDED, FAILED)
ENDED = (SUCCEEDED, FAILED)
EXPORTS = "exports/"
"""What the names of all files of exports begin with, among the artifacts of a job."""
MOST_LOSSES = 3
"""An export whose worker vanished so often fails: it may be what ends them."""


@dataclass(frozen=True, kw_only=True)
class ExportClaim:
    """An export that this worker may make until its lease ends."""

    id: str
    job_id: str
    attempt: int
    target: str
    options: dict[str, Any]
    samples: int


def submit(
    session: Session, *, job_id: str, target: str, options: Mapping[str, Any], samples: int
) -> Export:
    """Queue an export. Earlier ones of this target that failed are removed."""
    session.execute(
        delete(Export).where(
            Export.job_id == job_id, Export.target == target, Export.status == FAILED
        )
    )
    export = Export(
        id=new_id("exp"),
        job_id=job_id,
        target=target,
        options=dict(options),
        samples=samples,
        status=QUEUED,
        attempt=0,
        losses=0,
        created_at=session.scalar(select(now())),
    )
    session.add(export)
    session.flush()
    return export


def claim(session: Session, *, worker_id: str, lease_seconds: float) -> ExportClaim | None:
    """Take the export that is first in line, users in turn; None when none waits."""
    first = (
        fairness.exports_by_turn(
            select(Export.id).where(_is_waiting()), under_way=Export.status == RUNNING
        )
        .limit(1)
        .with_for_update(skip_locked=True, of=Export)
        .scalar_subquery()
    )
    row = session.execute(
        update(Export)
        .where(Export.id == first, Export.status == QUEUED)
        .values(
            status=RUNNING,
            attempt=Export.attempt + 1,
            worker_id=worker_id,
            lease_until=now() + lease_seconds,
            started_at=func.coalesce(Export.started_at, now()),
            replayed=None,
            to_replay=None,
            waits_for=None,
            retry_at=None,
        )
        .returning(
            Export.id,
            Export.job_id,
            Export.attempt,
            Export.target,
            Export.options,
            Export.samples,
        )
        .execution_options(synchronize_session=False)
    ).one_or_none()
    return None if row is None else ExportClaim(**row._mapping)


def waits(session: Session) -> bool:
    """Whether an export may be taken, without taking a lock."""
    return bool(session.scalar(select(select(Export.id).where(_is_waiting()).exists())))


def renew(
    session: Session,
    claim: ExportClaim,
    *,
    lease_seconds: float,
    replayed: int | None = None,
    to_replay: int | None = None,
) -> None:
    """Heartbeat: renew the lease, and say how far the replay is."""
    progress = {} if to_replay is None else {"replayed": replayed, "to_replay": to_replay}
    _write(session, claim, lease_until=now() + lease_seconds, **progress)


def hand_back(session: Session, claim: ExportClaim) -> None:
    """Queue it again: its worker ends. That is no attempt that failed."""
    _write(session, claim, status=QUEUED, lease_until=None, worker_id=None)


def put_off(session: Session, claim: ExportClaim, reason: str, wait: Wait) -> None:
    """Queue it again, not before a `wait` of so many delays: its files have no room for now."""
    delays = (session.scalar(select(Export.delays).where(Export.id == claim.id)) or 0) + 1
    _write(
        session,
        claim,
        status=QUEUED,
        lease_until=None,
        worker_id=None,
        delays=delays,
        waits_for=reason,
        retry_at=now() + wait(delays),
    )


def succeed(
    session: Session, claim: ExportClaim, *, verdict: str, certificate: Mapping[str, Any]
) -> None:
    """Its files are stored, as artifacts of the job. Earlier exports to this target, whose files
    they replace, are removed."""
    _end(session, claim, SUCCEEDED, verdict=verdict, certificate=dict(certificate))
    session.execute(
        delete(Export).where(
            Export.job_id == claim.job_id,
            Export.target == claim.target,
            Export.id != claim.id,
            Export.status.in_(ENDED),
        )
    )


def fail(session: Session, claim: ExportClaim, *, code: str, message: str, hint: str) -> None:
    """It ended with an error that another attempt would meet again."""
    _end(session, claim, FAILED, error={"code": code, "message": message, "hint": hint})


def lost(session: Session, claim: ExportClaim, reason: str) -> None:
    """Its process or its worker died: queue it again, or give up after `MOST_LOSSES`."""
    losses = session.scalar(select(Export.losses).where(Export.id == claim.id)) or 0
    if losses + 1 >= MOST_LOSSES:
        return fail(session, claim, **_gave_up(reason, losses + 1))
    return _write(
        session, claim, status=QUEUED, losses=losses + 1, lease_until=None, worker_id=None
    )


def expire_leases(session: Session, *, at: float) -> None:
    """Queue exports again, or give up, whose lease had run out at the time `at` of the database's
    clock."""
    overdue = session.execute(
        select(Export.id, Export.job_id, Export.attempt, Export.target)
        .where(Export.status == RUNNING, Export.lease_until < at)
        .with_for_update(skip_locked=True)
    ).all()
    for row in overdue:
        claim = ExportClaim(**row._mapping, options={}, samples=0)
        lost(session, claim, "the worker has not been heard of for longer than its lease")


def correct_times(session: Session, *, lease_seconds: float) -> None:
    """Shorten leases and waits that end later than any can: the clock has been put back since."""
    longest = now() + LONGEST_WAIT
    session.execute(
        update(Export)
        .where(Export.status == QUEUED, Export.retry_at > longest)
        .values(retry_at=longest)
        .execution_options(synchronize_session=False)
    )
    session.execute(
        update(Export)
        .where(Export.status == RUNNING, Export.lease_until > now() + lease_seconds)
        .values(lease_until=now() + lease_seconds)
        .execution_options(synchronize_session=False)
    )


def hold(session: Session, job_id: str) -> None:
    """Let nobody else write to the exports of a job until the transaction ends: a worker that just
    stores one has ended that, or meets what is done here. The newest first, as a worker does, which
    removes older ones that its own replaces."""
    held = select(Export).where(Export.job_id == job_id).order_by(Export.id.desc())
    session.execute(held.with_for_update().execution_options(populate_existing=True)).all()


def remove(session: Session, export: Export) -> list[str]:
    """Delete an export, and its files unless another export has replaced them; returns their
    hashes. A worker that makes it stops. The caller holds the exports of the job."""
    hashes = []
    if export.status == SUCCEEDED:
        for artifact in files_of(session, export.job_id, export.target):
            hashes.append(artifact.sha256)
            session.delete(artifact)
    session.delete(export)
    session.flush()
    return hashes


def folder(target: str) -> str:
    """What the names of the files of an export begin with, among the artifacts of its job."""
    return f"{EXPORTS}{target}/"


def files_of(session: Session, job_id: str, target: str) -> list[Artifact]:
    """The files of the newest export of a job to a target that has succeeded, by name."""
    rows = session.scalars(
        select(Artifact)
        .where(Artifact.job_id == job_id, Artifact.name.startswith(folder(target), autoescape=True))
        .order_by(Artifact.name)
    )
    return list(rows)


def _is_waiting() -> ColumnElement[bool]:
    return and_(Export.status == QUEUED, or_(Export.retry_at.is_(None), Export.retry_at <= now()))


def _end(session: Session, claim: ExportClaim, to: str, **values: Any) -> None:
    _write(session, claim, status=to, lease_until=None, finished_at=now(), **values)


def _write(session: Session, claim: ExportClaim, **values: Any) -> None:
    written = session.execute(
        update(Export)
        .where(Export.id == claim.id, Export.attempt == claim.attempt, Export.status == RUNNING)
        .values(**values)
        .returning(Export.id)
        .execution_options(synchronize_session=False)
    ).one_or_none()
    if written is None:
        raise Fenced


def _gave_up(reason: str, attempts: int) -> dict[str, str]:
    return {
        "code": WorkerLostError.code,
        "message": f"{reason}, {attempts} times",
        "hint": "look at the log of the worker for what ends it, often memory; then export again",
    }
