"""Sends the messages of the outbox, and tries again with growing pauses.

One thread of the API looks what is due and writes what came of it; a pool of others, as many as
there are at most, waits for receivers.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter, deque
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import urlsplit

import httpcore
from sqlalchemy.exc import InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from standardwebhooks import Webhook as Signature

from api.settings import Settings
from api.store.database import Database, why_away
from api.store.webhooks import deliveries, outbox
from api.store.webhooks.tables import Delivery, Webhook
from api.webhooks.addresses import RefusedAddressError, resolve
from api.webhooks.connection import post
from api.webhooks.mail import smtp
from api.webhooks.mail.addresses import box, is_mail
from api.webhooks.mail.message import compose

LOOK_SECONDS = 2.0
ANSWER_SECONDS = 15.0
PAUSES = (5.0, 300.0, 1800.0, 7200.0, 18_000.0, 36_000.0, 50_400.0, 72_000.0, 86_400.0)
"""Before each further try, as the specification proposes; then a message is given up."""
AT_ONCE = 24  # messages under way, of different webhooks
OF_ONE_USER = 4  # of those: whoever has many webhooks that do not answer leaves room for others
MAILS_AT_ONCE = 4  # of them mails: a mail server that does not answer leaves room for webhooks
DISABLE_SECONDS = 5 * 86_400.0  # in which nothing has arrived at a webhook: it is disabled
LEASE_SECONDS = 60.0  # in which no other process sends a message that one has taken
GONE = 410
AWAY = (OperationalError, InterfaceError, PoolTimeoutError)  # a database that may come back
log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """A message that is about to be sent."""

    id: str
    webhook_id: str
    until: float
    """When others may send to the webhook again, by the clock of the database."""
    user: str
    url: str
    secret: str
    body: str
    tries: int


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of it; without an `error` it has arrived."""

    attempt: Attempt
    status: int | None
    error: str
    is_final: bool = False
    """Refused for good: it is not tried again."""


