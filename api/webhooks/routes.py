"""Webhooks: make, list, try, look at what was sent, remove."""

from __future__ import annotations

import base64
import secrets
from typing import Annotated

from fastapi import APIRouter, Body, Response
from sqlalchemy import select
from sqlalchemy.orm import Session

from api.errors import ConflictError, InvalidRequestError, NotFoundError
from api.settings import Settings
from api.store import viewer
from api.store.database import clock
from api.store.ids import new_id
from api.store.webhooks import audience, deliveries, outbox
from api.store.webhooks.tables import Delivery, Webhook
from api.web.asgi import prefix
from api.web.caller import Names, ProjectHeader
from api.web.dependencies import Service, ServiceDependency
from api.web.idempotency import IdempotencyKey, made_before, remember, written
from api.web.problems.documents import responses
from api.web.schemas import Listing
from api.webhooks.addresses import RefusedAddressError, resolve
from api.webhooks.mail.addresses import Confirmations, is_known, is_mail
from api.webhooks.mail.addresses import check as check_mail
from api.webhooks.schemas import (
    DeliveryDocument,
    NewWebhook,
    NewWebhookDocument,
    WebhookChange,
    WebhookDocument,
    delivery_document,
    webhook_document,
)

router = APIRouter(prefix="/v1/webhooks", tags=["webhooks"])
SECRET_SECONDS = 600.0  # in which who has made a webhook and got no answer asks again


def find_webhooks(session: Session) -> list[WebhookDocument]:
    """All that one sees, the newest first."""
    rows = list(session.scalars(select(Webhook).order_by(Webhook.id.desc())))
    names = Names(session, ((row.owner_id, row.project_id) for row in rows))
    return [webhook_document(row, names) for row in rows]


def read_webhook(session: Session, webhook_id: str, *, lock: bool = False) -> Webhook:
    """The webhook, or NotFoundError; with `lock` nobody else changes or removes it until the
    transaction ends."""
    found = session.get(Webhook, webhook_id, with_for_update=lock or None)
    if found is None:
        raise NotFoundError(f"there is no webhook {webhook_id[:60]}")
    return found


def read_told_webhook(session: Session, webhook_id: str) -> Webhook:
    """The same, for who may see its messages."""
    found = read_webhook(session, webhook_id)
    if not audience.may_look(found):
        raise NotFoundError(
            f"the messages of {found.id} are for who belongs to its project; remove it, or make "
            "one of your own"
        )
    return found


def try_told(session: Session, webhook_id: str) -> Delivery:
    """A test message on its way. ConflictError for a mail box that is not known to be theirs."""
    found = read_told_webhook(session, webhook_id)
    if is_mail(found.url) and found.confirmed_at is None:
        raise ConflictError("the address is not confirmed: follow the link in the mail that it got")
    return outbox.put_test(session, found)


def check_address(settings: Settings, url: str) -> None:
    """InvalidRequestError for an address to which nothing is sent. It may take a while: not in a
    transaction."""
    if is_mail(url):
        check_mail(settings, url)
        return
    try:
        resolve(url, private=settings.webhooks_private)
    except RefusedAddressError as error:
        raise InvalidRequestError.at("/url", str(error)) from error


def make_webhook(service: Service, session: Session, wanted: NewWebhook) -> NewWebhookDocument:
    """A new webhook; a mail box that may be somebody else's is asked first. TooManyError."""
    mail = is_mail(wanted.url)
    at = clock(session)
    row = Webhook(
        id=new_id("whk"),
        url=wanted.url,
        events=list(dict.fromkeys(wanted.events)),
        secret="whsec_" + base64.b64encode(secrets.token_bytes(32)).decode(),
        sweep_jobs=not mail if wanted.sweep_jobs is None else wanted.sweep_jobs,
        created_at=at,
        confirmed_at=at if mail and is_known(session, wanted.url) else None,
    )
    session.add(row)
    session.flush()
    if mail and row.confirmed_at is None:
        _ask(service, session, row)
    return _with_secret(session, row)


def enable(service: Service, session: Session, row: Webhook) -> None:
    """Tell a webhook that was off again. A mail box at which somebody has stopped it is asked
    first. TooManyError."""
    was_off = row.disabled_at is not None
    row.disabled_at = row.disabled_why = row.failing_since = None
    if was_off and is_mail(row.url) and row.confirmed_at is None:
        if is_known(session, row.url):
            row.confirmed_at = clock(session)
        else:
            _ask(service, session, row)


def _ask(service: Service, session: Session, row: Webhook) -> None:
    service.part(Confirmations).take()
    asks = viewer.current()
    outbox.put_confirmation(session, row, "" if asks is None else asks.name)


def _with_secret(session: Session, row: Webhook) -> NewWebhookDocument:
    """With its secret while who made it may have got no answer; a key of a request is of one user
    (`api.accounts.guard`)."""
    is_new = clock(session) - row.created_at < SECRET_SECONDS
    secret = row.secret if is_new and not is_mail(row.url) else None
    names = Names(session, [(row.owner_id, row.project_id)])
    return NewWebhookDocument(**webhook_document(row, names).model_dump(), secret=secret)


