"""Webhooks as the API shows them."""

from __future__ import annotations

from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, model_validator

from api.store import viewer
from api.store.webhooks.tables import Delivery, Webhook
from api.web.asgi import prefix
from api.web.caller import Names
from api.web.schemas import Document, Timestamp, iso, maybe_iso

EventType = Literal[
    "job.succeeded",
    "job.failed",
    "job.cancelled",
    "job.paused",
    "sweep.ended",
    "dataset.ready",
    "dataset.invalid",
    "dataset.needs_choice",
]
Url = Annotated[str, Field(min_length=1, max_length=2000)]
Events = Annotated[list[EventType], Field(min_length=1, max_length=20)]


class NewWebhook(BaseModel):
    """A webhook to be made."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    url: Url
    """Where messages are sent to, by POST; or `mailto:` and a mail box, which is told by mail once
    somebody there has followed the link in the first one."""
    events: Events
    """What it is told of: jobs and sweeps of whoever makes it, or of the project that it is in."""
    sweep_jobs: bool | None = None
    """Whether it is told of each job of a sweep too. By default a mail box is not: it gets one mail
    for the sweep (`sweep.ended`)."""


class WebhookChange(BaseModel):
    """What is left out stays as it is."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    url: Url = ""
    events: Events = Field(default_factory=list)
    enabled: bool = True
    """true: what waits is sent, and further events are told."""
    sweep_jobs: bool = True
    """Whether it is told of each job of a sweep too."""

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not self.model_fields_set:
            raise ValueError("nothing is to be changed; give url, events, sweep_jobs or enabled")
        return self


class WebhookDocument(Document):
    """An address that is told when something ends."""

    id: str
    object: Literal["webhook"] = "webhook"
    url: str
    """Where messages are sent to. It may be a secret: whole for who may change the webhook, for
    others scheme and host, and `…`."""
    events: list[EventType]
    sweep_jobs: bool
    """Whether it is told of each job of a sweep too."""
    confirmed_at: Timestamp | None
    """Of a mail box: since when it is known to be its owner's; null: it gets nothing yet."""
    owner: str | None
    project: str | None
    created_at: Timestamp
    disabled_at: Timestamp | None
    """Since when nothing is sent; null: it is."""
    disabled_why: str | None
    failing_since: Timestamp | None
    """When the first message did not arrive, since when none has; null: the last one has."""
    deliveries: str
    """The address of what was sent."""


class NewWebhookDocument(WebhookDocument):
    """A webhook that was just made."""

    secret: str | None
    """`whsec_…`: messages are signed with it. It is not shown again; null of a mail box, and where
    the same request came before, more than ten minutes ago: remove the webhook and make another one
    for a new secret."""


class DeliveryDocument(Document):
    """A message."""

    id: str
    """`webhook-id` of the message, the same at each try."""
    object: Literal["delivery"] = "delivery"
    type: str
    body: str
    """As it is sent; a mail says the same in words."""
    created_at: Timestamp
    tries: int
    next_at: Timestamp | None
    """When it is tried again; null: it has arrived, or was given up."""
    delivered_at: Timestamp | None
    status: int | None
    """Of the last answer; of a mail the code of the mail server."""
    error: str
    """Why the last try failed; empty where it did not."""


def is_told_whole(row: Webhook) -> bool:
    """Whether whoever asks is told the whole address of a webhook: who may change it."""
    return viewer.may_change(row.owner_id, row.project_id)


def without_path(url: str) -> str:
    """The scheme and the host of an address: those of chat services let in who knows the rest."""
    parts = urlsplit(url)
    if parts.scheme == "mailto":
        return f"mailto:…@{parts.path.rpartition('@')[2]}"
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}/…"


def webhook_document(row: Webhook, names: Names) -> WebhookDocument:
    """The JSON of a webhook."""
    owner, project = names.of(row.owner_id, row.project_id)
    return WebhookDocument(
        id=row.id,
        url=row.url if is_told_whole(row) else without_path(row.url),
        events=row.events,
        sweep_jobs=row.sweep_jobs,
        confirmed_at=maybe_iso(row.confirmed_at),
        owner=owner,
        project=project,
        created_at=iso(row.created_at),
        disabled_at=maybe_iso(row.disabled_at),
        disabled_why=row.disabled_why,
        failing_since=maybe_iso(row.failing_since),
        deliveries=prefix.at(f"/v1/webhooks/{row.id}/deliveries"),
    )


def delivery_document(row: Delivery) -> DeliveryDocument:
    """The JSON of a message."""
    return DeliveryDocument(
        id=row.id,
        type=row.type,
        body=row.body,
        created_at=iso(row.created_at),
        tries=row.tries,
        next_at=maybe_iso(row.next_at),
        delivered_at=maybe_iso(row.delivered_at),
        status=row.status,
        error=row.error,
    )
