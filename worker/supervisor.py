"""One attempt of one job: its process is started, watched, obeyed and written down.

Beside the training process there are three parties: this thread, which writes to the database;
the readers of `process.py`, which take what the process says; and `Lease`, which renews the leases
and learns what is asked. So neither a slow database nor a large file keeps a training, a lease or
a cancellation waiting.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import select
from sqlalchemy.orm import Session

from api.brokerlease import BrokerLeases
from api.log import TRACEPARENT, bound, bound_ids
from api.settings import Settings
from api.store import leases, lifecycle
from api.store.artifacts import ArtifactStore
from api.store.checkpoints import INHERITED, ORIGIN
from api.store.database import Database
from api.store.leases import Claim, Fenced
from api.store.tables import Checkpoint, Dataset, Status
from api.store.verified import DamagedError
from api.tracing import Tracing
from saf.errors import DataError, TrainingError, UserConfigError
from worker import disk, ending
from worker import watchdog as watchdogs
from worker.backoff import DATABASE_AWAY, Backoff
from worker.devices import Slot
from worker.inputs import InputChangedError, Inputs
from worker.lease import Lease, silence_seconds
from worker.outbox import Outbox
from worker.process import TrainingProcess
from worker.protocol import Failure, Order
from worker.record import Record
from worker.reserve import Reserve
from worker.scratch import Scratch
from worker.watchdog import Stall, Watchdog

BATCH_SECONDS = 0.5
LOOK_SECONDS = 0.1
GIVE_UP_SECONDS = 5.0
T = TypeVar("T")
log = logging.getLogger(__name__)


class LeftToTheLease(Exception):  # noqa: N818  (a signal, not an error)
    """The worker ends while the database is away: the lease will run out."""


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
        leases: BrokerLeases | None = None,
        tracing: Tracing | None = None,
    ) -> None:
        """`closing` is set when the worker shuts down; `reserve` has the slot's processes."""
        self._database = database
        self._store = store
        self._settings = settings
        self._scratch = scratch
        self._slot = slot
        self._closing = closing
        self._leases = leases
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
            self._run(claim)

    def _run(self, claim: Claim) -> None:
        lease = Lease(self._database, claim, self._settings, self._leases)
        try:
            lease.start()
            with self._scratch.attempt(claim.job_id, claim.attempt) as directory:
                self._attempt(claim, lease, directory)
        except (Fenced, LeftToTheLease) as end:
            log.info("attempt %d of %s: %s", claim.attempt, claim.job_id, type(end).__name__)
        except Exception as error:
            # Whatever goes wrong here, the job has to end or to be taken up again.
            log.exception("attempt %d of %s", claim.attempt, claim.job_id)
            self._fail(claim, lease, ending.of_the_worker(error))
        finally:
            lease.stop()

    def _attempt(self, claim: Claim, lease: Lease, directory: Path) -> None:
        watchdog = Watchdog(self._settings, losses=claim.losses)
        self.outbox = outbox = Outbox(directory / "outbox", saw=watchdog.saw)
        with closing(Inputs(self._store)) as inputs:
            record = Record(self._database, self._store, claim, outbox, inputs.check)
            try:
                order = self._insist(
                    claim, lease, lambda: self._order(claim, lease, directory, record.notes, inputs)
                )
            except TrainingError as error:
                return self._fail(claim, lease, ending.of_training(error))
            except InterruptedError:  # somebody asked it to stop while its files were fetched
                return self._hand_back(claim, lease)
            process = self._reserve.begin(order, directory, outbox)
            try:
                lease.attend(process)
                failure = self._watch(claim, lease, process, outbox, record, inputs, watchdog)
                process.end()
                self._insist(claim, lease, inputs.check)
                self._conclude(claim, lease, process, outbox, record, failure)
            except (DataError, InputChangedError) as error:  # nothing of what came after is kept
                process.end()
                self._fail(claim, lease, ending.of_inputs(error))
            finally:
                process.end()
                lease.attend(None)
                record.close()
                self.outbox = None

    def _watch(
        self,
        claim: Claim,
        lease: Lease,
        process: TrainingProcess,
        outbox: Outbox,
        record: Record,
        inputs: Inputs,
        watchdog: Watchdog,
    ) -> Failure | None:
        """Write and obey until the process has ended; why it was ended, where that was not asked
        for."""
        grace = self._settings.stop_grace_seconds
        limit = claim.specification.get("max_runtime_seconds")
        backoff = Backoff()
        write_at = 0.0
        stuck = False
        while not process.has_ended() and not outbox.is_complete():
            lease.changed.wait(LOOK_SECONDS)
            lease.changed.clear()
            if lease.fenced:
                raise Fenced
            if lease.status is Status.cancelling:
                process.stop(0, hurry=lambda: True)
                return None
            if lease.status is Status.pausing or self._closing.is_set():
                process.stop(grace, hurry=lambda: lease.fenced or _is_cancelled(lease))
                return None
            if _overruns(outbox.training_since, limit, grace):
                process.stop(0, hurry=lambda: True)
                return ending.out_of_time(claim)
            if (stall := watchdog.look(excused=lease.stands_still)) is not None:
                return self._end_stalled(claim, lease, process, stall)
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
                        self._tell(claim, error)
                    stuck = True
                    write_at = time.monotonic() + backoff.wait_seconds()
        process.wait(grace)  # after its last word it has little left to do
        return None

    def _end_stalled(
        self, claim: Claim, lease: Lease, process: TrainingProcess, stall: Stall
    ) -> Failure:
        """Write down what was found, ask for a checkpoint, and end the group."""
        self.stalls += 1
        state = watchdogs.state_of(process.pid)
        log.warning("%s: %s; %s", claim.job_id, stall, state)
        self._note(claim, "stalled", text=f"{stall}; {state}", state=state, **vars(stall))
        process.go_on()  # whoever stopped it: it can write a checkpoint only when it runs
        watchdogs.ask_for_traceback(process.pid)
        process.stop(
            self._settings.stop_grace_seconds,
            hurry=lambda: lease.fenced or _is_cancelled(lease),
        )
        return ending.stalled(stall, state)

    def _conclude(
        self,
        claim: Claim,
        lease: Lease,
        process: TrainingProcess,
        outbox: Outbox,
        record: Record,
        failure: Failure | None,
    ) -> None:
        """Write what is left and how it ended. The process group is gone."""
        if lease.fenced:
            raise Fenced
        if (finished := outbox.finished) is not None:

            def end(session: Session) -> None:
                record.succeed(session, finished)

            def finish() -> None:
                record.receive_artifacts()
                record.finish(end)

            self._tracing.ended("succeeded", is_error=False)
            return self._insist(claim, lease, finish)
        failure = failure or outbox.failure
        asked = lease.status in (Status.cancelling, Status.pausing) or self._closing.is_set()
        reason = ending.in_words(process.exit_status)
        if not asked and failure is None and process.was_killed_for_memory():
            failure = ending.killed_for_memory(claim)
        without_failure = "stopped" if asked else "process_ended"
        self._tracing.ended(failure.code if failure else without_failure, is_error=not asked)

        def stop(session: Session) -> None:
            # Under the row's lock: a request that came in just now counts.
            cancelled = leases.asked(session, claim) is Status.cancelling
            if failure is not None and not cancelled:
                ending.write(session, claim, failure, self._settings)
            elif asked or cancelled:
                lifecycle.stopped(session, claim)
            else:
                lifecycle.note(
                    session, claim, "process_ended", reason=reason, log_tail=outbox.log_tail
                )
                lifecycle.lost(
                    session,
                    claim,
                    reason=reason,
                    max_losses=self._settings.max_losses,
                    retry_seconds=self._settings.retry_seconds,
                )

        return self._insist(claim, lease, lambda: record.finish(stop))

    def _order(
        self, claim: Claim, lease: Lease, directory: Path, notes: list[str], inputs: Inputs
    ) -> Order:
        """What the training process is told; the files that it names are `inputs`. Raises
        DataError, OSError, and InterruptedError when the attempt is to stop."""
        inputs.close()  # of an earlier try
        if not claim.specification:
            raise UserConfigError(
                "the specification of the job cannot be read: its row in the database is damaged",
                hint="submit the job again, and delete this one",
            )
        outgoing = directory / "outgoing"
        outgoing.mkdir(exist_ok=True)

        def local(sha256: str) -> Path:
            return self._store.local(
                sha256, directory / "fetched", lambda: self._is_unwanted(lease)
            )

        dataset = self._dataset(claim, local, inputs)
        checkpoint, resume_from = self._checkpoint(claim, local, notes, inputs)
        init_from = self._first_weights(claim, local, inputs, is_needed=resume_from is None)
        (directory / "training").mkdir(exist_ok=True)
        return Order(
            specification=claim.specification,
            dataset=dataset,
            builtin=claim.dataset_id is None,
            directory=str(directory / "training"),
            outgoing=str(outgoing),
            resume_from=str(resume_from) if resume_from else None,
            inherited=checkpoint is not None and checkpoint.attempt in (INHERITED, ORIGIN),
            init_from=str(init_from) if init_from else None,
            device=self._slot.device,
            silence_seconds=silence_seconds(self._settings),
            ids=bound_ids(),
        )

    def _dataset(self, claim: Claim, local: Callable[[str], Path], inputs: Inputs) -> str:
        if claim.dataset_id is None:
            return str(claim.specification.get("dataset"))
        with self._database.reading() as session:
            dataset = session.get(Dataset, claim.dataset_id)
        if dataset is None or dataset.sha256 is None:
            raise DataError(
                f"the data set {claim.dataset_id} is not there",
                hint="upload it again and submit the job with its new id",
            )
        name, sha256 = dataset.name, dataset.sha256
        try:
            path = local(sha256)
            inputs.add_dataset(path, sha256, _damaged(name))
        except FileNotFoundError as error:
            raise DataError(
                f"the file of the data set {name} is not in the artifact store",
                hint="upload it again, or see that the worker has the same ARTIFACTS_URL as the "
                "API, and that a directory is shared",
            ) from error
        except DamagedError as error:
            raise _damaged(name) from error
        return str(path)

    def _checkpoint(
        self, claim: Claim, local: Callable[[str], Path], notes: list[str], inputs: Inputs
    ) -> tuple[Checkpoint | None, Path | None]:
        """The newest checkpoint whose file is what it was when it was stored, and that file."""
        with self._database.reading() as session:
            stored = session.scalars(
                select(Checkpoint)
                .where(Checkpoint.job_id == claim.job_id, Checkpoint.step > 0)
                .order_by(Checkpoint.step.desc())
            ).all()
        notes.clear()
        for checkpoint in stored:
            try:
                path = local(checkpoint.sha256)
                inputs.add_checkpoint(path, checkpoint.sha256)
                return checkpoint, path
            except DamagedError:
                problem = "is damaged"
            except FileNotFoundError:
                problem = "is not in the artifact store"
            notes.append(f"the checkpoint of step {checkpoint.step} {problem}; it is passed over")
        return None, None

    def _first_weights(
        self, claim: Claim, local: Callable[[str], Path], inputs: Inputs, *, is_needed: bool
    ) -> Path | None:
        """The file whose weights the job starts with, where it names one. Raises DataError where it
        is needed and cannot be had."""
        source = claim.specification.get("init")
        if source is None:
            return None
        with self._database.reading() as session:
            first = session.get(Checkpoint, (claim.job_id, 0))
        try:
            if first is not None:
                path = local(first.sha256)
                inputs.add_checkpoint(path, first.sha256)
                return path
            problem = "was removed"
        except DamagedError:
            problem = "is damaged in the artifact store"
        except FileNotFoundError:
            problem = "is not in the artifact store"
        if not is_needed:
            return None
        raise DataError(
            f"the checkpoint of {source.get('job')} that the job starts from {problem}",
            hint="submit the job again with another job in init, or without init",
        )

    def _is_unwanted(self, lease: Lease) -> bool:
        return (
            lease.fenced
            or self._closing.is_set()
            or lease.status in (Status.cancelling, Status.pausing)
        )

    def _hand_back(self, claim: Claim, lease: Lease) -> None:
        """The end of an attempt that was asked to stop before its training began."""
        if lease.fenced:
            raise Fenced

        def stop() -> None:
            with self._database.writing() as session:
                lifecycle.stopped(session, claim)

        self._insist(claim, lease, stop)

    def _fail(self, claim: Claim, lease: Lease, failure: Failure) -> None:
        self._tracing.ended(failure.code, is_error=True)

        def fail() -> None:
            with self._database.writing() as session:
                if leases.asked(session, claim) is Status.cancelling:
                    lifecycle.stopped(session, claim)
                else:
                    ending.write(session, claim, failure, self._settings)

        try:
            self._insist(claim, lease, fail)
        except (Fenced, LeftToTheLease) as end:
            log.info("attempt %d of %s: %s", claim.attempt, claim.job_id, type(end).__name__)

    def _insist(self, claim: Claim, lease: Lease, action: Callable[[], T]) -> T:
        """Do it, again and again while the database or the store is away, or a disk is full."""
        backoff = Backoff()
        given_up_at: float | None = None
        stuck = False
        while True:
            try:
                return action()
            except DATABASE_AWAY:
                pass
            except OSError as error:
                if not disk.may_pass(error) or _is_cancelled(lease):
                    raise
                if not stuck:
                    self._tell(claim, error)
                stuck = True
            if lease.fenced:
                raise Fenced
            if self._closing.is_set():
                given_up_at = given_up_at or time.monotonic() + GIVE_UP_SECONDS
                if time.monotonic() > given_up_at:
                    raise LeftToTheLease
            time.sleep(backoff.wait_seconds())

    def _tell(self, claim: Claim, error: OSError) -> None:
        """Put into the timeline that the job waits for a disk or a store."""
        text = f"the job waits: {error.strerror}; it goes on once that is put right"
        log.warning("attempt %d of %s: %s", claim.attempt, claim.job_id, error)
        self._note(claim, "note", text=text)

    def _note(self, claim: Claim, kind: str, **data: Any) -> None:
        """Add a line to the timeline, unless the database is away: it may lie on the full disk."""
        try:
            with self._database.writing() as session:
                lifecycle.note(session, claim, kind, **data)
        except DATABASE_AWAY:
            pass


def _damaged(dataset: str) -> DataError:
    return DataError(
        f"the file of the data set {dataset} is damaged in the artifact store",
        hint="upload the original files again, under any name: the same data take the place of the "
        "damaged file; then retry the job",
    )


def _ids(claim: Claim, traceparent: str | None) -> dict[str, Any]:
    of_attempt = {TRACEPARENT: traceparent} if traceparent is not None else {}
    return {**claim.origin, **of_attempt, "job_id": claim.job_id, "attempt": claim.attempt}


def _is_cancelled(lease: Lease) -> bool:
    return lease.status is Status.cancelling


def _overruns(since: float | None, limit: float | None, grace: float) -> bool:
    """The training keeps its limit itself, over all attempts; this ends an attempt that hangs."""
    return since is not None and limit is not None and time.monotonic() > since + limit + grace