class Sender:
    """The threads; several processes share the outbox."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._settings = settings
        self._stop = threading.Event()
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._run, name="webhooks", daemon=True)
        self._pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="webhook")
        self._under_way: dict[Future[None], Attempt] = {}
        self._outcomes: deque[Outcome] = deque()
        self._cleared = time.monotonic()

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End the threads; a message under way may come twice, with the same id."""
        self._stop.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(ANSWER_SECONDS + 5)
        self._pool.shutdown(wait=False)

    def _run(self) -> None:
        failing = False
        while not self._stop.is_set():
            self._wake.wait(LOOK_SECONDS)
            self._wake.clear()
            try:
                self._look()
                failing = False
            except SQLAlchemyError as error:
                if not failing:
                    log.warning("webhooks wait for the database: %s", why_away(error))
                failing = True
                self._stop.wait(LOOK_SECONDS)  # however many end in between
            except Exception:
                log.exception("a webhook could not be sent; the next look tries again")
                self._stop.wait(LOOK_SECONDS)
        wait(self._under_way, ANSWER_SECONDS)
        try:
            self._write_outcomes()
        except SQLAlchemyError as error:
            log.warning("messages under way come twice: %s", why_away(error))

    def _look(self) -> None:
        self._write_outcomes()
        for ended in [future for future in self._under_way if future.done()]:
            del self._under_way[ended]
        if not self._stop.is_set() and self._is_any_due():
            for attempt in self._take():
                self._under_way[self._pool.submit(self._try, attempt)] = attempt

    def _is_any_due(self) -> bool:
        with self._database.reading() as session:
            found = deliveries.has_news(session)
        if time.monotonic() - self._cleared > 3600:
            self._cleared = time.monotonic()
            with self._database.writing() as session:
                deliveries.forget_old(session)
        return found

    def _take(self) -> list[Attempt]:
        # Also those of webhooks that were removed since, of which the database knows nothing.
        under_way = list(self._under_way.values())
        waiting = Counter(attempt.user for attempt in under_way)
        room = AT_ONCE - len(under_way)
        mails = sum(is_mail(attempt.url) for attempt in under_way)
        with self._database.writing() as session:
            outbox.sweeps_ended(session)

            def take(most: int, *, mail: bool) -> list[tuple[Delivery, Webhook]]:
                return deliveries.take(
                    session,
                    most,
                    seconds=LEASE_SECONDS,
                    of_one_user=OF_ONE_USER,
                    but_of=[user for user, number in waiting.items() if number >= OF_ONE_USER],
                    mail=mail,
                )

            taken = take(min(room, MAILS_AT_ONCE - mails), mail=True)
            taken += take(room - len(taken), mail=False)
            return [
                Attempt(
                    id=delivery.id,
                    webhook_id=webhook.id,
                    until=webhook.sending_until or 0.0,
                    user=webhook.owner_id or "",
                    url=webhook.url,
                    secret=webhook.secret,
                    body=delivery.body,
                    tries=delivery.tries,
                )
                for delivery, webhook in taken
            ]

    def _try(self, attempt: Attempt) -> None:
        try:
            outcome = self._mail(attempt) if is_mail(attempt.url) else self._post(attempt)
        except Exception as unexpected:  # the others are sent all the same
            log.exception("the message %s could not be sent", attempt.id)
            told = f"it could not be sent: {type(unexpected).__name__}"
            outcome = Outcome(attempt=attempt, status=None, error=told)
        if outcome.error:
            log.warning("the message %s did not arrive: %s", attempt.id, outcome.error)
        self._outcomes.append(outcome)
        self._wake.set()

    def _write_outcomes(self) -> None:
        """Write what came of tries that ended; while the database is away, it is kept."""
        while self._outcomes:
            outcome = self._outcomes.popleft()
            try:
                self._write(outcome)
            except AWAY:
                self._outcomes.appendleft(outcome)
                raise

    def _write(self, outcome: Outcome) -> None:
        attempt = outcome.attempt
        is_gone = outcome.status == GONE and not is_mail(attempt.url)
        gives_up = is_gone or outcome.is_final or attempt.tries > len(PAUSES)
        with self._database.writing() as session:
            deliveries.tried(
                session,
                (attempt.id, attempt.tries),
                (attempt.webhook_id, attempt.until),
                status=outcome.status,
                error=outcome.error[:500],
                again_in=None if gives_up else PAUSES[attempt.tries - 1],
                disable_seconds=DISABLE_SECONDS,
                is_gone=is_gone,
            )

    def _mail(self, attempt: Attempt) -> Outcome:
        mail = compose(
            self._settings,
            id_=attempt.id,
            webhook_id=attempt.webhook_id,
            secret=attempt.secret,
            url=attempt.url,
            body=attempt.body,
        )
        status, error, is_final = smtp.send(self._settings, mail, box(attempt.url))
        return Outcome(attempt=attempt, status=status, error=error, is_final=is_final)

    def _post(self, attempt: Attempt) -> Outcome:
        status, error = self._answer(attempt)
        return Outcome(attempt=attempt, status=status, error=error)

    def _answer(self, attempt: Attempt) -> tuple[int | None, str]:
        """Status of the answer, None without one, and what went wrong; empty: it has arrived."""
        ends = time.monotonic() + ANSWER_SECONDS
        try:
            addresses = resolve(attempt.url, private=self._settings.webhooks_private)
            status = post(
                attempt.url,
                addresses,
                content=attempt.body.encode(),
                headers=_headers(attempt),
                seconds=ends - time.monotonic(),
            )
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


def _headers(attempt: Attempt) -> dict[str, str]:
    at = datetime.now(UTC)
    return {
        "host": urlsplit(attempt.url).netloc,
        "connection": "close",
        "content-type": "application/json",
        "user-agent": "saf-webhooks",
        "webhook-id": attempt.id,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": Signature(attempt.secret).sign(attempt.id, at, attempt.body),
    }
