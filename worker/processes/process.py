"""A training process and its process group: started, listened to, and ended without leftovers."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from worker.processes import oom
from worker.processes.protocol import ALIVE, MARK, ORDER, STOP, Order
from worker.processes.spool import Outbox

TRAINING = (sys.executable, "-P", "-m", "worker.processes.child")
TERM_SECONDS = 2.0
BLOCK = 65_536
log = logging.getLogger(__name__)

ALLOWED = frozenset(
    (
        *("PATH", "HOME", "USER", "LOGNAME", "LANG", "LANGUAGE", "TZ", "TMPDIR", "VIRTUAL_ENV"),
        *("PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "XDG_CACHE_HOME"),
        *("CXX", "SAF_GPU_TUNING"),
    )
)
ALLOWED_PREFIXES = (
    *("LC_", "CUDA_", "NVIDIA_", "OMP_", "KMP_", "MKL_", "CUBLAS_", "NCCL_"),
    *("PYTORCH_", "TORCHINDUCTOR_", "TRITON_"),
)


def environment(
    inherited: Mapping[str, str], slot: Mapping[str, str], directory: Path
) -> dict[str, str]:
    """Environment of a training process: each variable is named, so that no credential slips
    through.

    `directory` is that of its attempt, or stands beside those of attempts.
    """
    kept = {
        name: value
        for name, value in inherited.items()
        if name in ALLOWED or name.startswith(ALLOWED_PREFIXES)
    }
    return {
        # What torch compiles, for all attempts of this worker, and by nobody else's files.
        "TORCHINDUCTOR_CACHE_DIR": str(directory.parent / "compiled"),
        "TORCHINDUCTOR_COMPILE_THREADS": "1",
        **kept,
        **slot,
        MARK: str(directory),
        "CUBLAS_WORKSPACE_CONFIG": ":4096:8",  # what torch's deterministic mode asks for
    }


class TrainingProcess:
    """One attempt's process, leader of a session and a group of its own.

    It may be started before there is an order: it loads what it needs, and waits. Start it from a
    thread that stays until the process has ended: on Linux the kernel kills the process when that
    thread ends.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        """Start `command`, told the number of this process and of the pipe for its reports. Raises
        OSError."""
        self._memory_kills = 0
        self._threads: list[threading.Thread] = []
        self._reports, reports_of_child = os.pipe()
        try:
            self._popen = subprocess.Popen(
                [*command, str(os.getpid()), str(reports_of_child)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                cwd="/",  # until it has the directory of an attempt
                env=dict(environment),
                pass_fds=(reports_of_child,),
                start_new_session=True,
                bufsize=0,
            )
        except BaseException:
            os.close(self._reports)
            raise
        finally:
            os.close(reports_of_child)
        assert self._popen.stdin is not None
        assert self._popen.stdout is not None
        self._control = self._popen.stdin.fileno()
        os.set_blocking(self._control, False)
        self._ended = threading.Event()
        self._reaping = threading.Lock()

    def begin(self, order: Order, directory: Path, outbox: Outbox) -> None:
        """Send it its order, once. Its output and reports go into `outbox`; it works in
        `directory`. Raises OSError, and BrokenPipeError where it has ended while it waited."""
        self._memory_kills = oom.kills()
        path = directory / "order.json"
        order.write(path)
        os.write(self._control, ORDER + json.dumps(str(path)).encode() + b"\n")
        self._outbox = outbox
        self._threads = [
            threading.Thread(target=self._read_reports, args=(self._reports,), daemon=True),
            threading.Thread(target=self._read_log, daemon=True),
            threading.Thread(target=self._pulse, args=(order.silence_seconds,), daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    @property
    def pid(self) -> int:
        """Process id of the leader, which is that of its group."""
        return self._popen.pid

    @property
    def exit_status(self) -> int | None:
        """None while it runs; negative: the signal that ended it. Known once `end` has returned."""
        return self._popen.returncode

    def was_killed_for_memory(self) -> bool:
        """Whether it was killed while the system killed processes because memory ran out."""
        return self.exit_status == -signal.SIGKILL and oom.kills() > self._memory_kills

    def has_ended(self) -> bool:
        """Whether the leader has ended. It is not reaped, so its process id is not reused."""
        if self._popen.returncode is not None:
            return True
        flags = os.WEXITED | os.WNOHANG | os.WNOWAIT
        return os.waitid(os.P_PID, self.pid, flags) is not None

    def wait(self, seconds: float) -> bool:
        """Wait for the leader's end for at most so long. Returns whether it has ended."""
        deadline = time.monotonic() + seconds
        while not self.has_ended():
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.02)
        return True

    def ask_to_stop(self) -> None:
        """Ask it to write a checkpoint after the current step, and to end."""
        self._say(STOP)

    def stop(self, grace_seconds: float, hurry: Callable[[], bool]) -> None:
        """Ask, then SIGTERM, then SIGKILL; returns when the group is gone.

        `hurry()` ends the grace period.
        """
        deadline = time.monotonic() + grace_seconds
        if grace_seconds > 0:
            self.ask_to_stop()
        while time.monotonic() < deadline and not hurry():
            if self.wait(0.1):
                break
        if not self.has_ended():
            self._signal_group(signal.SIGTERM)
            self.wait(TERM_SECONDS)
        self.end()

    def kill(self) -> None:
        """Kill the group at once, without waiting; callable from any thread."""
        self._signal_group(signal.SIGKILL)

    def go_on(self) -> None:
        """Continue (SIGCONT) a group that somebody stopped; callable from any thread."""
        self._signal_group(signal.SIGCONT)

    def end(self) -> None:
        """Kill what is left of the group; returns when all of it is gone."""
        if self._ended.is_set():
            return  # its number may be another's by now
        self.kill()
        with self._reaping:
            self._popen.wait()
        patience = time.monotonic() + 10
        while group_is_alive(self.pid):
            if time.monotonic() > patience:
                log.warning("process group %d does not end although killed", self.pid)
                patience = time.monotonic() + 60
            time.sleep(0.02)
        self._ended.set()
        assert self._popen.stdin is not None
        assert self._popen.stdout is not None
        if not self._threads:  # it had no order: nobody reads, and closes, what it wrote
            os.close(self._reports)
            self._popen.stdout.close()
        for thread in self._threads:
            thread.join(timeout=5)
        with contextlib.suppress(OSError):
            self._popen.stdin.close()

    def _say(self, line: bytes) -> None:
        # A full pipe means that it does not listen, a broken one that it has ended.
        with contextlib.suppress(BlockingIOError, BrokenPipeError, ValueError):
            os.write(self._control, line)

    def _pulse(self, silence_seconds: float) -> None:
        while not self._ended.wait(silence_seconds / 10):
            self._say(ALIVE)

    def _signal_group(self, number: int) -> None:
        # While its leader has not been waited for, the group's number cannot be another's.
        with self._reaping:
            if self._popen.returncode is None:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(self.pid, number)

    def _read_reports(self, handle: int) -> None:
        waiting = b""
        try:
            while received := os.read(handle, BLOCK):
                *lines, waiting = (waiting + received).split(b"\n")
                for line in lines:
                    self._put(line)
        finally:  # what follows the last end of line was cut off by the process's end
            os.close(handle)

    def _put(self, line: bytes) -> None:
        while True:
            try:
                return self._outbox.put(line)
            except OSError as error:  # no room on the disk: the pipe fills and the training waits
                log.warning("a report cannot be kept: %s", error)
                if self.has_ended():
                    return self._outbox.close()
                time.sleep(1.0)

    def _read_log(self) -> None:
        assert self._popen.stdout is not None
        with self._popen.stdout as stream:
            while received := os.read(stream.fileno(), BLOCK):
                self._outbox.put_log(received)


def group_is_alive(group: int) -> bool:
    """Whether a process of the group runs; zombies do not count."""
    while True:  # members that were handed to this process because it is the first of its container
        try:
            if os.waitpid(-group, os.WNOHANG)[0] == 0:
                break
        except ChildProcessError:
            break
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return False  # the number belongs to somebody else by now
    if not Path("/proc/self/stat").exists():
        return True
    return any(state not in "ZX" for _, state in _members(group))


def kill_leftovers(directory: Path) -> int:
    """Kill the processes of attempts below `directory` whose worker is dead. Returns their number.

    They are recognised by their environment, never by a process id, which may be reused.
    """
    killed = 0
    prefix = f"{MARK}={directory}/".encode()
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            variables = (entry / "environ").read_bytes().split(b"\0")
            if any(variable.startswith(prefix) for variable in variables):
                os.kill(int(entry.name), signal.SIGKILL)
                killed += 1
        except OSError:  # ended meanwhile, or of another user
            continue
    return killed


def _members(group: int) -> list[tuple[int, str]]:
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            # After the name, which may hold anything and ends at the last bracket:
            # state, parent, group.
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[2]) == group:
            found.append((int(entry.name), fields[0]))
    return found
