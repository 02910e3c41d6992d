"""The outbox: a message for each webhook that wants it, stored in the transaction that ends a job,
so that none is lost and none is sent of what was rolled back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import and_, delete, or_, select
from sqlalchemy.orm import Session

from api.store.database import clock
from api.store.tables import TERMINAL, Job, Status, Sweep, new_id
from api.store.visibility import EVERYTHING
from api.store.webhooks.tables import Delivery, Webhook

EVENTS = ("job.succeeded", "job.failed", "job.cancelled", "job.paused", "sweep.ended")
TEST = "test"
TOLD = frozenset({*TERMINAL, Status.paused})
KEPT_SECONDS = 30 * 86_400.0  # that a message stays after its last try


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
    _put(session, f"job.{status}", job.owner_id, job.project_id, _of_job(job, status))
    if job.sweep_id is None or status not in TERMINAL:
        return
    going = select(Job.id).where(
        Job.sweep_id == job.sweep_id, Job.status.not_in(TERMINAL), Job.id != job_id
    )
    sweep = session.get(Sweep, job.sweep_id, execution_options=EVERYTHING)
    if sweep is not None and session.scalar(going.limit(1).execution_options(**EVERYTHING)) is None:
        data = {"id": sweep.id, "object": "sweep", "name": sweep.name}
        _put(session, "sweep.ended", sweep.owner_id, sweep.project_id, data)


def put_test(session: Session, webhook: Webhook) -> Delivery:
    """Put a message into the outbox that says no more than that it arrives."""
    return _message(session, webhook, TEST, {"id": webhook.id, "object": "webhook"})


def of_webhook(session: Session, webhook_id: str, *, limit: int = 50) -> list[Delivery]:
    """The messages of a webhook, the newest first."""
    found = select(Delivery).where(Delivery.webhook_id == webhook_id)
    return list(session.scalars(found.order_by(Delivery.id.desc()).limit(limit)))


def forget_old(session: Session) -> None:
    """Remove messages that arrived or were given up long ago."""
    session.execute(
        delete(Delivery).where(
            Delivery.next_at.is_(None), Delivery.created_at < clock(session) - KEPT_SECONDS
        )
    )


def _put(
    session: Session,
    type_: str,
    owner_id: str | None,
    project_id: str | None,
    data: Mapping[str, Any],
) -> None:
    own = and_(
        Webhook.project_id.is_(None),
        Webhook.owner_id.is_(None) if owner_id is None else Webhook.owner_id == owner_id,
    )
    theirs = own if project_id is None else or_(own, Webhook.project_id == project_id)
    query = select(Webhook).where(theirs, Webhook.disabled_at.is_(None))
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
