"""Reports of a training that the database does not have yet, in order.

Beyond a few megabytes they wait in a file; the log is bounded. One thread, which reads the training
process's pipe, puts reports in; the supervisor takes them out in batches of one transaction each.
"""

from __future__ import annotations

import codecs
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from contextvars import copy_context
from dataclasses import dataclass, field
from pathlib import Path

from saf.printable import LineCleaner
from saf.training.events import (
    Artifact,
    Checking,
    Checkpoint,
    Converting,
    Epoch,
    Evaluation,
    Finished,
    Report,
    SpikeStatistics,
    Started,
    Step,
)
from worker.processes.protocol import Failure, Logged, decode

MEMORY_BYTES = 4 * 2**20
BATCH_REPORTS = 2000
BATCH_LOG_CHARACTERS = 2**20
LOG_CHARACTERS = 5 * 2**20  # of one attempt
TAIL_CHARACTERS = 2000
DROPPED = "\n[the log of this attempt is longer; what follows was left out]\n"
log = logging.getLogger(__name__)
of_trainings = logging.getLogger("worker.processes.child")


@dataclass(kw_only=True)
class Batch:
    """Reports in order, to be written in one transaction."""

    started: Started | None = None
    points: dict[str, list[tuple[int, float]]] = field(default_factory=dict)
    step: int | None = None
    epoch: float = 0.0
    latest: dict[str, float] = field(default_factory=dict)
    spike_statistics: list[SpikeStatistics] = field(default_factory=list)
    best_accuracy: float | None = None
    log: str = ""
    checkpoint: Checkpoint | None = None
    converting: bool = False
    checking: Checking | None = None  # the newest
    tried: bool = False  # a commit of it failed, and nobody knows whether it was done

    def is_empty(self) -> bool:
        """Whether there is nothing to write."""
        return not (
            self.started
            or self.points
            or self.spike_statistics
            or self.log
            or self.checkpoint
            or self.converting
            or self.checking
        )

    def add(
        self,
        report: Started
        | Step
        | Epoch
        | Evaluation
        | SpikeStatistics
        | Checkpoint
        | Converting
        | Checking,
    ) -> None:
        """Append a report."""
        match report:
            case Started():
                self.started = report
            case Checkpoint():
                self.checkpoint = report
            case Converting():
                self.converting = True
            case Checking():
                self.checking = report
            case SpikeStatistics():
                self.spike_statistics.append(report)
            case Step() | Epoch() | Evaluation():
                for name, value in report.metrics.items():
                    self.points.setdefault(name, []).append((report.step, float(value)))
                self.latest |= report.metrics
                self.step, self.epoch = report.step, float(report.epoch)
                if isinstance(report, Evaluation) and report.best_accuracy is not None:
                    self.best_accuracy = report.best_accuracy


