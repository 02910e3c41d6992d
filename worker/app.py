"""The Celery application of a worker: it receives wake-ups, `Runner` does the work.

Start it by `python -m worker`, or `celery -A worker.app worker --pool=threads --concurrency=N`. The
pool is threads: a thread only supervises, so one process without forks serves all slots.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import warnings
from functools import lru_cache
from typing import Any

from celery import signals
from celery.exceptions import CPendingDeprecationWarning
from celery.platforms import SecurityWarning
from celery.worker import state

from api.broker.wakeups import QUEUE, TASK, WakeUps, celery_app, check_address
from api.settings import settings
from api.store.private import keep_private
from api.telemetry.log import configure
from worker.runner import Runner

LOOK_SECONDS = 0.5
log = logging.getLogger(__name__)
app = celery_app(settings())


@lru_cache
def wakeups() -> WakeUps:
    """Sends wake-ups to all workers."""
    return WakeUps(app)


@lru_cache
def runner() -> Runner:
    """The runner of this process. Raises OSError, ValueError."""
    return Runner(settings(), wakeups().send, leave=leave)


def leave() -> None:
    """End this process as SIGTERM does; callable from any thread."""
    os.kill(os.getpid(), signal.SIGTERM)


@app.task(name=TASK)  # type: ignore[untyped-decorator]
def train(_job_id: str) -> None:
    """Wake-up: claim queued jobs until none is left."""
    runner().work()


@signals.worker_ready.connect  # type: ignore[untyped-decorator]
def _on_ready(sender: Any, **_: Any) -> None:
    try:
        runner().start()
    except Exception:  # Celery would go on with a worker that nobody sees
        log.exception("the worker cannot start")
        leave()
        return
    if sender.hub is not None:
        # With all slots busy Celery does not read from the broker and sleeps; the end of a
        # thread does not wake it, so it looks up at this interval.
        sender.hub.call_repeatedly(LOOK_SECONDS, lambda: None)


@signals.worker_shutting_down.connect  # type: ignore[untyped-decorator]
def _on_shutting_down(**_: Any) -> None:
    # Comes with the signal, before Celery waits for the threads.
    runner().close()


@signals.worker_shutdown.connect  # type: ignore[untyped-decorator]
def _on_shutdown(**_: Any) -> None:
    runner().stop()


def main() -> int:
    """Run a worker in this process until SIGTERM or SIGINT. Returns the exit status."""
    configure("worker", settings().log_format, level=logging.INFO, secrets=settings().secrets)
    # Celery warns a superuser of messages that carry code; these carry JSON only.
    warnings.simplefilter("ignore", SecurityWarning)
    # And, when a connection was lost, of a default that api.broker.wakeups sets anyway.
    warnings.simplefilter("ignore", CPendingDeprecationWarning)
    keep_private(settings())
    if not settings().broker_url:
        print("BROKER_URL is not set; `saf serve` brings a broker of its own", file=sys.stderr)
        return 2
    try:
        check_address(settings().broker_url)
        slots = runner().slots
        runner().check_database()
    except (OSError, ValueError) as error:
        print(f"the worker cannot start: {error}", file=sys.stderr)
        return 2
    for slot in slots:
        log.info("slot %d: %s", slot.number, slot.label)
    worker = app.Worker(
        pool="threads",
        concurrency=len(slots),
        queues=[QUEUE],
        loglevel="INFO",
        quiet=True,
        redirect_stdouts=False,
        without_gossip=True,
        without_mingle=True,
        without_heartbeat=True,
    )
    # Celery's own handlers make a second Ctrl-C cancel tasks, which threads cannot be.
    worker.install_platform_tweaks = _handle_signals
    worker.start()
    runner().stop()
    wakeups().close()
    return int(worker.exitcode or 0)


def _handle_signals(_worker: Any) -> None:
    def leave(_number: int, _frame: Any) -> None:
        runner().close()
        state.should_stop = 0

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
        signal.signal(number, leave)
