"""Damaged and hostile files against the check of uploads, as the service runs it.

    python -m tests.fuzz.readers --inputs 5000 --seed 0

Each input is read by `saf.processes.check_dataset` in a process of its own, with the service's
limits on memory and processor time, forked from one that has imported it; every so many are run by
a new interpreter with the service's own environment. The rules:

- the process ends by itself, says `ok` or names a problem with a hint, and prints no traceback;
- it takes less than `SECONDS`, and its memory stays below `MEMORY_BYTES`;
- it opens, makes and removes no file outside its directory (those of Python itself may be read),
  starts no process, opens no connection and unpickles nothing.

Exit status 1 when one of them is broken; the inputs are then kept for a look.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from api.host.child import plain_environment
from saf.data import FORMATS
from saf.data.sources.limits import MIB, Limits
from saf.processes import check_dataset
from tests.fuzz.inputs import KINDS, make

FORMATS.names()  # imports them all, before what a check does is watched

SECONDS = 10  # of processor time
CLOCK_SECONDS = 300.0  # for a process that waits; a busy machine is none
MEMORY_BYTES = 512 * MIB
LIMITS = Limits(
    max_archive_bytes=64 * MIB, max_unpacked_bytes=64 * MIB, max_image_side=1024, max_classes=1000
)
ADDRESS_SPACE = 2 * LIMITS.max_unpacked_bytes + 1024 * MIB  # as the service sets it
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
CHANGES = ("os.mkdir", "os.rename", "os.remove", "os.link", "os.symlink", "os.rmdir", "os.truncate")
FORBIDDEN = ("subprocess", "os.exec", "os.system", "os.fork", "os.spawn", "socket.", "pickle.")
PYTHON = tuple({str(Path(p).resolve()) for p in (sys.prefix, sys.base_prefix, *sys.path) if p})
READABLE = (*PYTHON, "/usr/lib", "/usr/share/zoneinfo", "/proc/self", "/dev/null", "/dev/urandom")


@dataclass
class Report:
    """What came of the inputs."""

    outcomes: dict[str, Counter[str]] = field(default_factory=dict)  # by kind
    violations: list[str] = field(default_factory=list)
    most_bytes: int = 0
    most_seconds: float = 0.0

    def lines(self) -> list[str]:
        """The report for people."""
        names = sorted({name for counts in self.outcomes.values() for name in counts})
        head = f"{'kind':<14}{'inputs':>8}" + "".join(f"{name:>12}" for name in names)
        rows = [
            f"{kind:<14}{counts.total():>8}" + "".join(f"{counts[name]:>12}" for name in names)
            for kind, counts in self.outcomes.items()
        ]
        total: Counter[str] = sum(self.outcomes.values(), Counter())
        return [
            head,
            *rows,
            f"{'all':<14}{total.total():>8}" + "".join(f"{total[name]:>12}" for name in names),
            f"most memory {self.most_bytes / MIB:.0f} MiB, longest {self.most_seconds:.2f} s, "
            f"violations {len(self.violations)}",
            *self.violations,
        ]


def run(
    inputs: int,
    seed: int,
    *,
    kinds: tuple[str, ...] = (),
    interpreter_every: int = 0,
    seconds: float = math.inf,
) -> Report:
    """Try so many inputs, the kinds in turn, or as many as there is time for.

    `interpreter_every` 0: all are forked.
    """
    end = time.monotonic() + seconds
    report = Report()
    chosen = kinds or tuple(KINDS)
    root = Path(tempfile.mkdtemp(prefix="saf-fuzz-"))
    try:
        for number in range(inputs):
            if time.monotonic() > end:
                break
            kind = chosen[number % len(chosen)]
            name, content = make(kind, Random(f"{seed} {kind} {number}"))
            place = root / str(number)
            (place / "in").mkdir(parents=True)
            (place / "in" / name).write_bytes(content)
            spawned = interpreter_every and number % interpreter_every == 0
            begun = time.monotonic()
            status, memory = (_spawn if spawned else _fork)(place, name)
            took = time.monotonic() - begun
            outcome, broken = _judge(place, status, memory, took)
            report.outcomes.setdefault(kind, Counter())[outcome] += 1
            report.most_bytes = max(report.most_bytes, memory)
            report.most_seconds = max(report.most_seconds, took)
            if broken:
                report.violations.append(f"{kind} {number} (seed {seed}), {place}: {broken}")
            else:
                shutil.rmtree(place)
    finally:
        if not report.violations:
            shutil.rmtree(root)
    return report


def _arguments(place: Path, name: str) -> list[str]:
    limits = [f"--{key.replace('_', '-')}={value}" for key, value in vars(LIMITS).items()]
    return [
        *(str(place / "in" / name), str(place / "canonical.safetensors")),
        *("--result", str(place / "result.json"), "--preview", str(place / "preview.png")),
        *("--max-memory-bytes", str(ADDRESS_SPACE), "--max-seconds", str(SECONDS), *limits),
    ]


def _spawn(place: Path, name: str) -> tuple[int, int]:
    """By a new interpreter, as `api.datasets.checks` starts it."""
    command = [sys.executable, "-P", "-m", "saf.processes.check_dataset", *_arguments(place, name)]
    with (place / "output.txt").open("wb") as output:
        child = subprocess.Popen(
            command, stdout=output, stderr=output, env=plain_environment(), cwd=place
        )
        return _wait(child.pid)


def _fork(place: Path, name: str) -> tuple[int, int]:
    pid = os.fork()
    if pid:
        return _wait(pid)
    status = 70
    try:
        output = os.open(place / "output.txt", os.O_WRONLY | os.O_CREAT)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.chdir(place)
        sys.addaudithook(_Guard(place))
        status = check_dataset.main(_arguments(place, name))
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _wait(pid: int) -> tuple[int, int]:
    """Exit status (negative: a signal) and the most memory, in bytes."""
    deadline = time.monotonic() + CLOCK_SECONDS
    while True:
        done, status, usage = os.wait4(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status), usage.ru_maxrss * 1024
        if time.monotonic() > deadline:
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.001)


class _Guard:
    """An audit hook: what the check must never do ends the process with a line on stderr."""

    def __init__(self, place: Path) -> None:
        self._own = f"{place.resolve()}{os.sep}"

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, _, flags = arguments
            if isinstance(path, (str, bytes)):
                readable = (self._own, f"/proc/{os.getpid()}/", *READABLE)
                allowed = (self._own,) if flags & WRITES else readable
                self._inside(event, path, allowed)
        elif event in CHANGES:
            for path in arguments:
                if isinstance(path, (str, bytes)):
                    self._inside(event, path, (self._own,))
        elif event.startswith(FORBIDDEN):
            self._end(f"{event} {arguments!a}")

    def _inside(self, event: str, path: str | bytes, allowed: tuple[str, ...]) -> None:
        whole = os.path.realpath(os.fsdecode(path))
        whole = whole.replace(f"/proc/{os.getpid()}/", "/proc/self/")  # a link to it
        if not f"{whole}{os.sep}".startswith(allowed) and not whole.startswith(allowed):
            self._end(f"{event} {whole!a}")

    def _end(self, text: str) -> None:
        os.write(2, f"OUTSIDE: {text}\n".encode())
        os._exit(71)


def _judge(place: Path, status: int, memory: int, seconds: float) -> tuple[str, str]:
    """The outcome, and what rule was broken."""
    said = (place / "output.txt").read_text(errors="replace")
    with contextlib.suppress(FileNotFoundError):
        if any(path.name == "escaped" for path in place.parent.parent.iterdir()):
            return "escaped", "a file appeared outside of its directory"
    if memory > MEMORY_BYTES:
        return "memory", f"{memory / MIB:.0f} MiB"
    if seconds > CLOCK_SECONDS:
        return "hung", f"{seconds:.1f} s"
    if status != 0 or "Traceback" in said:
        return "crashed", f"exit status {status}: {said[-1500:]}"
    try:
        verdict = json.loads((place / "result.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        return "silent", f"no verdict: {error}"
    strays = {path.name for path in place.iterdir()}
    if not strays <= {"in", "output.txt", "result.json", "canonical.safetensors", "preview.png"}:
        return "littered", f"left {sorted(strays)}"
    if verdict["ok"]:
        return "accepted", "" if (place / "canonical.safetensors").is_file() else "no file"
    for problem in verdict["problems"]:
        if "processor time" in problem["message"]:
            return "hung", f"more than {SECONDS} s of processor time"
        if not problem["message"].strip() or not problem["hint"].strip():
            return "refused", f"no clear problem: {problem}"
        if len(problem["message"]) > 2000 or str(place) in problem["message"]:
            return "refused", f"a problem too long, or with a path of the server: {problem}"
    return "refused", ""


def main() -> int:
    """The command; see the module."""
    parser = argparse.ArgumentParser(description="Fuzz the readers of data sets.")
    parser.add_argument("--inputs", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kind", action="append", choices=tuple(KINDS), default=[])
    parser.add_argument("--interpreter-every", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=math.inf, help="stop after so long")
    options = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    begun = time.monotonic()
    report = run(
        options.inputs,
        options.seed,
        kinds=tuple(options.kind),
        interpreter_every=options.interpreter_every,
        seconds=options.seconds,
    )
    print("\n".join(report.lines()))
    print(f"{time.monotonic() - begun:.0f} s")
    return 1 if report.violations else 0


if __name__ == "__main__":
    sys.exit(main())
