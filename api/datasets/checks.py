"""Checks of uploaded data sets, each in a process of its own with bounded memory and time.

The upload waits in a directory of its own until its row says `ready` or `invalid`, also for the
answer of a person who is asked how it is to be read (`needs_choice`); a process that starts goes on
with what another one left unfinished.
"""

from __future__ import annotations

import base64
import json
import logging
import shutil
import sys
import threading
import time
from collections.abc import Mapping
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import delete, func, select, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from api.datasets.room import lacking
from api.errors import UnavailableError
from api.host.child import Child, plain_environment
from api.host.lock import DirectoryInUseError, DirectoryLock
from api.settings import Settings
from api.store.blobs.base import ArtifactStore
from api.store.database import Database, now
from api.store.datasets import INTERRUPTED, count_alone
from api.store.tables.uploads import CandidatePicture, Dataset, DatasetPreview
from api.store.webhooks import outbox
from api.uploads.files import Uploads
from api.web.multipart import stored_file

AT_ONCE = 2
ORIGIN = "upload"  # the file that names the resumable upload
WAITING = 8  # requests that may wait for a check; each holds a thread of the server
RETRY_SECONDS = 2.0
GRACE_SECONDS = 30.0  # by the clock on the wall, beyond the processor time that a check may take
LIMITS = {  # of `saf.data.sources.limits.Limits`, by their settings
    "max_archive_bytes": "upload_max_bytes",
    "max_unpacked_bytes": "unpacked_max_bytes",
    "max_ratio": "archive_max_ratio",
    "max_entries": "archive_max_entries",
    "max_image_side": "image_max_side",
    "max_classes": "max_classes",
}
MEMORY = "check_max_memory_bytes"
FAILED = {
    "message": "the check could not be carried out on this server",
    "hint": "Upload the file again; if that fails too, its operator finds the reason in the log.",
}
log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class _Verdict:
    summary: dict[str, Any] | None
    problems: list[dict[str, str]]
    format: str | None = None
    layout: dict[str, Any] | None = None  # of the picture beside the canonical file
    questions: list[dict[str, Any]] | None = None
    bytes: int = 0  # of the canonical file


