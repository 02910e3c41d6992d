"""Mail boxes as addresses of webhooks, and whose they are known to be."""

from __future__ import annotations

import re
import threading
import time
from collections import defaultdict, deque

from sqlalchemy import select
from sqlalchemy.orm import Session

from api.errors import InvalidRequestError, TooManyError
from api.settings import Settings
from api.store import viewer
from api.store.accounts.tables import User
from api.store.database import clock
from api.store.webhooks.tables import MAILTO, Webhook

LONGEST = 254
PER_HOUR = 5
STOPPED = "stopped by a link in a mail"
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9\-]{0,61}[A-Za-z0-9])?"
_BOX = re.compile(
    rf"(?=.{{3,{LONGEST}}}\Z)[A-Za-z0-9_+\-]+(?:\.[A-Za-z0-9_+\-]+)*@{_LABEL}(?:\.{_LABEL})*"
)
NOT_OFFERED = "this service sends no mail; its operator sets SAF_SMTP_HOST"


def is_mail(url: str) -> bool:
    """Whether a webhook leads to a mail box."""
    return url.startswith(MAILTO)


def box(url: str) -> str:
    """The mail box that it leads to."""
    return url.removeprefix(MAILTO)


def is_box(text: str) -> bool:
    """Whether a text is a mail box: letters, digits and `. _ + -` before the @, all of ASCII. What
    else a mail server may know is not sent to, so that no address is anything but an address."""
    return _BOX.fullmatch(text) is not None


def check(settings: Settings, url: str) -> None:
    """InvalidRequestError for what is no mail box, and where no mail is sent."""
    if not settings.smtp_host:
        raise InvalidRequestError.at("/url", NOT_OFFERED)
    if not is_box(box(url)):
        raise InvalidRequestError.at("/url", "is no mail box; one looks like mailto:anna@lab.org")


def is_known(session: Session, url: str) -> bool:
    """Whether the mail box is known to be the viewer's: they have confirmed it before, or their
    provider says so."""
    owner_id = viewer.owner()
    own = Webhook.owner_id.is_(None) if owner_id is None else Webhook.owner_id == owner_id
    confirmed = select(Webhook.id).where(own, Webhook.url == url, Webhook.confirmed_at.is_not(None))
    if session.scalar(confirmed.limit(1)) is not None:
        return True
    return is_of_provider(session, owner_id, url)


def is_of_provider(session: Session, owner_id: str | None, url: str) -> bool:
    """Whether the provider at which a user signs in says that the mail box is theirs."""
    user = None if owner_id is None else session.get(User, owner_id)
    return user is not None and user.email is not None and user.email == box(url)


def stop(session: Session, webhook: Webhook) -> None:
    """No more mails of a webhook, and, unless the box is its owner's by the word of their provider,
    of none of theirs to that box: before any come again somebody there has to confirm it anew."""
    owner_id = webhook.owner_id
    stopped = [webhook]
    if not is_of_provider(session, owner_id, webhook.url):
        theirs = Webhook.owner_id.is_(None) if owner_id is None else Webhook.owner_id == owner_id
        to_it = select(Webhook).where(theirs, Webhook.url == webhook.url)
        stopped = list(session.scalars(to_it.order_by(Webhook.id).with_for_update()))
        for row in stopped:
            row.confirmed_at = None
    for row in stopped:
        if row.disabled_at is None:
            row.disabled_at, row.disabled_why = clock(session), STOPPED


class Confirmations:
    """Mails to boxes that may be anybody's, which are few: of this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sent: defaultdict[str, deque[float]] = defaultdict(deque)

    def take(self) -> None:
        """Count one that the viewer asks for. TooManyError, with when to try again."""
        now = time.monotonic()
        with self._lock:
            sent = self._sent[viewer.owner() or ""]
            while sent and sent[0] <= now - 3600:
                sent.popleft()
            if len(sent) >= PER_HOUR:
                raise TooManyError(
                    f"{PER_HOUR} mails an hour at most ask whether an address is yours; confirm "
                    "one of those, or try again later",
                    retry_after=int(sent[0] + 3600 - now) + 1,
                )
            sent.append(now)
