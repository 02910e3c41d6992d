"""Wake-ups: Celery messages on which workers claim queued jobs.

A message carries the id of a job, but the worker that receives it claims whichever job is first in
the queue. Losing, repeating or delaying a message changes nothing but latency, so messages are
acknowledged early, and one thread sends them outside the request. No task is imported here: the
worker knows the task by its name.
"""

from __future__ import annotations

import logging
import queue
import threading

from celery import Celery
from kombu.exceptions import OperationalError

from api.settings import Settings

TASK = "saf.train"
QUEUE = "saf"
SCHEMES = ("redis", "rediss", "redis+socket")
BACKLOG = 1000  # wake-ups that wait for a broker that does not answer; more are dropped
log = logging.getLogger(__name__)


def check_address(url: str) -> None:
    """Raise ValueError, without the password, for an address that no broker can have."""
    scheme, separator, _ = url.partition("://")
    if url and not (separator and scheme in SCHEMES):
        begins = f"begins with {scheme!r}" if separator else "is no address"
        raise ValueError(f"BROKER_URL {begins}; give redis://…, rediss://… or redis+socket://…")


def celery_app(settings: Settings) -> Celery:
    """The Celery application. docs/decisions/003-celery-options.md explains the options."""
    app = Celery("saf", broker=settings.broker_url, set_as_current=False)
    app.conf.update(
        task_default_queue=QUEUE,
        task_ignore_result=True,
        task_acks_late=False,
        worker_disable_prefetch=True,
        worker_prefetch_multiplier=1,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        worker_pool="threads",
        worker_hijack_root_logger=False,
        worker_enable_remote_control=False,
        worker_send_task_events=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_connection_timeout=5,
        broker_transport_options={
            "visibility_timeout": 3600,
            "socket_timeout": 5,
            "socket_connect_timeout": 5,
            "socket_keepalive": True,
            "health_check_interval": 25,
            "retry_on_timeout": True,
        },
        task_publish_retry_policy={
            "max_retries": 2,
            "interval_start": 0,
            "interval_step": 0.2,
            "interval_max": 0.2,
        },
    )
    return app


class WakeUps:
    """Sends wake-ups from a thread of its own, so that no request waits for the broker."""

    def __init__(self, app: Celery) -> None:
        self._app = app
        self._waiting: queue.Queue[str | None] = queue.Queue(maxsize=BACKLOG)
        self._thread = threading.Thread(target=self._run, name="wake-ups", daemon=True)
        self._thread.start()

    def send(self, job_id: str) -> None:
        """Send a wake-up soon. Never blocks or raises: the sweeper sends again what was lost."""
        try:
            self._waiting.put_nowait(job_id)
        except queue.Full:
            log.warning("the broker does not answer; the wake-up for %s is left out", job_id)

    def close(self) -> None:
        """Send the wake-ups that wait, for two seconds at most, and end the thread."""
        try:
            self._waiting.put_nowait(None)
        except queue.Full:
            return
        self._thread.join(timeout=2)

    def _run(self) -> None:
        while (job_id := self._waiting.get()) is not None:
            try:
                self._app.send_task(TASK, args=(job_id,), queue=QUEUE)
            except (OperationalError, OSError) as error:
                log.warning("the wake-up for %s was not sent: %s", job_id, type(error).__name__)
            except Exception:  # the thread must go on: it sends all later wake-ups
                log.exception("the wake-up for %s was not sent", job_id)


def broker_answers(app: Celery) -> bool:
    """Whether the broker takes a connection within a few seconds."""
    try:
        with app.connection_for_write(transport_options={"socket_timeout": 2}) as connection:
            connection.ensure_connection(max_retries=1, interval_start=0, timeout=2)
    except (OperationalError, OSError):
        return False
    return True