class Checks:
    """Runs the checks, a few at a time, and writes what came out."""

    def __init__(
        self, database: Database, store: ArtifactStore, settings: Settings, uploads: Uploads
    ) -> None:
        self.directory = uploads.directory
        self._uploads = uploads
        self._database = database
        self._store = store
        self._settings = settings
        self._stop = threading.Event()
        self._waiting = threading.BoundedSemaphore(WAITING)
        self._threads = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="check")

    def start(
        self, dataset_id: str, *, file: Path, settings: Mapping[str, Any], lock: DirectoryLock
    ) -> Future[None]:
        """Check a file in the directory of `dataset_id`, whose row says `checking`; `settings` are
        those of the format, and `format` itself.

        Takes over the lock of the directory. The result is in the row.
        """
        return self._threads.submit(self._check, dataset_id, file, settings, lock)

    def wait(self, check: Future[None], seconds: float) -> None:
        """Wait for a check, unless many do already or the server is being stopped.

        Raises UnavailableError when the result could not be stored, and what went wrong here.
        """
        if not self._waiting.acquire(blocking=False):
            return
        try:
            check.result(timeout=seconds)
        except (TimeoutError, CancelledError):
            return  # it goes on, or the next start of the server goes on with it
        finally:
            self._waiting.release()

    def discard(self, directory: Path, lock: DirectoryLock) -> None:
        """Remove an upload that is not wanted."""
        shutil.rmtree(directory, ignore_errors=True)
        lock.release()

    def resume(self) -> None:
        """Go on with checks that a process of this machine left unfinished, and clear away
        uploads without a row. Raises what the database raises."""
        with self._database.reading() as session:
            rows = session.scalars(select(Dataset).where(Dataset.status == "checking")).all()
        for row in rows:
            self._adopt(row)
        self.expire()
        for directory in self.directory.glob("ds_*"):
            self._clear(directory, unless_needed=True)

    def expire(self) -> None:
        """Give up the checks of machines that are gone, and with them the answers that were being
        tried. Those that a process of this machine still has to do are not given up."""
        timeout = 2 * self._settings.check_max_seconds + 600
        since = func.coalesce(Dataset.checked_at, Dataset.created_at)
        late = (Dataset.status == "checking", since < now() - timeout)
        with self._database.reading() as session:
            gone = [
                id_
                for id_ in session.scalars(select(Dataset.id).where(*late))
                if not self._is_held(id_)
            ]
        if not gone:
            return
        with self._database.writing() as session:
            these = (
                update(Dataset)
                .where(*late, Dataset.id.in_(gone))
                .values(
                    status="invalid",
                    problems=[INTERRUPTED],
                    questions=None,
                    answer=None,
                    checked_at=now(),
                )
                .returning(Dataset.id)
            )
            expired = session.scalars(these).all()
            pictures = delete(CandidatePicture).where(CandidatePicture.dataset_id.in_(expired))
            session.execute(pictures)

    def close(self) -> None:
        """Stop all checks; the next start goes on with them."""
        self._stop.set()
        self._threads.shutdown(cancel_futures=True)

    def _adopt(self, row: Dataset) -> None:
        directory = self.directory / row.id
        file = stored_file(directory)
        if file is None:
            return  # of another machine, or lost: `expire` decides
        try:
            lock = DirectoryLock(directory)
        except DirectoryInUseError:
            return  # another process of this machine checks it
        self.start(row.id, file=file, settings=settings_of(row), lock=lock)

    def clear(self, dataset_id: str) -> None:
        """Remove the upload of a row that is gone, if it is on this machine."""
        if (directory := self.directory / dataset_id).is_dir():
            self._clear(directory)

    def _clear(self, directory: Path, *, unless_needed: bool = False) -> None:
        try:
            lock = DirectoryLock(directory, make=False)
        except (DirectoryInUseError, FileNotFoundError):
            return  # is being received, or gone
        # Asked only now: what is not held any more has its row.
        if unless_needed and self._is_needed(directory.name):
            lock.release()
        else:
            self.discard(directory, lock)

    def _is_needed(self, dataset_id: str) -> bool:
        with self._database.reading() as session:
            status = session.scalar(select(Dataset.status).where(Dataset.id == dataset_id))
        return status in ("checking", "needs_choice")

    def _is_held(self, dataset_id: str) -> bool:
        try:
            DirectoryLock(self.directory / dataset_id, make=False).release()
        except FileNotFoundError:
            return False
        except DirectoryInUseError:
            return True
        return False

    def _check(
        self, dataset_id: str, file: Path, settings: Mapping[str, Any], lock: DirectoryLock
    ) -> None:
        directory = self.directory / dataset_id
        canonical = directory / "canonical.safetensors"
        try:
            verdict = self._run(directory, file, canonical, settings)
            if not self._stop.is_set():
                self._keep_trying(dataset_id, verdict, canonical)
        except Exception as error:
            if isinstance(error, OSError):
                log.error("the check of %s failed: %s", dataset_id, error)
            else:
                log.exception("the check of %s failed", dataset_id)
            self._keep_trying(dataset_id, _Verdict(summary=None, problems=[FAILED]), canonical)
            if isinstance(error, OSError):
                reason = error.strerror or type(error).__name__
                raise UnavailableError(f"the data set cannot be stored: {reason}") from error
            raise
        finally:
            lock.release()

    def _keep_trying(self, dataset_id: str, verdict: _Verdict, canonical: Path) -> None:
        """Write what came out, however long the database is away, unless the server stops; then
        the upload goes, or stays for the answer of a person."""
        while True:
            try:
                status = self._write(dataset_id, verdict, canonical)
            except SQLAlchemyError as error:
                log.warning("the check of %s waits for the database: %s", dataset_id, error)
                if self._stop.wait(RETRY_SECONDS):
                    return
            else:
                break
        self._settle(canonical.parent, status)
        if status != "needs_choice":
            shutil.rmtree(canonical.parent, ignore_errors=True)
        else:
            for left in (canonical, canonical.with_suffix(".png")):
                left.unlink(missing_ok=True)

    def _settle(self, directory: Path, status: str) -> None:
        """Forget the bytes of the resumable upload that was read; what cannot be used may be tried
        again with other settings."""
        was_read = status in ("ready", "needs_choice")
        try:
            upload_id = (directory / ORIGIN).read_text()
            self._uploads.settle(upload_id, directory.name, was_read=was_read)
        except FileNotFoundError:
            pass  # it was none
        except OSError as error:
            log.warning("the upload of %s stays until it is too old: %s", directory.name, error)

    def _run(
        self, directory: Path, file: Path, canonical: Path, settings: Mapping[str, Any]
    ) -> _Verdict:
        """The verdict of a child process."""
        result = directory / "result.json"
        seconds = self._settings.check_max_seconds
        memory = getattr(self._settings, MEMORY)
        command = [
            *(sys.executable, "-P", "-m", "saf.processes.check_dataset", str(file), str(canonical)),
            *("--format", settings.get("format", "auto"), "--result", str(result)),
            *("--settings", json.dumps({k: v for k, v in settings.items() if k != "format"})),
            *("--preview", str(canonical.with_suffix(".png"))),
            *(
                f"--{limit.replace('_', '-')}={getattr(self._settings, setting)}"
                for limit, setting in LIMITS.items()
            ),
            *("--max-memory-bytes", str(memory), "--max-seconds", str(max(1, int(seconds)))),
        ]
        with (directory / "output.txt").open("wb") as output:
            child = Child("check", command, environment=plain_environment(), output=output)
            child.start()
            try:
                deadline = time.monotonic() + seconds + GRACE_SECONDS
                while not child.wait(0.5):
                    if self._stop.is_set() or time.monotonic() > deadline:
                        break
            finally:
                child.kill()
        if child.exit_status == 0:
            found = json.loads(result.read_text())
            return _Verdict(
                summary=found.get("summary"),
                format=found.get("format"),
                layout=found.get("preview"),
                questions=found.get("questions"),
                bytes=found.get("bytes", 0),
                problems=[_for_people(entry) for entry in found.get("problems", [])],
            )
        said = (directory / "output.txt").read_text(errors="replace").strip()
        log.warning("the check of %s ended with %s: %s", file.name, child.exit_status, said[-2000:])
        problem = {
            "message": "the file could not be read within the limits on memory and time",
            "hint": "Send fewer or smaller samples.",
        }
        return _Verdict(summary=None, problems=[problem])

    def _write(self, dataset_id: str, verdict: _Verdict, canonical: Path) -> str:
        """Keep what came out; the status of the row. Raises OSError and SQLAlchemyError."""
        files = [] if verdict.summary is None else [self._store.receive(canonical)]
        try:
            if verdict.layout is not None:
                files.append(self._store.receive(canonical.with_suffix(".png")))
            with self._database.writing() as session:
                count_alone(session)
                row = session.scalar(
                    select(Dataset).where(Dataset.id == dataset_id).with_for_update()
                )
                if row is None:  # deleted meanwhile
                    self._store.remove_unkept(session, [file.sha256 for file in files])
                    return "invalid"
                if verdict.summary is not None and (
                    why := lacking(*(session, self._settings, row, files[0].sha256, verdict.bytes))
                ):
                    no_room = {"message": why, "hint": "Delete some, or send fewer samples."}
                    verdict = _Verdict(summary=None, problems=[no_room])
                    self._store.remove_unkept(session, [file.sha256 for file in files])
                if verdict.summary is not None:
                    row.sha256 = self._store.keep(session, files[0])
                _put(session, row, verdict)
                row.checked_at = session.execute(select(now())).scalar_one()
                outbox.dataset_became(session, row)
                if verdict.layout is not None:
                    self._store.keep(session, files[1])
                    preview = DatasetPreview(
                        dataset_id=dataset_id, sha256=files[1].sha256, layout=verdict.layout
                    )
                    session.merge(preview)
                return row.status
        finally:
            for file in files:
                self._store.discard(file)