@router.post(
    "",
    status_code=201,
    summary="Make a webhook",
    responses={
        200: {"description": "The same request came before (Idempotency-Key)"},
        **responses(401, 403, 409, 422, 429, 503),
    },
)
def add_webhook(
    service: ServiceDependency,
    response: Response,
    webhook: Annotated[NewWebhook, Body()],
    idempotency_key: IdempotencyKey = None,
    saf_project: ProjectHeader = None,
) -> NewWebhookDocument:
    """Messages are sent by POST as JSON (`type`, `timestamp`, `data`), signed as the Standard
    Webhooks specification says, and again with growing pauses, over three days, until the answer is
    2xx. `secret` is in this answer alone; the same request again (`Idempotency-Key`), as where the
    answer was lost, has it for ten minutes. A mail box (`mailto:`) is told in words."""
    response.headers["Cache-Control"] = "no-store"
    request: tuple[object, ...] = ("webhooks", webhook.url, *webhook.events)
    if webhook.sweep_jobs is not None:
        request += (webhook.sweep_jobs,)
    check_address(service.settings, webhook.url)

    def make(session: Session) -> tuple[NewWebhookDocument, bool]:
        earlier = made_before(session, Webhook, idempotency_key, *request)
        if earlier is not None:
            return _with_secret(session, earlier), False
        made = make_webhook(service, session, webhook)
        remember(session, idempotency_key, made.id, *request)
        return made, True

    made, is_new = written(service, make)
    response.headers["Location"] = prefix.at(f"/v1/webhooks/{made.id}")
    response.status_code = 201 if is_new else 200
    return made


@router.get("", summary="List webhooks", responses=responses(401, 503))
def list_webhooks(service: ServiceDependency) -> Listing[WebhookDocument]:
    """The newest first, without their secrets."""
    with service.database.reading() as session:
        found = find_webhooks(session)
    return Listing(
        data=found,
        first_id=found[0].id if found else None,
        last_id=found[-1].id if found else None,
    )


@router.get("/{webhook}", summary="Read a webhook", responses=responses(401, 404, 503))
def get_webhook(service: ServiceDependency, webhook: str) -> WebhookDocument:
    """Without its secret."""
    with service.database.reading() as session:
        row = read_webhook(session, webhook)
        return webhook_document(row, Names(session, [(row.owner_id, row.project_id)]))


@router.patch(
    "/{webhook}",
    summary="Change a webhook, switch it off or on",
    responses=responses(401, 403, 404, 422, 429, 503),
)
def change_webhook(
    service: ServiceDependency, webhook: str, change: Annotated[WebhookChange, Body()]
) -> WebhookDocument:
    """Its secret stays. One that was disabled is told again, and gets what waits; a mail box whose
    mails somebody there has stopped gets a mail with a link first, and nothing before it was
    followed."""
    given = change.model_fields_set
    if "url" in given:
        check_address(service.settings, change.url)
    with service.database.writing() as session:
        row = read_webhook(session, webhook, lock=True)
        if "url" in given:
            if change.url != row.url and (is_mail(row.url) or is_mail(change.url)):
                raise InvalidRequestError.at("/url", "a mail box stays as it is: make another one")
            row.url = change.url
        if "sweep_jobs" in given:
            row.sweep_jobs = change.sweep_jobs
        if "events" in given:
            row.events = list(dict.fromkeys(change.events))
        if "enabled" in given and change.enabled:
            enable(service, session, row)
        elif "enabled" in given and row.disabled_at is None:
            row.disabled_at, row.disabled_why = clock(session), "switched off"
        session.flush()
        return webhook_document(row, Names(session, [(row.owner_id, row.project_id)]))


@router.delete(
    "/{webhook}",
    status_code=204,
    summary="Remove a webhook",
    responses=responses(401, 403, 404, 503),
)
def remove_webhook(service: ServiceDependency, webhook: str) -> None:
    """And what of its messages has not arrived."""
    with service.database.writing() as session:
        session.delete(read_webhook(session, webhook, lock=True))


@router.post(
    "/{webhook}/test",
    status_code=202,
    summary="Send a test message",
    responses=responses(401, 403, 404, 409, 503),
)
def try_webhook(
    service: ServiceDependency, webhook: str, idempotency_key: IdempotencyKey = None
) -> DeliveryDocument:
    """Of the type `test`; the deliveries say what became of it."""
    request = ("webhook test", webhook)

    def put(session: Session) -> DeliveryDocument:
        sent = made_before(session, Delivery, idempotency_key, *request)
        if sent is None:
            sent = try_told(session, webhook)
            remember(session, idempotency_key, sent.id, *request)
        return delivery_document(sent)

    return written(service, put)


@router.get(
    "/{webhook}/deliveries",
    summary="Messages of a webhook",
    responses=responses(401, 404, 503),
)
def list_deliveries(service: ServiceDependency, webhook: str) -> Listing[DeliveryDocument]:
    """The newest fifty; messages stay for 30 days."""
    with service.database.reading() as session:
        row = read_told_webhook(session, webhook)
        found = [delivery_document(each) for each in deliveries.of_webhook(session, row.id)]
    return Listing(
        data=found,
        first_id=found[0].id if found else None,
        last_id=found[-1].id if found else None,
    )
