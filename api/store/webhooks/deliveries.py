"""Messages on their way: which are due, who sends them, what came of each try.

A webhook is sent one message at a time, whatever the number of processes that send
(`Webhook.sending_until`), and of one user's webhooks only some get one at the same moment: who does
not answer holds up nobody else.
"""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import (
    ColumnElement,
    ScalarSelect,
    Select,
    delete,
    func,
    not_,
    or_,
    select,
    update,
)
from sqlalchemy.orm import Session

from api.store.database import clock, now
from api.store.visibility import EVERYTHING
from api.store.webhooks.audience import is_confirmed, is_mail, may_be_told
from api.store.webhooks.outbox import CONFIRM
from api.store.webhooks.tables import Delivery, SweepNews, Webhook

KEPT_SECONDS = 30 * 86_400.0  # that a message stays
NOT_TOLD = "not sent: the account of the webhook's owner is closed, or they have left its project"


def has_news(session: Session) -> bool:
    """Whether a message is due that can be sent, or a sweep may have ended."""
    due = select(Webhook.id).where(_is_free(), _oldest_due().is_not(None))
    return (
        session.scalar(due.limit(1)) is not None
        or session.scalar(select(SweepNews.id).limit(1)) is not None
    )


def take(
    session: Session,
    most: int,
    *,
    seconds: float,
    of_one_user: int,
    but_of: Collection[str] = (),
    mail: bool | None = None,
) -> list[tuple[Delivery, Webhook]]:
    """Take messages that are due, the oldest of each of so many webhooks at most: nobody else sends
    anything to those for so many seconds.

    Users to whose webhooks the fewest messages are under way come first, and not more than so many
    are to those of one user; nothing is taken of the users `but_of`, and with `mail` that alone
    which goes to mail boxes, or does not. What its owner may not be told any more is given up.
    """
    _give_up_untold(session)
    found = []
    for webhook_id, delivery_id in session.execute(_turns(most, of_one_user, but_of, mail)).all():
        # Rows that another process holds are its business; a job that ends does not hold them.
        free = select(Webhook).where(Webhook.id == webhook_id, _is_free())
        webhook = session.scalar(free.with_for_update(skip_locked=True, key_share=True))
        if webhook is None:
            continue
        delivery = session.scalar(
            update(Delivery)
            .where(Delivery.id == delivery_id, Delivery.next_at <= now())
            .values(tries=Delivery.tries + 1, next_at=now() + seconds)
            .returning(Delivery)
            .execution_options(synchronize_session=False)
        )
        if delivery is not None:
            webhook.sending_until = clock(session) + seconds
            found.append((delivery, webhook))
    session.flush()
    return found


def tried(
    session: Session,
    delivery: tuple[str, int],
    webhook: tuple[str, float],
    *,
    status: int | None,
    error: str,
    again_in: float | None,
    disable_seconds: float,
    is_gone: bool,
) -> None:
    """Write what came of a try; nothing where a later one has begun. Without an `error` it has
    arrived. A webhook that is gone, or at which nothing has arrived for so long, is disabled.

    `delivery` is its id and the number of the try, `webhook` its id and until when it was taken.
    """
    webhook_id, until = webhook
    row = session.get(Webhook, webhook_id, with_for_update={"key_share": True})
    if row is None:  # it was removed, with its messages
        return
    if row.sending_until == until:
        row.sending_until = None
    at = clock(session)
    arrived = not error
    delivery_id, tries = delivery
    noted = session.execute(
        update(Delivery)
        .where(Delivery.id == delivery_id, Delivery.tries == tries, Delivery.delivered_at.is_(None))
        .values(
            status=status,
            error=error,
            next_at=None if arrived or again_in is None else at + again_in,
            delivered_at=at if arrived else None,
        )
        .returning(Delivery.id)
        .execution_options(synchronize_session=False)
    ).one_or_none()
    if noted is None:
        return
    if arrived:
        row.failing_since = None
        return
    row.failing_since = row.failing_since or at
    if row.disabled_at is None and (is_gone or at - row.failing_since >= disable_seconds):
        days = disable_seconds / 86_400
        row.disabled_at = at
        row.disabled_why = (
            "it answered 410 Gone" if is_gone else f"nothing has arrived for {days:g} days: {error}"
        )


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


def _turns(
    most: int, of_one_user: int, but_of: Collection[str], mail: bool | None
) -> Select[str, str]:
    """Webhooks that are to be sent a message, each with its oldest that is due."""
    user = func.coalesce(Webhook.owner_id, "")
    wanted = [_is_free(), user.not_in(but_of)]
    if mail is not None:
        wanted.append(is_mail() if mail else not_(is_mail()))
    first = (
        select(Webhook.id.label("webhook_id"), user.label("user"), _oldest_due().label("id"))
        .where(*wanted)
        .subquery()
    )
    sending = (
        select(user.label("user"), func.count().label("number"))
        .where(Webhook.sending_until > now())
        .group_by(user)
        .subquery()
    )
    place = func.row_number().over(
        partition_by=first.c.user, order_by=(Delivery.next_at, Delivery.id)
    )
    turns = (
        select(
            first.c.webhook_id,
            Delivery.id,
            Delivery.next_at,
            (place + func.coalesce(sending.c.number, 0)).label("turn"),
        )
        .join(Delivery, Delivery.id == first.c.id)
        .outerjoin(sending, sending.c.user == first.c.user)
        .subquery()
    )
    return (
        select(turns.c.webhook_id, turns.c.id)
        .where(turns.c.turn <= of_one_user)
        .order_by(turns.c.turn, turns.c.next_at, turns.c.id)
        .limit(most)
    )


def _is_free() -> ColumnElement[bool]:
    """The condition that nobody sends to a webhook, and somebody may."""
    is_idle = or_(Webhook.sending_until.is_(None), Webhook.sending_until <= now())
    return is_idle & Webhook.disabled_at.is_(None)


def _oldest_due() -> ScalarSelect[str]:
    """The message of a webhook that comes next; to a mail box that nobody there has confirmed, or
    has stopped since, the question alone."""
    may_come = or_(is_confirmed(), Delivery.type == CONFIRM)
    return (
        select(Delivery.id)
        .where(Delivery.webhook_id == Webhook.id, Delivery.next_at <= now(), may_come)
        .order_by(Delivery.next_at, Delivery.id)
        .limit(1)
        .correlate(Webhook)
        .scalar_subquery()
    )


def _give_up_untold(session: Session) -> None:
    untold = select(Webhook.id).where(not_(may_be_told())).execution_options(**EVERYTHING)
    session.execute(
        update(Delivery)
        .where(Delivery.next_at <= now(), Delivery.webhook_id.in_(untold))
        .values(next_at=None, error=NOT_TOLD)
        .execution_options(synchronize_session=False)
    )
