"""A warm training process: started ahead of its order, so that a job begins at once.

Importing torch takes seconds of processor time, which a short job would wait for. So each slot
keeps one process that has imported it and waits. A process is used once; when it gets its order,
the next one is started.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from worker.backoff import Backoff
from worker.processes.process import TrainingProcess, environment
from worker.processes.protocol import Order
from worker.processes.spool import Outbox

LOOK_SECONDS = 2.0  # between two looks whether the process that waits still lives
STEADY_SECONDS = 60.0  # one that waited for so long has not failed at its start
WAITING = "waiting"  # stands for the directory of an attempt in the environment
log = logging.getLogger(__name__)


class Reserve:
    """Starts the training processes of one slot, one of them ahead if it is told to."""

    def __init__(
        self,
        command: Sequence[str],
        slot: Mapping[str, str],
        directory: Path,
        *,
        ahead: bool,
    ) -> None:
        """`slot` is the slot's part of the environment, `directory` that of the worker, in which
        attempts have theirs."""
        self._command = command
        self._slot = slot
        self._directory = directory
        self._waiting: TrainingProcess | None = None
        self._lock = threading.Lock()
        self._look = threading.Event()
        self._closing = threading.Event()
        self._stopped = threading.Event()
        # The processes die with the thread that started them, so it ends after all of them.
        self._thread = (
            threading.Thread(target=self._keep, name="reserve", daemon=True) if ahead else None
        )

    def start(self) -> None:
        """Begin to keep a process waiting."""
        if self._thread is not None:
            self._thread.start()

    def begin(self, order: Order, directory: Path, outbox: Outbox) -> TrainingProcess:
        """A process that carries out `order`: the one that waits, else one that is started by this
        thread, which then has to stay until its end. Raises OSError."""
        while (process := self._take()) is not None:
            try:
                return _begun(process, order, directory, outbox)
            except BrokenPipeError:
                log.warning("the training process in reserve had ended (%s)", process.exit_status)
        process = TrainingProcess(self._command, environment(os.environ, self._slot, directory))
        return _begun(process, order, directory, outbox)

    @property
    def waiting_pid(self) -> int | None:
        """Process id of the process that waits for an order."""
        with self._lock:
            return None if self._waiting is None else self._waiting.pid

    def close(self) -> None:
        """End the process that waits, and start no other. Never blocks."""
        self._closing.set()
        self._look.set()

    def stop(self) -> None:
        """The same, waiting for its end. Processes with an order must have ended before."""
        self.close()
        self._stopped.set()
        if self._thread is not None and self._thread.is_alive():
            self._thread.join()

    def _take(self) -> TrainingProcess | None:
        with self._lock:
            process, self._waiting = self._waiting, None
        self._look.set()
        return process

    def _keep(self) -> None:
        backoff = Backoff(first=1.0, limit=600.0)
        started = 0.0
        due = 0.0
        while not self._closing.is_set():
            try:
                if self._has_ended():
                    if time.monotonic() - started > STEADY_SECONDS:
                        backoff.reset()
                    due = time.monotonic() + backoff.wait_seconds()
                if self.waiting_pid is None and time.monotonic() >= due:
                    started = time.monotonic()
                    self._start()
            except Exception as error:  # this thread must not end: its processes would
                log.warning("no training process can be kept in reserve: %s", error)
                due = time.monotonic() + backoff.wait_seconds()
            self._look.wait(LOOK_SECONDS)
            self._look.clear()
        if (process := self._take()) is not None:
            process.end()
        self._stopped.wait()

    def _start(self) -> None:
        process = TrainingProcess(
            self._command, environment(os.environ, self._slot, self._directory / WAITING)
        )
        with self._lock:
            self._waiting = process

    def _has_ended(self) -> bool:
        """Whether the process that waited has ended; it is then forgotten."""
        with self._lock:
            process = self._waiting
            if process is None or not process.has_ended():
                return False
            self._waiting = None
        process.end()
        log.warning("the training process in reserve ended (%s)", process.exit_status)
        return True


def _begun(
    process: TrainingProcess, order: Order, directory: Path, outbox: Outbox
) -> TrainingProcess:
    try:
        process.begin(order, directory, outbox)
    except BaseException:
        with contextlib.suppress(OSError):
            process.end()
        raise
    return process
