"""What the clients know for sure, and what the run has found wrong so far."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True, order=True)
class Violation:
    """A sentence of the promise that did not hold."""

    kind: str
    subject: str  # a job, a file, a process
    detail: str


@dataclass(kw_only=True)
class Memory:
    """Shared by the clients, which are threads, and by the checker."""

    accepted: dict[str, str] = field(default_factory=dict)  # idempotency key → job
    retries: dict[str, str] = field(default_factory=dict)  # job → the job it is a retry of
    cancels: set[str] = field(default_factory=set)  # jobs that a client asked to cancel
    deleted: set[str] = field(default_factory=set)
    asked_to_delete: set[str] = field(default_factory=set)
    damaged: set[str] = field(default_factory=set)  # files that the suite damaged itself
    damaged_datasets: set[str] = field(default_factory=set)  # names, for a while
    hung: set[tuple[str, int]] = field(default_factory=set)  # job and attempt; left alone by people
    disk_was_full: bool = False
    cut_off: set[str] = field(default_factory=set)  # jobs whose worker alone lost the database
    workers_could_vanish: bool = False  # something was broken that a worker may not outlive
    requests: Counter[str] = field(default_factory=Counter)
    answers: Counter[int] = field(default_factory=Counter)
    unanswered: int = 0
    violations: list[Violation] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def violated(self, kind: str, subject: str, detail: str) -> None:
        """Remember that something is wrong."""
        with self.lock:
            self.violations.append(Violation(kind=kind, subject=subject, detail=detail))

    def jobs(self) -> set[str]:
        """All jobs that a client was told of."""
        with self.lock:
            return set(self.accepted.values()) | set(self.retries)
