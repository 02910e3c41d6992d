"""Claims exports and makes them, one at a time, beside the trainings of this worker.

An export takes seconds to minutes, so it waits for no slot. Its process is ended when the export
was deleted, when another worker has it, when its time is over, and with the worker, which then
hands it back.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from api.settings import Settings
from api.store.blobs.base import ArtifactStore, Incoming, StoreError
from api.store.blobs.verified import DamagedError
from api.store.database import Database, why_away
from api.store.jobs import exports, retry_delay
from api.store.jobs.exports import ExportClaim
from api.store.jobs.leases import Fenced
from api.store.migrate import NewerDatabaseError, refuse_newer
from api.store.runs import artifacts
from api.store.tables.jobs import Job
from api.store.tables.results import Artifact
from api.store.tables.uploads import Dataset
from worker.backoff import DATABASE_AWAY, Backoff
from worker.exports.lease import ExportLease
from worker.exports.process import EXPORTING, ExportProcess
from worker.processes import disk
from worker.processes.scratch import Scratch

POLL_SECONDS = 2.0
LOOK_SECONDS = 0.1
GIVE_UP_SECONDS = 5.0
NETWORK = "lif.safetensors"
T = TypeVar("T")
log = logging.getLogger(__name__)


class _FailedError(Exception):
    """The export cannot be made; nothing that another attempt would change."""

    def __init__(self, code: str, message: str, hint: str) -> None:
        super().__init__(message)
        self.code, self.hint = code, hint


class _LostError(Exception):
    """The process died, or a disk did not answer: another attempt may not meet it."""


class _HandedBack(Exception):  # noqa: N818  (a signal, not an error)
    """The worker ends."""


class Exporter:
    """A thread that claims exports, looking every two seconds and when it is woken."""

    def __init__(
        self,
        database: Database,
        store: ArtifactStore,
        settings: Settings,
        scratch: Scratch,
        worker_id: str,
        command: Sequence[str] = EXPORTING,
    ) -> None:
        self._database = database
        self._store = store
        self._settings = settings
        self._scratch = scratch
        self._worker_id = worker_id
        self._command = command
        self._closing = threading.Event()
        self._woken = threading.Event()
        self._thread = threading.Thread(target=self._run, name="exports", daemon=True)

    def start(self) -> None:
        """Begin to look for exports."""
        self._thread.start()

    def wake(self) -> None:
        """Look at once."""
        self._woken.set()

    def close(self) -> None:
        """Claim no more; what is under way is handed back. Never blocks."""
        self._closing.set()
        self._woken.set()

    def stop(self) -> None:
        """Close, and wait for the end."""
        self.close()
        if self._thread.is_alive():
            self._thread.join()

    def work(self) -> None:
        """Make exports until none is queued. Raises what the database raises while it is asked for
        one."""
        while not self._closing.is_set() and (claim := self._claim()) is not None:
            log.info("export %s of %s to %s", claim.id, claim.job_id, claim.target)
            try:
                self._make(claim)
            except Fenced:
                log.info("export %s was deleted, or another worker has it", claim.id)
            except Exception:  # its lease runs out, and it is tried again or fails in words
                log.exception("export %s", claim.id)

    def _run(self) -> None:
        backoff, away = Backoff(), False
        while not self._closing.is_set():
            try:
                self.work()
            except NewerDatabaseError:
                return  # the worker is drained where it asks for a job
            except SQLAlchemyError as error:  # also tables that a migration is about to make
                if not away:
                    log.warning("no export can be claimed: %s", why_away(error))
                away = True
                self._closing.wait(backoff.wait_seconds())
                continue
            away = False
            backoff.reset()
            self._woken.wait(POLL_SECONDS)
            self._woken.clear()

    def _claim(self) -> ExportClaim | None:
        with self._database.reading() as session:
            if not exports.waits(session):  # without the lock of writers
                return None
        refuse_newer(self._database)
        with self._database.writing() as session:
            return exports.claim(
                session,
                worker_id=self._worker_id,
                lease_seconds=self._settings.lease_seconds,
            )

    def _make(self, claim: ExportClaim) -> None:
        try:
            with (
                self._scratch.attempt(claim.id, claim.attempt) as directory,
                ExportLease(self._database, claim, self._settings) as lease,
            ):
                done = self._done(claim, directory, lease)
                self._keep(claim, done, directory / "files")
        except _FailedError as error:
            found = {"code": error.code, "message": str(error), "hint": error.hint}
            self._write(claim, lambda session: exports.fail(session, claim, **found))
        except (_LostError, OSError) as error:
            log.warning("export %s: %s", claim.id, error)
            if isinstance(error, OSError) and disk.may_pass(error):
                self._put_off(claim, error)
                return
            reason = str(error)
            self._write(claim, lambda session: exports.lost(session, claim, reason))
        except _HandedBack:
            self._write(claim, lambda session: exports.hand_back(session, claim))

    def _put_off(self, claim: ExportClaim, error: OSError) -> None:
        """Let it wait for a disk that is full or away, or for the artifact store."""
        # Without the path: whoever reads it has no business with the disks of the worker.
        where = "" if isinstance(error, StoreError) else "a disk of the worker or the store: "
        reason = f"{where}{error.strerror or error}"
        wait = retry_delay.of_an_error(self._settings.retry_seconds)
        self._write(claim, lambda session: exports.put_off(session, claim, reason, wait))

    def _done(self, claim: ExportClaim, directory: Path, lease: ExportLease) -> dict[str, Any]:
        """What its process made of it."""
        (directory / "files").mkdir()
        order = self._order(claim, directory)
        process = ExportProcess(order, directory, self._command)
        try:
            self._watch(process, lease)
        finally:
            process.end()
        answer = process.answer or {}
        if (failed := answer.get("failed")) is not None:
            if (number := failed.get("errno")) in disk.PASSING:
                raise OSError(number, os.strerror(number))
            if failed["code"] == "internal":
                log.warning("export %s: %s\n%s", claim.id, failed["message"], process.log())
            raise _FailedError(failed["code"], failed["message"], failed["hint"])
        if "done" not in answer:
            log.warning("export %s: %s\n%s", claim.id, process.how_it_died(), process.log())
            raise _LostError(process.how_it_died())
        done: dict[str, Any] = answer["done"]
        return done

    def _watch(self, process: ExportProcess, lease: ExportLease) -> None:
        """Wait until the process has ended. Raises Fenced, and once it is to end."""
        limit = self._settings.export_max_seconds
        deadline = time.monotonic() + limit
        while not process.wait(LOOK_SECONDS):
            lease.replayed = process.replayed
            if lease.fenced:
                raise Fenced
            if self._closing.is_set():
                raise _HandedBack
            if time.monotonic() > deadline:
                raise _FailedError(
                    "time_limit",
                    f"the export took longer than {limit:g} s",
                    "replay fewer samples, or raise SAF_EXPORT_MAX_SECONDS",
                )

    def _order(self, claim: ExportClaim, directory: Path) -> dict[str, Any]:
        with self._database.reading() as session:
            job = session.get(Job, claim.job_id)
            if job is None:
                raise Fenced
            network = session.scalar(
                select(Artifact.sha256).where(Artifact.job_id == job.id, Artifact.name == NETWORK)
            )
            dataset = session.get(Dataset, job.dataset_id) if job.dataset_id else None
            name, builtin = job.dataset, job.dataset_id is None
            sha256 = None if dataset is None else dataset.sha256
        if network is None:
            raise _gone("the network of the job is no longer in the store")
        samples = self._fetched(sha256, directory, name) if sha256 is not None else None
        return {
            "network": self._fetched(network, directory, NETWORK),
            "target": claim.target,
            "options": claim.options,
            "directory": str(directory / "files"),
            "dataset": name if builtin else samples,
            "builtin": builtin,
            "samples": claim.samples,
            "max_memory_bytes": self._settings.export_max_memory_bytes,
        }

    def _fetched(self, sha256: str, directory: Path, name: str) -> str:
        try:
            return str(self._store.local(sha256, directory, self._closing.is_set))
        except InterruptedError:
            raise _HandedBack from None
        except DamagedError as error:
            raise _gone(f"the file of {name} is damaged in the artifact store") from error
        except FileNotFoundError as error:
            raise _gone(f"the file of {name} is no longer in the store") from error

    def _keep(self, claim: ExportClaim, done: dict[str, Any], directory: Path) -> None:
        """Store the files as artifacts of the job; those of an earlier export are replaced."""
        folder = exports.folder(claim.target)
        names = [str(name) for name in done["files"]]
        incoming: dict[str, Incoming] = {}
        try:
            for name in names:
                if Path(name).name != name or not (directory / name).is_file():
                    raise _FailedError(
                        "internal",
                        f"the target {claim.target} names a file {name!r} that it did not write",
                        "this is a defect of the target",
                    )
                incoming[name] = self._store.receive(directory / name)

            def keep(session: Any) -> list[str]:
                exports.renew(session, claim, lease_seconds=self._settings.lease_seconds)
                before = exports.files_of(session, claim.job_id, claim.target)
                unused = [artifact.sha256 for artifact in before]
                for artifact in before:
                    if artifact.name.removeprefix(folder) not in names:
                        session.delete(artifact)
                for name in names:
                    artifacts.register(
                        session,
                        job_id=claim.job_id,
                        name=folder + name,
                        kind="export certificate" if name == names[-1] else "export",
                        sha256=self._store.keep(session, incoming[name]),
                    )
                exports.succeed(
                    session, claim, verdict=done["verdict"], certificate=done["certificate"]
                )
                return unused

            unused = self._write(claim, keep)
        finally:
            for each in incoming.values():
                self._store.discard(each)
        if unused:
            self._store.remove_unused_of(self._database, unused)

    def _write(self, claim: ExportClaim, action: Callable[[Any], T]) -> T | None:
        """Do it in a transaction, again and again while the database is away. Raises Fenced, and
        OSError of the store. A worker that ends leaves it to the lease: None."""
        backoff = Backoff()
        given_up_at: float | None = None
        while True:
            try:
                with self._database.writing() as session:
                    return action(session)
            except DATABASE_AWAY as error:
                log.warning("export %s waits: %s", claim.id, why_away(error))
            if self._closing.is_set():
                given_up_at = given_up_at or time.monotonic() + GIVE_UP_SECONDS
                if time.monotonic() > given_up_at:
                    return None
            time.sleep(backoff.wait_seconds())


def _gone(message: str) -> _FailedError:
    hint = "submit the specification of the job again, or upload its data set again"
    return _FailedError("gone", message, hint)
