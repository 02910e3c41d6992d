"""A process of the one-machine service: it has a session of its own and dies with its parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

# Runs in the child before the program itself: PR_SET_PDEATHSIG outlives exec, and the parent may
# have ended before it was set. Not a preexec_fn, which is unsafe where the parent has threads.
TIE = """
import ctypes, os, sys
parent, number, *command = sys.argv[1:]
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, int(number))
if os.getppid() != int(parent):
    sys.exit(1)
os.execvp(command[0], command)
"""


class Child:
    """A process and what is needed to start it again.

    Start it from a thread that lives as long as the process is wanted: on Linux the kernel sends
    `death_signal` when that thread ends, however it ends. Elsewhere `stop` must be called.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        death_signal: signal.Signals = signal.SIGKILL,
        environment: Mapping[str, str] | None = None,
        directory: Path | None = None,
        output: IO[bytes] | int | None = None,
        keep: Sequence[int] = (),
    ) -> None:
        """`environment` replaces the parent's; `keep` are file descriptors to hand on."""
        self.name = name
        self._command = list(command)
        self._death_signal = death_signal
        self._environment = environment
        self._directory = directory
        self.output = output
        """Where the next start sends what it prints; None: where this process prints."""
        self._keep = tuple(keep)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """None before the first start."""
        return self._process.pid if self._process else None

    @property
    def exit_status(self) -> int | None:
        """None while it runs and before the first start; negative: ended by that signal."""
        return self._process.poll() if self._process else None

    @property
    def is_alive(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start it, also again after it has ended. Raises OSError."""
        assert not self.is_alive, f"{self.name} runs already"
        tie = [
            sys.executable,
            "-I",
            "-S",
            "-c",
            TIE,
            str(os.getpid()),
            str(int(self._death_signal)),
        ]
        self._process = subprocess.Popen(
            [*tie, *self._command],
            stdin=subprocess.DEVNULL,
            stdout=self.output,
            stderr=self.output,
            cwd=self._directory,
            env=None if self._environment is None else dict(self._environment),
            pass_fds=self._keep,
            start_new_session=True,  # else Ctrl-C in a terminal reaches it before its parent
        )

    def ask_to_stop(self) -> None:
        """Send TERM."""
        if self._process is not None and self.is_alive:
            self._process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send KILL and take its end."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def wait(self, seconds: float) -> bool:
        """Wait for its end; whether it has ended."""
        if self._process is None:
            return True
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def stop(self, seconds: float) -> None:
        """TERM, then KILL where it has not ended in time."""
        self.ask_to_stop()
        if not self.wait(seconds):
            self.kill()


def plain_environment() -> dict[str, str]:
    """Environment of a child that reads untrusted input: no address or password of ours, and one
    thread, as each further one costs address space."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ}
    return {
        **kept,
        "LC_ALL": "C.UTF-8",
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
    }
