"""Links in mails: who has the mail may confirm the address, or stop what comes there, and need not
sign in. A link holds a code that only this service can make, from the secret of the webhook."""

from __future__ import annotations

import hashlib
import hmac
from typing import Literal

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from api.errors import NotFoundError
from api.settings import Settings
from api.store.database import clock
from api.store.webhooks.outbox import CONFIRM
from api.store.webhooks.tables import Delivery, Webhook

Purpose = Literal["confirm", "stop"]
CONFIRM_SECONDS = 7 * 86_400.0
_GONE = "this link leads nowhere: what it was for has been removed, or it is not whole"


def link(settings: Settings, purpose: Purpose, webhook_id: str, secret: str) -> str:
    """The address of a page, as people outside know the service."""
    return f"{settings.public_url}/mail/{purpose}/{webhook_id}.{_code(purpose, webhook_id, secret)}"


def opened(session: Session, purpose: Purpose, token: str) -> Webhook:
    """The webhook that a link is for. NotFoundError, also where it is too old to confirm by."""
    webhook_id, _, code = token[:200].partition(".")
    found = session.get(Webhook, webhook_id)
    if found is None or not hmac.compare_digest(
        code.encode(), _code(purpose, found.id, found.secret).encode()
    ):
        raise NotFoundError(_GONE)
    asked = select(func.max(Delivery.created_at)).where(
        Delivery.webhook_id == found.id, Delivery.type == CONFIRM
    )
    is_old = clock(session) - (session.scalar(asked) or found.created_at) > CONFIRM_SECONDS
    if purpose == "confirm" and found.confirmed_at is None and is_old:
        raise NotFoundError("this link is more than seven days old; ask for the mail again")
    return found


def _code(purpose: Purpose, webhook_id: str, secret: str) -> str:
    text = f"{purpose} {webhook_id}".encode()
    return hmac.new(secret.encode(), text, hashlib.sha256).hexdigest()[:40]
