"""Writes what one attempt reports: a batch is one transaction, behind the attempt's fence.

A connection that is lost during a commit leaves open whether the commit was done. So a batch is
tried again, and every part of it can be written twice with the effect of once.
"""

from __future__ import annotations

import contextlib
import logging
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from api.store.blobs.base import ArtifactStore, Incoming, in_short
from api.store.database import Database
from api.store.jobs import leases, lifecycle, progress
from api.store.jobs.leases import Claim
from api.store.runs import artifacts, checkpoints, logs, metrics, spike_stats
from api.store.tables.jobs import Status
from saf.training.events import Finished
from worker.backoff import DATABASE_AWAY
from worker.processes.spool import Batch, Outbox

log = logging.getLogger(__name__)


class Record:
    """Takes batches out of an outbox and writes them."""

    def __init__(
        self,
        database: Database,
        store: ArtifactStore,
        claim: Claim,
        outbox: Outbox,
        check: Callable[[bool], None] = lambda _has_started: None,
        notes: Sequence[str] = (),
    ) -> None:
        """`check` is called before a batch is written, told whether the training said in it, or
        before, that it has read what it begins with. What it raises, `write` raises. `notes` are
        lines for the timeline, written when the training has started."""
        self._notes = notes
        self._database = database
        self._store = store
        self._claim = claim
        self._outbox = outbox
        self._check = check
        self._pending: Batch | None = None
        self._incoming: dict[Path, Incoming] = {}
        self._placed: set[str] = set()  # files that the transaction under way put into the store
        self._doubtful: set[str] = set()  # those of transactions that failed: perhaps without a row
        self._log_written = 0
        self._unused: set[str] = set()

    def write(self, end: Callable[[Session], None] | None = None) -> bool:
        """Write the next batch, and `end` in the same transaction; False when nothing waited.

        Raises Fenced, OSError, or one of DATABASE_AWAY; then the next call tries the same again.
        """
        batch = self._pending or self._outbox.take()
        if batch.is_empty() and end is None:
            return False
        self._pending = batch
        self._check(batch.started is not None)  # of what was reported, nothing is kept before
        if batch.checkpoint is not None:
            self._receive(batch.checkpoint.path)
        unused: list[str] = []
        self._placed = set()
        try:
            with self._database.writing() as session:
                leases.fence(session, self._claim)
                self._apply(session, batch, unused)
                if end is not None:
                    end(session)
        except BaseException as error:
            self._doubtful |= self._placed
            batch.tried |= isinstance(error, DATABASE_AWAY)
            raise
        self._pending = None
        self._log_written += len(batch.log)
        if batch.started is not None:
            self._notes = ()
        if batch.checkpoint is not None:
            self._forget(batch.checkpoint.path)
        self._unused.update(unused)
        self._remove_unused()
        return True

    def finish(self, end: Callable[[Session], None]) -> None:
        """Write all that waits, and `end` with the last of it. Raises as `write` does."""
        while True:
            if self._pending is None or self._pending.is_empty():
                self._pending = self._outbox.take()
            last = not self._outbox.has_more()
            self.write(end if last else None)
            if last:
                return

    def succeed(self, session: Session, finished: Finished) -> None:
        """The end of a training that finished: its files and its status."""
        for artifact in self._outbox.artifacts:
            sha256 = self._keep(session, artifact.path)
            artifacts.register(
                session,
                job_id=self._claim.job_id,
                name=artifact.name,
                kind=artifact.kind,
                sha256=sha256,
            )
        lifecycle.succeed(session, self._claim, summary=_plain(finished.summary))

    def receive_artifacts(self) -> None:
        """Copy the files of the job into the store, ahead of `succeed`. Raises OSError."""
        for artifact in self._outbox.artifacts:
            self._receive(artifact.path)

    def close(self) -> None:
        """Remove files that were not kept: copies, and what a failed transaction left without a
        row."""
        for path in list(self._incoming):
            self._forget(path)
        self._store.remove_unkept_of(self._database, self._doubtful)

    def _apply(self, session: Session, batch: Batch, unused: list[str]) -> None:
        claim = self._claim
        if batch.started is not None:
            if leases.asked(session, claim) is Status.starting:
                for text in self._notes:
                    progress.noted(session, claim, "note", text=text)
            metrics.cut(session, claim.job_id, after_step=batch.started.step)
            spike_stats.cut(session, claim.job_id, after_step=batch.started.step)
            unused += checkpoints.forget(session, claim, after_step=batch.started.step)
            lifecycle.running(
                session,
                claim,
                step=batch.started.step,
                steps_total=batch.started.steps_total,
                environment=batch.started.environment,
            )
        if batch.points:
            metrics.append(session, claim.job_id, claim.attempt, batch.points)
        if batch.spike_statistics:
            looks = [(look.step, _plain(vars(look))) for look in batch.spike_statistics]
            spike_stats.append(session, claim.job_id, claim.attempt, looks)
        if batch.step is not None:
            progress.trained(
                session,
                claim,
                step=batch.step,
                epoch=batch.epoch,
                latest={name: _number(value) for name, value in batch.latest.items()},
                best_accuracy=batch.best_accuracy,
            )
        if batch.log and not (batch.tried and self._log_is_there(session)):
            logs.append(session, claim.job_id, claim.attempt, batch.log)
        if batch.checkpoint is not None and batch.checkpoint.path in self._incoming:
            sha256 = self._keep(session, batch.checkpoint.path)
            unused += checkpoints.add(session, claim, step=batch.checkpoint.step, sha256=sha256)
        if batch.converting:
            lifecycle.converting(session, claim)
        if batch.checking is not None:
            progress.checked(session, claim, done=batch.checking.done, total=batch.checking.total)

    def _log_is_there(self, session: Session) -> bool:
        claim = self._claim
        return logs.length(session, claim.job_id, claim.attempt) > self._log_written

    def _receive(self, path: Path) -> None:
        known = self._incoming.get(path)
        if known is not None and known.copy.exists():
            return
        try:
            self._incoming[path] = self._store.receive(path)
        except FileNotFoundError:
            if path.exists():
                raise
            # A newer checkpoint made it superfluous while the database was away.
            self._incoming.pop(path, None)

    def _keep(self, session: Session, path: Path) -> str:
        incoming = self._incoming[path]
        self._placed.add(incoming.sha256)
        return self._store.keep(session, incoming)

    def _forget(self, path: Path) -> None:
        incoming = self._incoming.pop(path, None)
        if incoming is not None:
            self._store.discard(incoming)
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)

    def _remove_unused(self) -> None:
        """After the commit: a file must not go while a row may still point to it."""
        if not self._unused:
            return
        try:
            with self._database.writing() as session:
                self._store.remove_unused(session, self._unused)
        except (SQLAlchemyError, OSError) as error:
            log.warning("old checkpoints could not be removed: %s", in_short(error))
        else:
            self._unused.clear()


def _number(value: float) -> float | None:
    """JSON has no NaN and no infinity."""
    return value if math.isfinite(value) else None


def _plain(value: Any) -> Any:
    """The same with null for NaN and the infinities."""
    match value:
        case float():
            return _number(value)
        case dict():
            return {key: _plain(item) for key, item in value.items()}
        case list() | tuple():
            return [_plain(item) for item in value]
        case _:
            return value
