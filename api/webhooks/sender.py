"""Sends the messages of the outbox, and tries again with growing pauses: a thread of the API."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import urlsplit

import httpx
from sqlalchemy import select, update
from sqlalchemy.exc import SQLAlchemyError
from standardwebhooks import Webhook as Signature

from api.settings import Settings
from api.store.database import Database, clock, why_away
from api.store.webhooks import outbox
from api.store.webhooks.tables import Delivery, Webhook
from api.webhooks.addresses import RefusedAddressError, resolve

LOOK_SECONDS = 2.0
ANSWER_SECONDS = 15.0
PAUSES = (5.0, 300.0, 1800.0, 7200.0, 18_000.0, 36_000.0, 50_400.0, 72_000.0, 86_400.0)
"""Before each further try, as the specification proposes; then a message is given up."""
LEASE_SECONDS = 60.0  # in which no other process sends a message that one has taken
GONE = 410
log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """A message that is about to be sent."""

    id: str
    webhook_id: str
    url: str
    secret: str
    body: str
    tries: int


class Sender:
    """The thread; several processes share the outbox."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._settings = settings
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="webhooks", daemon=True)
        self._cleared = time.monotonic()

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread; a message under way may come twice, with the same id."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(ANSWER_SECONDS + 5)

    def send_due(self) -> int:
        """Send what is due; how many. Raises what the database raises."""
        sent = 0
        while not self._stop.is_set() and (attempt := self._take()) is not None:
            status, error = self._post(attempt)
            self._note(attempt, status, error)
            sent += 1
        return sent

    def _run(self) -> None:
        failing = False
        while not self._stop.wait(LOOK_SECONDS):
            try:
                if self._is_any_due():
                    self.send_due()
                failing = False
            except SQLAlchemyError as error:
                if not failing:
                    log.warning("webhooks wait for the database: %s", why_away(error))
                failing = True
            except Exception:
                log.exception("a webhook could not be sent; the next look tries again")

    def _is_any_due(self) -> bool:
        with self._database.reading() as session:
            due = select(Delivery.id).where(Delivery.next_at <= clock(session)).limit(1)
            found = session.scalar(due) is not None
        if time.monotonic() - self._cleared > 3600:
            self._cleared = time.monotonic()
            with self._database.writing() as session:
                outbox.forget_old(session)
        return found

    def _take(self) -> Attempt | None:
        with self._database.writing() as session:
            at = clock(session)
            row = session.execute(
                select(Delivery, Webhook)
                .join(Webhook, Webhook.id == Delivery.webhook_id)
                .where(Delivery.next_at <= at)
                .order_by(Delivery.next_at, Delivery.id)
                .limit(1)
                .with_for_update(skip_locked=True, of=Delivery)
            ).one_or_none()
            if row is None:
                return None
            delivery, webhook = row.Delivery, row.Webhook
            delivery.tries += 1
            delivery.next_at = at + LEASE_SECONDS
            return Attempt(
                id=delivery.id,
                webhook_id=webhook.id,
                url=webhook.url,
                secret=webhook.secret,
                body=delivery.body,
                tries=delivery.tries,
            )

    def _post(self, attempt: Attempt) -> tuple[int | None, str]:
        """Status of the answer, None without one, and what went wrong."""
        try:
            host, address = resolve(attempt.url, private=self._settings.webhooks_private)
            return self._send(attempt, host, address), ""
        except RefusedAddressError as error:
            return None, str(error)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            return None, f"{type(error).__name__}: {error}"[:500]

    def _send(self, attempt: Attempt, host: str, address: str) -> int:
        at = datetime.now(UTC)
        parts = urlsplit(attempt.url)
        port = f":{parts.port}" if parts.port else ""
        there = httpx.URL(attempt.url).copy_with(host=address)
        headers = {
            "host": (f"[{host}]" if ":" in host else host) + port,
            "content-type": "application/json",
            "user-agent": "saf-webhooks",
            "webhook-id": attempt.id,
            "webhook-timestamp": str(int(at.timestamp())),
            "webhook-signature": Signature(attempt.secret).sign(attempt.id, at, attempt.body),
        }
        with httpx.Client(timeout=ANSWER_SECONDS, trust_env=False) as http:
            request = http.build_request(
                "POST",
                there,
                content=attempt.body.encode(),
                headers=headers,
                extensions={"sni_hostname": host},
            )
            response = http.send(request, stream=True)  # what it says is not read
            response.close()
            return response.status_code

    def _note(self, attempt: Attempt, status: int | None, error: str) -> None:
        arrived = status is not None and 200 <= status < 300
        gives_up = status == GONE or attempt.tries > len(PAUSES)
        if not arrived and not error:
            error = f"it answered {status}"
        with self._database.writing() as session:
            at = clock(session)
            later = None if arrived or gives_up else at + PAUSES[attempt.tries - 1]
            session.execute(
                update(Delivery)
                .where(Delivery.id == attempt.id)
                .values(
                    status=status,
                    error=error,
                    next_at=later,
                    delivered_at=at if arrived else None,
                )
            )
            if status == GONE:
                session.execute(
                    update(Webhook).where(Webhook.id == attempt.webhook_id).values(disabled_at=at)
                )
        if not arrived:
            log.warning("the message %s did not arrive: %s", attempt.id, error)
