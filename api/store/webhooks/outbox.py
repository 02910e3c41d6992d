"""The outbox: a message for each webhook that wants it, stored in the transaction that ends a job,
so that none is lost and none is sent of what was rolled back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import and_, delete, func, or_, select
from sqlalchemy.orm import Session

from api.store.database import clock
from api.store.ids import new_id
from api.store.tables.jobs import TERMINAL, Job, Status, Sweep
from api.store.tables.uploads import Dataset
from api.store.visibility import EVERYTHING
from api.store.webhooks.audience import is_confirmed, may_be_told
from api.store.webhooks.tables import Delivery, SweepNews, Webhook

EVENTS = (
    *("job.succeeded", "job.failed", "job.cancelled", "job.paused", "sweep.ended"),
    *("dataset.ready", "dataset.invalid", "dataset.needs_choice"),
)
TEST = "test"
CONFIRM = "mail.confirm"  # asks whether a mail box is its owner's
TOLD = frozenset({*TERMINAL, Status.paused})
MOST_NEWS = 400  # rows that one look takes up


def job_became(session: Session, job_id: str, status: str) -> None:
    """Put the messages into the outbox that a job has ended, or waits for somebody."""
    if status not in TOLD:
        return
    # Whoever ends it: those of its owner are told, whom that one need not see.
    any_ = select(Webhook.id).limit(1).execution_options(**EVERYTHING)
    if session.scalar(any_) is None:
        return
    job = session.scalar(
        select(Job).where(Job.id == job_id).execution_options(populate_existing=True, **EVERYTHING)
    )
    if job is None:
        return
    news = _of_job(job, status)
    in_sweep = job.sweep_id is not None
    _put(session, f"job.{status}", job.owner_id, job.project_id, news, in_sweep=in_sweep)
    if job.sweep_id is not None and status in TERMINAL:
        session.add(SweepNews(id=new_id("swn"), sweep_id=job.sweep_id))
        session.flush()


def sweeps_ended(session: Session) -> None:
    """Put the messages into the outbox that sweeps have ended.

    Not in the transaction of the last job: of two jobs that end at the same moment neither sees the
    other's end, and both may be the last.
    """
    news = session.execute(select(SweepNews.id, SweepNews.sweep_id).limit(MOST_NEWS)).all()
    for sweep_id in {row.sweep_id for row in news}:
        going = select(Job.id).where(Job.sweep_id == sweep_id, Job.status.not_in(TERMINAL))
        if session.scalar(going.limit(1)) is not None:  # the last one's row is still to come
            seen = [row.id for row in news if row.sweep_id == sweep_id]
            session.execute(delete(SweepNews).where(SweepNews.id.in_(seen)))
            continue
        # Those too that came since, or they would tell it again. Whoever removed them tells it.
        gone = delete(SweepNews).where(SweepNews.sweep_id == sweep_id).returning(SweepNews.id)
        sweep = session.get(Sweep, sweep_id)
        if session.scalars(gone).all() and sweep is not None:
            counted = select(Job.status, func.count()).where(Job.sweep_id == sweep_id)
            rows = session.execute(counted.group_by(Job.status)).all()
            counts = {row[0]: row[1] for row in rows}
            data = {"id": sweep.id, "object": "sweep", "name": sweep.name, "counts": counts}
            _put(session, "sweep.ended", sweep.owner_id, sweep.project_id, data)


def dataset_became(session: Session, dataset: Dataset) -> None:
    """Put the messages into the outbox of what came out of the check of an upload."""
    type_ = f"dataset.{dataset.status}"
    if type_ in EVENTS:
        data = {
            "id": dataset.id,
            "object": "dataset",
            "name": dataset.name,
            "status": dataset.status,
            "problems": (dataset.problems or [])[:20],
        }
        _put(session, type_, dataset.owner_id, dataset.project_id, data)


def put_confirmation(session: Session, webhook: Webhook, user: str) -> Delivery:
    """Put a mail into the outbox that asks whether the address is that user's."""
    return _message(
        session, webhook, CONFIRM, {"object": "webhook", "id": webhook.id, "user": user}
    )


def put_test(session: Session, webhook: Webhook) -> Delivery:
    """Put a message into the outbox that says no more than that it arrives."""
    return _message(session, webhook, TEST, {"id": webhook.id, "object": "webhook"})


def _put(
    session: Session,
    type_: str,
    owner_id: str | None,
    project_id: str | None,
    data: Mapping[str, Any],
    *,
    in_sweep: bool = False,
) -> None:
    own = and_(
        Webhook.project_id.is_(None),
        Webhook.owner_id.is_(None) if owner_id is None else Webhook.owner_id == owner_id,
    )
    theirs = own if project_id is None else or_(own, Webhook.project_id == project_id)
    query = select(Webhook).where(
        *(theirs, Webhook.disabled_at.is_(None), is_confirmed(), may_be_told())
    )
    if in_sweep:
        query = query.where(Webhook.sweep_jobs.is_(True))
    for webhook in session.scalars(query.execution_options(**EVERYTHING)):
        if type_ in webhook.events:
            _message(session, webhook, type_, data)


def _message(session: Session, webhook: Webhook, type_: str, data: Mapping[str, Any]) -> Delivery:
    at = clock(session)
    moment = datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")
    body = {"type": type_, "timestamp": moment.replace("+00:00", "Z"), "data": dict(data)}
    row = Delivery(
        id=new_id("msg"),
        webhook_id=webhook.id,
        type=type_,
        body=json.dumps(body),
        created_at=at,
        next_at=at,
    )
    session.add(row)
    session.flush()
    return row


def _of_job(job: Job, status: str) -> dict[str, Any]:
    """What is told of a job: enough to write a line; the rest is at its address."""
    return {
        "id": job.id,
        "object": "job",
        "name": job.name,
        "status": str(status),
        "dataset": job.dataset,
        "sweep": job.sweep_id,
        "lif_accuracy": job.lif_accuracy,
        "verdict": job.verdict,
        "health": job.health,
        "error": job.error,
    }
