"""One attempt of one job: its process is started, watched, obeyed and written down.

Beside the training process there are three parties: this thread, which writes to the database;
the readers of `process.py`, which take what the process says; and `Lease`, which renews the lease
and learns what is asked. So neither a slow database nor a large file keeps a training, a lease or
a cancellation waiting.
"""

from __future__ import annotations

import logging
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session

from api.settings import Settings
from api.store.blobs.base import ArtifactStore
from api.store.database import Database
from api.store.jobs import leases, lifecycle, progress
from api.store.jobs.leases import Claim, Fenced
from api.store.tables.jobs import Status
from api.telemetry.log import TRACEPARENT, bound
from api.telemetry.tracing import Tracing
from saf.errors import DataError, TrainingError
from worker.attempts import outcome
from worker.attempts import watchdog as watchdogs
from worker.attempts.attempt import Attempt, LeftToTheLease
from worker.attempts.inputs import InputChangedError, Inputs
from worker.attempts.lease import silence_seconds
from worker.attempts.preparation import Preparation
from worker.attempts.recorder import Record
from worker.attempts.watchdog import Stall, Watchdog
from worker.backoff import DATABASE_AWAY, Backoff
from worker.devices import Slot
from worker.processes import disk
from worker.processes.process import TrainingProcess
from worker.processes.protocol import Failure, Order
from worker.processes.reserve import Reserve
from worker.processes.scratch import Scratch
from worker.processes.spool import Outbox

BATCH_SECONDS = 0.5
LOOK_SECONDS = 0.1
log = logging.getLogger(__name__)


