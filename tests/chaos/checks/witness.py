"""What training processes say of themselves, apart from the service: who trained when, and alone.

Each holds a lock of the kernel on a file of its job from its start to its end, however that comes.
So two that train the same job at the same time cannot both hold it, and the second one says so.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

HANGS = ("waits", "computes")
PF_EXITING, PF_SIGNALED = 0x4, 0x400  # include/linux/sched.h


@dataclass(frozen=True, kw_only=True)
class Testimony:
    """One line of a training process."""

    event: str  # start, resumed, hangs, end; together: another one trains
    job_id: str
    attempt: int
    pid: int
    at: float  # CLOCK_MONOTONIC, the same for all processes of the machine
    step: int = -1
    other_pid: int = 0  # who holds the lock


class Witness:
    """Writes the lines of one training process."""

    def __init__(self, directory: Path, job_id: str, attempt: int) -> None:
        self._directory = directory
        self._job_id = job_id
        self._attempt = attempt

    def say(self, event: str, *, step: int = -1, other_pid: int = 0) -> None:
        """Add a line, in one write."""
        line = Testimony(
            event=event,
            job_id=self._job_id,
            attempt=self._attempt,
            pid=os.getpid(),
            at=time.monotonic(),
            step=step,
            other_pid=other_pid,
        )
        path = self._directory / f"{self._job_id}.jsonl"
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            os.write(handle, json.dumps(asdict(line)).encode() + b"\n")
        finally:
            os.close(handle)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Train inside; says so when another process of the job trains."""
        lock = os.open(self._directory / f"{self._job_id}.lock", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(lock, 0)
            os.pwrite(lock, str(os.getpid()).encode(), 0)
        except BlockingIOError:
            threading.Thread(target=self._suspect, args=(lock,), daemon=True).start()
        self.say("start")
        try:
            yield
            self.say("end")
        finally:
            os.close(lock)

    def hang_if_told(self, *, step: int) -> None:
        """Make no progress any more, where the suite has asked for that by a file."""
        path = _order_to_hang(self._directory, self._job_id, self._attempt)
        if not path.exists():
            return
        how = path.read_text()
        self.say("hangs", step=step)
        while True:
            if how == "waits":
                time.sleep(3600)

    def _suspect(self, lock: int) -> None:
        """Follow the other process until it is gone; one that stands still or was killed does not
        train, though it may hold its files for a while."""
        while True:
            holder = os.pread(lock, 20, 0)
            pid = int(holder) if holder.isdigit() else 0
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if not stands_still(pid) and not was_killed(pid):
                    self.say("together", other_pid=pid)
                    return
            else:
                os.ftruncate(lock, 0)
                os.pwrite(lock, str(os.getpid()).encode(), 0)
                return
            time.sleep(0.01)


def hang(directory: Path, job_id: str, attempt: int, how: str) -> None:
    """Let an attempt hang after its next step, in one of the ways of `HANGS`."""
    path = _order_to_hang(directory, job_id, attempt)
    path.with_suffix(".part").write_text(how)
    path.with_suffix(".part").rename(path)


def _order_to_hang(directory: Path, job_id: str, attempt: int) -> Path:
    return directory / f"{job_id}-{attempt}.hang"


def stands_still(pid: int) -> bool:
    """Whether a signal has stopped it."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state == "T"


def was_killed(pid: int) -> bool:
    """Whether it has the signal that nobody survives, ends, or is gone: nothing of its program
    runs any more. On a busy machine the kernel takes a while to free what it held."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
        flags = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[6])
    except OSError:
        return True
    pending = [
        int(line.split()[1], 16)
        for line in status.splitlines()
        if line.startswith(("SigPnd:", "ShdPnd:"))
    ]
    kill = 1 << (signal.SIGKILL - 1)
    return bool(flags & (PF_EXITING | PF_SIGNALED)) or any(mask & kill for mask in pending)


def testimonies(directory: Path) -> list[Testimony]:
    """All lines of all processes, in the order of time."""
    lines = [
        Testimony(**json.loads(line))
        for path in directory.glob("*.jsonl")
        for line in path.read_text().splitlines()
    ]
    return sorted(lines, key=lambda line: line.at)
