"""Sends the messages of the outbox, and tries again with growing pauses: a thread of the API."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import urlsplit

import httpcore
from sqlalchemy.exc import SQLAlchemyError
from standardwebhooks import Webhook as Signature

from api.settings import Settings
from api.store.database import Database, why_away
from api.store.webhooks import outbox
from api.webhooks.addresses import RefusedAddressError, resolve
from api.webhooks.connection import post

LOOK_SECONDS = 2.0
ANSWER_SECONDS = 15.0
PAUSES = (5.0, 300.0, 1800.0, 7200.0, 18_000.0, 36_000.0, 50_400.0, 72_000.0, 86_400.0)
"""Before each further try, as the specification proposes; then a message is given up."""
AT_ONCE = 8  # messages, of different webhooks
DISABLE_SECONDS = 5 * 86_400.0  # in which nothing has arrived at a webhook: it is disabled
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
        while not self._stop.is_set() and (attempts := self._take()):
            # One at a time to each webhook, so that a slow one keeps no other waiting for long.
            with ThreadPoolExecutor(len(attempts), thread_name_prefix="webhook") as threads:
                list(threads.map(self._try, attempts))
            sent += len(attempts)
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
            found = outbox.has_news(session)
        if time.monotonic() - self._cleared > 3600:
            self._cleared = time.monotonic()
            with self._database.writing() as session:
                outbox.forget_old(session)
        return found

    def _take(self) -> list[Attempt]:
        with self._database.writing() as session:
            outbox.sweeps_ended(session)
            return [
                Attempt(
                    id=delivery.id,
                    webhook_id=webhook.id,
                    url=webhook.url,
                    secret=webhook.secret,
                    body=delivery.body,
                    tries=delivery.tries,
                )
                for delivery, webhook in outbox.take(session, AT_ONCE, seconds=LEASE_SECONDS)
            ]

    def _try(self, attempt: Attempt) -> None:
        try:
            status, error = self._post(attempt)
        except Exception as unexpected:  # the others are sent all the same
            log.exception("the message %s could not be sent", attempt.id)
            status, error = None, f"it could not be sent: {type(unexpected).__name__}"
        gives_up = status == GONE or attempt.tries > len(PAUSES)
        with self._database.writing() as session:
            outbox.tried(
                session,
                attempt.id,
                attempt.tries,
                status=status,
                error=error[:500],
                again_in=None if gives_up else PAUSES[attempt.tries - 1],
                disable_seconds=DISABLE_SECONDS,
                is_gone=status == GONE,
            )
        if error:
            log.warning("the message %s did not arrive: %s", attempt.id, error)

    def _post(self, attempt: Attempt) -> tuple[int | None, str]:
        """Status of the answer, None without one, and what went wrong; empty: it has arrived."""
        try:
            addresses = resolve(attempt.url, private=self._settings.webhooks_private)
            status = self._send(attempt, addresses)
        except RefusedAddressError as error:
            return None, str(error)
        except httpcore.TimeoutException:
            return None, f"there was no answer within {ANSWER_SECONDS:g} s"
        except (httpcore.NetworkError, httpcore.ProtocolError, OSError) as error:
            return None, f"{type(error).__name__}: {error}"
        if 200 <= status < 300:
            return status, ""
        if 300 <= status < 400:
            return status, f"it answered {status}; redirects are not followed"
        return status, f"it answered {status}"

    def _send(self, attempt: Attempt, addresses: Sequence[str]) -> int:
        at = datetime.now(UTC)
        headers = {
            "host": urlsplit(attempt.url).netloc,
            "connection": "close",
            "content-type": "application/json",
            "user-agent": "saf-webhooks",
            "webhook-id": attempt.id,
            "webhook-timestamp": str(int(at.timestamp())),
            "webhook-signature": Signature(attempt.secret).sign(attempt.id, at, attempt.body),
        }
        content = attempt.body.encode()
        return post(
            attempt.url, addresses, content=content, headers=headers, seconds=ANSWER_SECONDS
        )