def keep_origin(directory: Path, upload_id: str) -> None:
    """Remember from which resumable upload the file in the directory of a data set is."""
    (directory / ORIGIN).write_text(upload_id)


def settings_of(row: Dataset) -> dict[str, Any]:
    """All that was said of how an upload is to be read, its format too."""
    return {"format": row.format, **(row.settings or {}), **(row.answer or {})}


def _put(session: Session, row: Dataset, verdict: _Verdict) -> None:
    """What came out, into the row of an upload."""
    tried, row.answer = row.answer, None
    row.problems = verdict.problems
    if verdict.summary is None and verdict.questions is None and row.questions:
        row.status = "needs_choice"  # the answer was wrong; another one may be right
        return
    if tried:
        row.settings = (row.settings or {}) | tried
    session.execute(delete(CandidatePicture).where(CandidatePicture.dataset_id == row.id))
    row.questions = None
    if verdict.summary is not None:
        row.status, row.format, row.summary = "ready", verdict.format or row.format, verdict.summary
    elif verdict.questions is None:
        row.status = "invalid"
    else:
        row.status, row.problems = "needs_choice", []
        row.questions = [_without_pictures(question) for question in verdict.questions]
        for number, question in enumerate(verdict.questions):
            for place, candidate in enumerate(question["candidates"]):
                if (picture := candidate.get("picture")) is not None:
                    session.add(
                        CandidatePicture(
                            dataset_id=row.id,
                            question=number,
                            candidate=place,
                            picture=base64.b64decode(picture),
                        )
                    )


def _without_pictures(question: Mapping[str, Any]) -> dict[str, Any]:
    """A question as its row keeps it: of a picture only that there is one."""
    candidates = [
        {**candidate, "picture": candidate.get("picture") is not None}
        for candidate in question["candidates"]
    ]
    return {**question, "candidates": candidates}


def _for_people(problem: dict[str, str]) -> dict[str, str]:
    """A problem that the check found, with the name of the setting where a limit is one."""
    setting = {**LIMITS, "max_memory_bytes": MEMORY}.get(problem.get("limit", ""))
    more = f" Or set SAF_{setting.upper()} on the server." if setting is not None else ""
    about = {"setting": problem["setting"]} if "setting" in problem else {}
    return {"message": problem["message"], "hint": problem["hint"] + more, **about}