class Supervisor:
    """Runs claimed jobs to their end, one after another, in one slot."""

    def __init__(
        self,
        *,
        database: Database,
        store: ArtifactStore,
        settings: Settings,
        scratch: Scratch,
        slot: Slot,
        reserve: Reserve,
        closing: threading.Event,
        tracing: Tracing | None = None,
    ) -> None:
        """`closing` is set when the worker shuts down; `reserve` has the slot's processes."""
        self._database = database
        self._store = store
        self._settings = settings
        self._scratch = scratch
        self._slot = slot
        self._closing = closing
        self._reserve = reserve
        self._tracing = tracing or Tracing()
        self.stalls = 0
        """Trainings that were ended because they made no progress."""
        self.outbox: Outbox | None = None
        """What the attempt under way reported."""

    def run(self, claim: Claim) -> None:
        """Supervise the attempt until its process is gone and its end is written down."""
        of_attempt = self._tracing.attempt(
            job_id=claim.job_id,
            attempt=claim.attempt,
            origin=claim.origin,
            device=self._slot.label,
        )
        with of_attempt as traceparent, bound(**_ids(claim, traceparent)):
            self._run(Attempt(claim, self._database, self._settings, self._closing))

    def _run(self, attempt: Attempt) -> None:
        claim = attempt.claim
        try:
            attempt.lease.start()
            with self._scratch.attempt(claim.job_id, claim.attempt) as directory:
                self._supervise(attempt, directory)
        except (Fenced, LeftToTheLease) as end:
            attempt.log_end(end)
        except Exception as error:
            # Whatever goes wrong here, the job has to end or to be taken up again.
            log.exception("attempt %d of %s", claim.attempt, claim.job_id)
            self._fail(attempt, outcome.of_the_worker(error))
        finally:
            attempt.lease.stop()

    def _supervise(self, attempt: Attempt, directory: Path) -> None:
        claim = attempt.claim
        with closing(Inputs(self._store)) as inputs:
            preparation = Preparation(
                self._database,
                self._store,
                claim,
                directory,
                inputs,
                is_unwanted=lambda: attempt.is_unwanted,
            )
            silence = silence_seconds(self._settings)
            try:
                order = attempt.insist(
                    lambda: preparation.order(device=self._slot.device, silence_seconds=silence)
                )
            except TrainingError as error:
                self._fail(attempt, outcome.of_training(error))
            except InterruptedError:  # somebody asked it to stop while its files were fetched
                attempt.hand_back()
            else:
                self._train(attempt, order, directory, inputs, preparation.notes)

    def _train(
        self, attempt: Attempt, order: Order, directory: Path, inputs: Inputs, notes: list[str]
    ) -> None:
        watchdog = Watchdog(self._settings, losses=attempt.claim.losses)
        self.outbox = outbox = Outbox(directory / "outbox", saw=watchdog.saw)
        record = Record(
            self._database, self._store, attempt.claim, outbox, inputs.check, notes=notes
        )
        process = self._reserve.begin(order, directory, outbox)
        try:
            attempt.lease.attend(process)
            failure = self._watch(attempt, process, outbox, record, inputs, watchdog)
            process.end()
            attempt.insist(inputs.check)
            self._conclude(attempt, process, outbox, record, failure)
        except (DataError, InputChangedError) as error:  # nothing of what came after is kept
            process.end()
            self._fail(attempt, outcome.of_inputs(error))
        finally:
            process.end()
            attempt.lease.attend(None)
            record.close()
            self.outbox = None

    def _watch(
        self,
        attempt: Attempt,
        process: TrainingProcess,
        outbox: Outbox,
        record: Record,
        inputs: Inputs,
        watchdog: Watchdog,
    ) -> Failure | None:
        """Write and obey until the process has ended; why it was ended, where that was not asked
        for."""
        lease = attempt.lease
        grace = self._settings.stop_grace_seconds
        limit = attempt.claim.specification.get("max_runtime_seconds")
        backoff = Backoff()
        write_at = 0.0
        stuck = False
        while not process.has_ended() and not outbox.is_complete():
            lease.changed.wait(LOOK_SECONDS)
            lease.changed.clear()
            if lease.fenced:
                raise Fenced
            if attempt.is_to_stop:
                process.stop(
                    0 if attempt.is_cancelled else grace, hurry=lambda: attempt.is_in_a_hurry
                )
                return None
            if _overruns(outbox.training_since, limit, grace):
                process.stop(0, hurry=lambda: True)
                return outcome.out_of_time(attempt.claim)
            if (stall := watchdog.look()) is not None:
                return self._end_stalled(attempt, process, stall)
            if time.monotonic() >= write_at:
                write_at = time.monotonic() + BATCH_SECONDS
                try:
                    inputs.check()
                    while record.write() and outbox.has_more() and not lease.changed.is_set():
                        pass
                    backoff.reset()
                    stuck = False
                except DATABASE_AWAY:
                    write_at = time.monotonic() + backoff.wait_seconds()
                except OSError as error:
                    if not disk.may_pass(error):
                        raise
                    if not stuck:
                        attempt.tell(error)
                    stuck = True
                    write_at = time.monotonic() + backoff.wait_seconds()
        process.wait(grace)  # after its last word it has little left to do
        return None

    def _end_stalled(self, attempt: Attempt, process: TrainingProcess, stall: Stall) -> Failure:
        """Write down what was found, ask for a checkpoint, and end the group."""
        self.stalls += 1
        state = watchdogs.state_of(process.pid)
        log.warning("%s: %s; %s", attempt.claim.job_id, stall, state)
        attempt.note("stalled", text=f"{stall}; {state}", state=state, **vars(stall))
        process.go_on()  # whoever stopped it: it can write a checkpoint only when it runs
        watchdogs.ask_for_traceback(process.pid)
        process.stop(self._settings.stop_grace_seconds, hurry=lambda: attempt.is_in_a_hurry)
        return outcome.stalled(stall, state)

    def _conclude(
        self,
        attempt: Attempt,
        process: TrainingProcess,
        outbox: Outbox,
        record: Record,
        failure: Failure | None,
    ) -> None:
        """Write what is left and how it ended. The process group is gone."""
        claim = attempt.claim
        if attempt.lease.fenced:
            raise Fenced
        if (finished := outbox.finished) is not None:

            def end(session: Session) -> None:
                record.succeed(session, finished)

            def finish() -> None:
                record.receive_artifacts()
                record.finish(end)

            self._tracing.ended("succeeded", is_error=False)
            return attempt.insist(finish)
        failure = failure or outbox.failure
        asked = attempt.is_to_stop
        reason = outcome.in_words(process.exit_status)
        if not asked and failure is None and process.was_killed_for_memory():
            failure = outcome.killed_for_memory(claim)
        without_failure = "stopped" if asked else "process_ended"
        self._tracing.ended(failure.code if failure else without_failure, is_error=not asked)

        def stop(session: Session) -> None:
            # Under the row's lock: a request that came in just now counts.
            cancelled = leases.asked(session, claim) is Status.cancelling
            if failure is not None and not cancelled:
                outcome.write(session, claim, failure, self._settings)
            elif asked or cancelled:
                lifecycle.stopped(session, claim)
            else:
                progress.noted(
                    session, claim, "process_ended", reason=reason, log_tail=outbox.log_tail
                )
                lifecycle.lost(
                    session,
                    claim,
                    reason=reason,
                    max_losses=self._settings.max_losses,
                    retry_seconds=self._settings.retry_seconds,
                )

        return attempt.insist(lambda: record.finish(stop))

    def _fail(self, attempt: Attempt, failure: Failure) -> None:
        self._tracing.ended(failure.code, is_error=True)
        attempt.fail(failure)


def _ids(claim: Claim, traceparent: str | None) -> dict[str, Any]:
    of_attempt = {TRACEPARENT: traceparent} if traceparent is not None else {}
    return {**claim.origin, **of_attempt, "job_id": claim.job_id, "attempt": claim.attempt}


def _overruns(since: float | None, limit: float | None, grace: float) -> bool:
    """The training keeps its limit itself, over all attempts; this ends an attempt that hangs."""
    return since is not None and limit is not None and time.monotonic() > since + limit + grace
