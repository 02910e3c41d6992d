"""The outbox: a message for each webhook that wants it, stored in the transaction that ends a job,
so that none is lost and none is sent of what was rolled back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, delete, func, or_, select, update
from sqlalchemy.orm import Session

from api.store.accounts.tables import Membership, User
from api.store.database import clock, now
from api.store.ids import new_id
from api.store.tables import TERMINAL, Dataset, Job, Status, Sweep
from api.store.visibility import EVERYTHING
from api.store.webhooks.tables import Delivery, SweepNews, Webhook

EVENTS = (
    *("job.succeeded", "job.failed", "job.cancelled", "job.paused", "sweep.ended"),
    *("dataset.ready", "dataset.invalid", "dataset.needs_choice"),
)
TEST = "test"
TOLD = frozenset({*TERMINAL, Status.paused})
MOST_NEWS = 400  # rows that one look takes up
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


def has_news(session: Session) -> bool:
    """Whether a message is due, or a sweep may have ended."""
    return (
        session.scalar(_due().with_only_columns(Delivery.id).limit(1)) is not None
        or session.scalar(select(SweepNews.id).limit(1)) is not None
    )


def take(session: Session, most: int, *, seconds: float) -> list[tuple[Delivery, Webhook]]:
    """Take messages that are due, the oldest of each of so many webhooks at most: nobody else sends
    them for so many seconds."""
    found: dict[str, tuple[Delivery, Webhook]] = {}
    query = _due().order_by(Delivery.next_at, Delivery.id).limit(MOST_NEWS)
    for row in session.execute(query).all():
        if len(found) == most:
            break
        delivery, webhook = row.Delivery, row.Webhook
        if webhook.id in found:
            continue
        taken = session.execute(
            update(Delivery)
            .where(
                Delivery.id == delivery.id,
                Delivery.tries == delivery.tries,
                Delivery.next_at <= now(),
            )
            .values(tries=Delivery.tries + 1, next_at=now() + seconds)
            .returning(Delivery.id)
            .execution_options(synchronize_session=False)
        )
        if taken.one_or_none() is not None:
            session.refresh(delivery)
            found[webhook.id] = delivery, webhook
    return list(found.values())


def tried(
    session: Session,
    delivery_id: str,
    tries: int,
    *,
    status: int | None,
    error: str,
    again_in: float | None,
    disable_seconds: float,
    is_gone: bool,
) -> None:
    """Write what came of a try; nothing where a later one has begun. Without an `error` it has
    arrived. A webhook that is gone, or at which nothing has arrived for so long, is disabled."""
    at = clock(session)
    arrived = not error
    noted = session.execute(
        update(Delivery)
        .where(Delivery.id == delivery_id, Delivery.tries == tries, Delivery.delivered_at.is_(None))
        .values(
            status=status,
            error=error,
            next_at=None if arrived or again_in is None else at + again_in,
            delivered_at=at if arrived else None,
        )
        .returning(Delivery.webhook_id)
        .execution_options(synchronize_session=False)
    ).one_or_none()
    webhook = None if noted is None else session.get(Webhook, noted[0], with_for_update=True)
    if webhook is None:
        return
    if arrived:
        webhook.failing_since = None
        return
    webhook.failing_since = webhook.failing_since or at
    if webhook.disabled_at is None and (is_gone or at - webhook.failing_since >= disable_seconds):
        days = disable_seconds / 86_400
        webhook.disabled_at = at
        webhook.disabled_why = (
            "it answered 410 Gone" if is_gone else f"nothing has arrived for {days:g} days: {error}"
        )


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
    query = select(Webhook).where(theirs, Webhook.disabled_at.is_(None), _may_be_told())
    for webhook in session.scalars(query.execution_options(**EVERYTHING)):
        if type_ in webhook.events:
            _message(session, webhook, type_, data)


def _may_be_told() -> ColumnElement[bool]:
    """Whether the owner of a webhook may still come in, and into its project."""
    owner = select(User.id).where(User.id == Webhook.owner_id, User.disabled_at.is_(None))
    member = select(Membership.user_id).where(
        Membership.project_id == Webhook.project_id, Membership.user_id == Webhook.owner_id
    )
    of_project = or_(
        *(Webhook.project_id.is_(None), member.exists()),
        owner.where(User.is_admin.is_(True)).exists(),
    )
    return or_(Webhook.owner_id.is_(None), and_(owner.exists(), of_project))


def _due() -> Select[Delivery, Webhook]:
    return (
        select(Delivery, Webhook)
        .join(Webhook, Webhook.id == Delivery.webhook_id)
        .where(Delivery.next_at <= now(), Webhook.disabled_at.is_(None))
    )


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
