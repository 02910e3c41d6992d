"""The whole service on one machine: broker, worker and web as children of one process.

Every child dies with this process, one that dies alone is started again, and all that is kept lies
in one data directory.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import httpx
from sqlalchemy.exc import SQLAlchemyError

from api.host.child import Child
from api.host.listener import ListenError, listen
from api.host.lock import DirectoryInUseError, DirectoryLock
from api.local.valkey import BrokerError, EmbeddedBroker
from api.settings import Settings
from api.store.blobs.open import open_store
from api.store.database import Database, why_away
from api.store.identity import RemovedError
from api.store.migrate import NewerDatabaseError, refuse_newer
from api.store.private import keep_private

LOOK_SECONDS = 0.1
READY_SECONDS = 60.0
FIRST_PAUSE, LONGEST_PAUSE = 0.2, 10.0  # before a child is started again
STEADY_SECONDS = 20.0  # a child that lived for so long has not failed at its start
WEB_STOP_SECONDS = 6.0  # the server waits half of it for responses under way
ADDRESS = "address"  # file in the data directory while the service is ready
LOOPBACK = ("localhost", "127.0.0.1", "::1")
log = logging.getLogger(__name__)


class ServeError(Exception):
    """The service cannot be started; the message says what to change."""


@dataclass
class _Tended:
    """A child and when it may be started again."""

    child: Child
    start: Callable[[], None]
    started: float = 0.0
    pause: float = FIRST_PAUSE
    due: float | None = None


class LocalService:
    """The process tree of the service. Use it from the main thread.

    `port` 0 takes any free one, None the first free one from 8000 on.
    """

    def __init__(self, settings: Settings, *, host: str = "127.0.0.1", port: int | None = None):
        """Take the data directory and the port. Raises `ServeError`, and ValueError where the
        settings name no artifact store."""
        open_store(settings)
        _check_host(host, settings)
        self.directory = settings.data_dir.absolute()
        self._lock = _lock(self.directory)
        keep_private(settings)
        (self.directory / ADDRESS).unlink(missing_ok=True)  # of one that was killed
        try:
            self._listener = listen(host, port)
        except BaseException as error:
            self._lock.release()
            if isinstance(error, ListenError):
                raise ServeError(str(error)) from error
            raise
        self.url = f"http://{_in_url(host)}:{self._listener.getsockname()[1]}"
        self._settings = settings
        self._broker: EmbeddedBroker | None = None
        self._tended: list[_Tended] = []
        self._lock_lost = ""
        self._asked = 0
        self._wake = threading.Event()

    def start(self) -> bool:
        """Start everything and wait until it is ready; False when asked to stop meanwhile.

        Raises `ServeError`; then all is stopped.
        """
        try:
            return self._start()
        except BaseException as error:
            self.stop(hurry=True)
            if isinstance(error, BrokerError | DirectoryInUseError | OSError):
                raise ServeError(str(error)) from error
            raise

    def ask_to_stop(self) -> None:
        """Let `tend` return; asked twice, `stop` does not wait for anything."""
        self._asked += 1
        self._wake.set()

    @contextmanager
    def stopped_by_signals(self) -> Iterator[None]:
        """INT, TERM and, but for nohup, HUP ask it to stop."""

        def ask(_number: int, _frame: FrameType | None) -> None:
            self.ask_to_stop()

        numbers = [signal.SIGINT, signal.SIGTERM]
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as nohup asks for
            numbers.append(signal.SIGHUP)
        before = [signal.signal(number, ask) for number in numbers]
        try:
            yield
        finally:
            for number, handler in zip(numbers, before, strict=True):
                signal.signal(number, handler)

    def tend(self) -> None:
        """Start again what dies or cannot be reached, until somebody asks to stop."""
        while not self._asked:
            now = time.monotonic()
            self._keep_lock()
            if self._broker is not None:
                self._broker.end_if_unreachable(now)
            for tended in self._tended:
                self._look_after(tended, now)
            self._wake.wait(LOOK_SECONDS)

    def stop(self, *, hurry: bool = False) -> None:
        """Stop web, worker and broker, in this order, and give the directory back.

        The worker lets its trainings write a checkpoint. With `hurry`, or once `ask_to_stop` was
        called twice, all are killed; the jobs are taken up from their last checkpoint next time.
        """
        (self.directory / ADDRESS).unlink(missing_ok=True)
        self._listener.close()
        grace_seconds = {
            "web": WEB_STOP_SECONDS,
            "worker": self._settings.stop_grace_seconds + 10.0,
        }
        children = {tended.child.name: tended.child for tended in self._tended}
        for name in ("web", "worker"):
            if (child := children.get(name)) is not None:
                child.ask_to_stop()
                deadline = time.monotonic() + (0.0 if hurry else grace_seconds[name])
                while self._asked < 2 and time.monotonic() < deadline:
                    if child.wait(LOOK_SECONDS):
                        break
                if child.is_alive:
                    child.kill()
        if self._broker is not None:
            self._broker.stop()
        self._tended.clear()
        self._lock.release()

    def _start(self) -> bool:
        _check_database(self._settings)
        if not self._settings.broker_url:
            self._broker = EmbeddedBroker(self.directory / "broker")
            url = self._broker.url
            self._settings = self._settings.model_copy(update={"broker_url": url})
            self._begin(self._broker.child, self._broker.start)
        environment = self._settings.environment() | _temporary(self.directory)
        # -P: a folder of the current directory named like one of ours is not imported.
        python = (sys.executable, "-P", "-m")
        worker = Child("worker", [*python, "worker"], environment=environment)
        web = Child(
            "web",
            [
                *python,
                *("api.commands.web", "--fd", str(self._listener.fileno())),
            ],
            environment=environment,
            keep=(self._listener.fileno(),),
        )
        self._begin(web, web.start)
        if not self._becomes_ready():
            return False
        self._begin(worker, worker.start)  # once the tables are there
        (self.directory / ADDRESS).write_text(f"{os.getpid()} {self.url}\n")
        return True

    def _keep_lock(self) -> None:
        """Hold the data directory also where a cleaner removed the lock file."""
        try:
            self._lock.renew()
            self._lock_lost = ""
        except (DirectoryInUseError, OSError) as error:
            if str(error) != self._lock_lost:
                log.error("the lock file was removed and cannot be had again: %s", error)
            self._lock_lost = str(error)

    def _begin(self, child: Child, start: Callable[[], None]) -> None:
        start()
        self._tended.append(_Tended(child, start, started=time.monotonic()))

    def _becomes_ready(self) -> bool:
        """Wait; False when asked to stop meanwhile."""
        # It may answer under other names than the one by which it is reached here.
        names = self._settings.allowed_hosts
        name = "localhost" if "*" in names or "localhost" in names else names[0]
        deadline = time.monotonic() + READY_SECONDS
        reason = "it does not answer"
        with httpx.Client(base_url=self._own_url, trust_env=False, timeout=5.0) as http:
            while not self._asked and time.monotonic() < deadline:
                for tended in self._tended:
                    if tended.child.exit_status is not None:
                        raise ServeError(f"the {tended.child.name} ended at its start, see above")
                try:
                    answer = http.get("/readyz", headers={"host": name})
                    if answer.status_code == 200:
                        return True
                    reason = answer.json()["detail"]
                except httpx.TransportError:
                    pass
                self._wake.wait(LOOK_SECONDS)
        if self._asked:
            return False
        raise ServeError(f"the service is not ready after {READY_SECONDS:.0f} s: {reason}")

    @property
    def _own_url(self) -> str:
        """The address for this process, also where it listens on all of them."""
        host, port = self._listener.getsockname()[:2]
        return f"http://{_in_url({'0.0.0.0': '127.0.0.1', '::': '::1'}.get(host, host))}:{port}"

    def _look_after(self, tended: _Tended, now: float) -> None:
        child = tended.child
        if child.is_alive:
            return
        if tended.due is None:
            if now - tended.started > STEADY_SECONDS:
                tended.pause = FIRST_PAUSE
            tended.due = now + tended.pause
            log.warning(
                "the %s ended (%s); it is started again in %.1f s",
                child.name,
                _in_words(child.exit_status),
                tended.pause,
            )
            tended.pause = min(2 * tended.pause, LONGEST_PAUSE)
        elif now >= tended.due:
            tended.due = None
            tended.started = now
            try:
                tended.start()
            except (OSError, BrokerError, DirectoryInUseError) as error:
                log.error("the %s cannot be started: %s", child.name, error)


def serving_at(directory: Path, *, pid: int | None = None) -> str | None:
    """The address of the service on that data directory, None while there is none ready.

    With `pid`, that of this process only: one that was killed could not take its word back.
    """
    try:
        holder, _, url = (directory / ADDRESS).read_text().strip().partition(" ")
    except FileNotFoundError:
        return None
    return url if url and pid in (None, int(holder)) else None


def _lock(directory: Path) -> DirectoryLock:
    try:
        return DirectoryLock(directory)
    except DirectoryInUseError as error:
        where = serving_at(directory)
        raise ServeError(
            f"{error}{f', which serves {where}' if where else ''}: use that one, stop it, or "
            "choose another directory with --data-dir"
        ) from error
    except OSError as error:
        raise ServeError(
            f"the data directory {directory} cannot be used: {error.strerror}; choose another "
            "with --data-dir"
        ) from error


def _check_database(settings: Settings) -> None:
    """Refuse tables of a newer program, and the lack of a database that was there, at once; one
    that is away is waited for."""
    database = Database(settings.database)
    try:
        refuse_newer(database)
    except NewerDatabaseError as error:
        raise ServeError(str(error)) from error
    except SQLAlchemyError as error:
        if isinstance(getattr(error, "orig", None), RemovedError):
            raise ServeError(why_away(error)) from error
    finally:
        database.dispose()


def _temporary(directory: Path) -> dict[str, str]:
    """Directory for temporary files of children, if this machine has none of its own."""
    try:
        tempfile.gettempdir()
    except FileNotFoundError:
        place = directory / "tmp"
        place.mkdir(mode=0o700, exist_ok=True)
        return {"TMPDIR": str(place)}
    return {}


def check_accounts(host: str, settings: Settings) -> None:
    """Raise `ServeError` where others could reach a service without accounts."""
    if settings.auth != "open" or settings.open_beyond_loopback or host in LOOPBACK:
        return
    raise ServeError(
        f"on {host} everybody who reaches this machine could use the service: it has no accounts. "
        "`saf accounts first-key` makes the first key; then start it with SAF_AUTH=keys (which "
        "makes and prints one by itself where there is none). Where something in front of it asks "
        "who comes: SAF_AUTH=proxy, or SAF_OPEN_BEYOND_LOOPBACK=1"
    )


def _check_host(host: str, settings: Settings) -> None:
    if host in LOOPBACK:
        return
    if set(settings.allowed_hosts) <= set(Settings.model_fields["allowed_hosts"].default):
        raise ServeError(
            f"on {host} others can reach the service, and it does not know under which names: "
            "give each with --allow-host NAME (or all by SAF_ALLOWED_HOSTS)"
        )


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _in_words(exit_status: int | None) -> str:
    if exit_status is None or exit_status >= 0:
        return f"exit status {exit_status}"
    return f"signal {signal.Signals(-exit_status).name}"