class Outbox:
    """Holds reports until they are taken out."""

    def __init__(
        self, spool: Path, *, saw: Callable[[Report], None] = lambda _report: None
    ) -> None:
        """`spool` is the file for what memory should not hold; `saw` learns of each report, also
        when there is no room for it yet."""
        self._saw = saw
        self.finished: Finished | None = None
        self.failure: Failure | None = None
        self.artifacts: list[Artifact] = []
        self.training_since: float | None = None  # by time.monotonic(), until it converts
        self._lock = threading.Lock()
        self._is_closed = False
        self._lines: deque[bytes] = deque()
        self._bytes = 0
        self._spool = spool
        self._spooled_to = 0
        self._spooled_from = 0
        self._checkpoints: deque[Path] = deque()
        self._log = ""
        self._log_characters = 0
        self._tail = ""
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._cleaner = LineCleaner()
        self._context = copy_context()  # with the ids of the attempt, for the worker's log

    def put(self, line: bytes) -> None:
        """Add one report, a line as it came. Raises OSError when there is no room for it."""
        try:
            report = decode(line)
        except ValueError as error:
            log.warning("%s", error)
            return
        if isinstance(report, Logged):
            source = {"source": report.logger}
            self._context.run(of_trainings.log, report.level, "%s", report.text, extra=source)
            return
        if not isinstance(report, Failure):
            self._saw(report)
        with self._lock:
            if self._is_closed:
                return
            match report:
                case Finished():
                    self.finished = report
                case Failure():
                    self.failure = report
                case Artifact():
                    self.artifacts.append(report)
                case _:
                    self._keep(line)  # first: it is tried again when there was no room for it
                    if isinstance(report, Checkpoint):
                        self._supersede(report.path)
                    elif isinstance(report, Started):
                        self.training_since = time.monotonic()
                    elif isinstance(report, Converting):
                        self.training_since = None

    def close(self) -> None:
        """Take no further report: after a lost one, none may count."""
        with self._lock:
            self._is_closed = True

    def put_log(self, text: bytes) -> None:
        """Add output of the process."""
        with self._lock:
            decoded = self._cleaner.clean(self._decoder.decode(text))
            self._tail = (self._tail + decoded)[-TAIL_CHARACTERS:]
            room = LOG_CHARACTERS - self._log_characters
            if room <= 0:
                return
            if len(decoded) >= room:
                decoded = decoded[:room] + DROPPED
            self._log += decoded
            self._log_characters += len(decoded)

    @property
    def log_tail(self) -> str:
        """Last lines that the process printed."""
        return self._tail

    def take(self) -> Batch:
        """The next batch, which ends at a checkpoint at the latest; empty when nothing waits."""
        batch = Batch()
        with self._lock:
            batch.log = self._log[:BATCH_LOG_CHARACTERS]
            self._log = self._log[BATCH_LOG_CHARACTERS:]
            for _ in range(BATCH_REPORTS):
                if not self._lines:
                    self._refill()
                if not self._lines:
                    break
                line = self._lines.popleft()
                self._bytes -= len(line)
                report = decode(line)
                assert not isinstance(report, Artifact | Finished | Failure | Logged)
                batch.add(report)
                if isinstance(report, Checkpoint):
                    if report.path in self._checkpoints:
                        self._checkpoints.remove(report.path)
                    break
        return batch

    def has_more(self) -> bool:
        """Whether anything waits."""
        with self._lock:
            return bool(self._lines or self._log or self._spooled_from != self._spooled_to)

    def waiting_bytes(self) -> int:
        """Number of bytes that wait, in memory and in the file."""
        with self._lock:
            return self._bytes + self._spooled_to - self._spooled_from + len(self._log)

    def is_complete(self) -> bool:
        """Whether the training has reported its end."""
        return self.finished is not None or self.failure is not None

    def _supersede(self, path: Path) -> None:
        """Delete all but the newest two checkpoints that wait, to save disk space."""
        self._checkpoints.append(path)
        while len(self._checkpoints) > 2:
            self._checkpoints.popleft().unlink(missing_ok=True)

    def _keep(self, line: bytes) -> None:
        if self._spooled_from == self._spooled_to and self._bytes < MEMORY_BYTES:
            self._lines.append(line)
            self._bytes += len(line)
            return
        with self._spool.open("ab") as file:
            file.truncate(self._spooled_to)  # drops what a full disk left half-written
            file.write(line + b"\n")
        self._spooled_to += len(line) + 1

    def _refill(self) -> None:
        if self._spooled_from == self._spooled_to:
            return
        with self._spool.open("rb") as file:
            file.seek(self._spooled_from)
            # Not beyond what was kept: a full disk leaves half a line there.
            while self._spooled_from < self._spooled_to and self._bytes < MEMORY_BYTES:
                line = file.readline()
                self._spooled_from += len(line)
                self._lines.append(line.rstrip(b"\n"))
                self._bytes += len(self._lines[-1])
        if self._spooled_from == self._spooled_to:
            self._spool.unlink()
            self._spooled_from = self._spooled_to = 0
