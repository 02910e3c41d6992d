"""The training process: `python -m worker.processes.child PARENT PIPE`, one attempt of one job.

It has no credentials, no database and no broker. It ties its life to the worker's, loads torch, and
waits for its order (`worker.processes.protocol`), of which it carries out one. Then it passes on
what `saf.train` reports. While it waits it has no device, and is the first to go where memory runs
out.
"""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import io
import json
import logging
import os
import select
import shutil
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

from saf.errors import (
    DataError,
    InternalError,
    OutOfMemoryError,
    TrainingError,
    UserConfigError,
)
from saf.imports import uncollected
from saf.training.events import Artifact, Checkpoint, Report, Step
from worker.processes import disk
from worker.processes.protocol import MARK, ORDER, STOP, Failure, Logged, Order, encode

PR_SET_PDEATHSIG = 1
OOM_SCORE = Path("/proc/self/oom_score_adj")
FLUSH_SECONDS = 0.1
FLUSH_BYTES = 32_768
LOGGED_CHARACTERS = 16_384
DEVICE_LOST = (
    "unspecified launch failure",
    "uncorrectable ECC",
    "hardware stack error",
    "devices are busy or unavailable",
    "no CUDA-capable device",
    "launch timed out",
    "device lost",
)
"""What CUDA says of a device that failed; its other errors are those of a program."""


log = logging.getLogger("worker.processes.child")  # also where this file is the program

Train = Callable[[Order, Callable[[], bool]], Iterator[Report]]


def main(train: Train | None = None) -> int:
    """Wait for the order, and train as it says; the exit status is 0 whenever the reports say how
    it ended.

    `train(order, stop)` is the training, `saf.train` unless another is given.
    """
    # Line by line. Without any buffer, what is left of a long line when a suspended process goes on
    # in the middle of it would be lost.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(line_buffering=True, errors="backslashreplace")
    logging.basicConfig(format="%(message)s")  # to the job's log
    for name in ("saf", log.name):
        logging.getLogger(name).setLevel(logging.INFO)
    parent, reports = int(sys.argv[1]), int(sys.argv[2])
    _die_with(parent)
    os.set_inheritable(reports, False)
    control = Control()
    if train is None:
        _load()
    order = control.wait_for_order()
    signal.signal(signal.SIGTERM, lambda _number, _frame: control.stop.set())
    faulthandler.register(signal.SIGUSR1)  # where each thread is, to the job's log
    line = ReportLine(reports, Path(order.outgoing))
    logging.getLogger().addHandler(ReportHandler(line))
    log.info(
        "attempt %s of %s, asked for by request %s",
        *(order.ids.get(name) for name in ("attempt", "job_id", "request_id")),
    )
    try:
        for report in (train or _train)(order, control.stop.is_set):
            line.send(report)
    except Exception as error:
        if not isinstance(error, TrainingError):
            traceback.print_exc()
        line.send(failure_of(error))
    line.flush()
    return 0


def failure_of(error: Exception) -> Failure:
    """The report of an error that ended the training."""
    match error:
        case OutOfMemoryError():
            return Failure(
                code=error.code, message=str(error), hint=error.hint, samples=error.samples
            )
        case TrainingError():
            return Failure(code=error.code, message=str(error), hint=error.hint)
        case MemoryError():
            return Failure(
                code=OutOfMemoryError.code,
                message=f"the machine has too little memory: {error}",
                hint="take a smaller batch_size, fewer timesteps or a narrower network",
            )
        case OSError() if disk.may_pass(error):
            return Failure(
                code=InternalError.code,
                message=f"the training process cannot use its disk: {error}",
                hint="make room in the worker's data directory, then retry the job",
                transient=True,
            )
    said = f"{type(error).__name__}: {error}"
    if any(sign in said for sign in DEVICE_LOST):
        return Failure(
            code=InternalError.code,
            message=f"the device was lost: {said}",
            hint="look at the device (nvidia-smi, the kernel's log), then retry the job",
            transient=True,
        )
    return Failure(
        code=InternalError.code,
        message=said,
        hint="this is a defect of the service; the job's log has the details",
    )


class Control:
    """Reads the control pipe in a thread. When the pipe ends, or is silent once there is an
    order, this process and its group end."""

    def __init__(self) -> None:
        self.stop = threading.Event()
        """Set when the training is to stop after the step under way."""
        self._order: Order | None = None
        self._ordered = threading.Event()
        self._oom_score = _go_first()
        threading.Thread(target=self._follow, name="control", daemon=True).start()

    def wait_for_order(self) -> Order:
        """Wait for the order; from then on this process works in the directory of the attempt."""
        self._ordered.wait()
        assert self._order is not None
        return self._order

    def _follow(self) -> None:
        waiting = b""
        while True:
            patience = None if self._order is None else self._order.silence_seconds
            readable, _, _ = select.select([0], [], [], patience)
            received = os.read(0, 4096) if readable else b""
            if not received:
                _end_group()
            waiting += received
            *lines, waiting = waiting.split(b"\n")
            for line in lines:
                if line == STOP.strip():
                    self.stop.set()
                elif line.startswith(ORDER):
                    self._take(Path(json.loads(line.removeprefix(ORDER))))

    def _take(self, path: Path) -> None:
        try:
            order = Order.read(path)
            os.chdir(path.parent)
        except BaseException:
            traceback.print_exc()
            _end_group()
        os.environ[MARK] = str(path.parent)
        if self._oom_score is not None:
            with contextlib.suppress(OSError):
                OOM_SCORE.write_text(self._oom_score)
        self._order = order
        self._ordered.set()


class ReportLine:
    """Writes reports to the pipe, several at a time; blocks while the worker is behind."""

    def __init__(self, handle: int, outgoing: Path) -> None:
        self._handle = handle
        self._outgoing = outgoing
        self._waiting = bytearray()
        self._lock = threading.Lock()
        self._files = 0
        threading.Thread(target=self._flush_soon, name="reports", daemon=True).start()

    def send(self, report: Report | Failure | Logged) -> None:
        """Send a report. Its file is moved to where the training does not remove it."""
        if isinstance(report, Checkpoint):
            try:
                path = self._put_out(report.path)
            except OSError as error:  # a full disk: the next one may find room
                print(f"the checkpoint of step {report.step} cannot be kept: {error}", flush=True)
                return
            report = Checkpoint(step=report.step, epoch=report.epoch, path=path)
        elif isinstance(report, Artifact):
            path = self._put_out(report.path)
            report = Artifact(name=report.name, kind=report.kind, path=path)
        with self._lock:
            self._waiting += encode(report).encode() + b"\n"
        if not isinstance(report, Step) or len(self._waiting) >= FLUSH_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write buffered reports; blocks while the pipe is full. Raises OSError."""
        with self._lock:
            while self._waiting:
                written = os.write(self._handle, self._waiting)
                del self._waiting[:written]

    def _flush_soon(self) -> None:
        while True:
            time.sleep(FLUSH_SECONDS)
            with contextlib.suppress(OSError):  # the next `send` meets it too
                self.flush()

    def _put_out(self, path: Path) -> Path:
        self._files += 1
        target = self._outgoing / f"{self._files:06d}-{path.name}"
        try:
            os.link(path, target)
        except OSError:  # a file system without links, or another one
            try:
                shutil.copyfile(path, target)
            except OSError:
                target.unlink(missing_ok=True)
                raise
        return target


class ReportHandler(logging.Handler):
    """Sends log records to the worker, so that its log has them with the ids of the attempt."""

    def __init__(self, line: ReportLine) -> None:
        super().__init__()
        self._line = line

    def emit(self, record: logging.LogRecord) -> None:
        """Send the first `LOGGED_CHARACTERS` of a message. A pipe that is gone changes nothing."""
        with contextlib.suppress(OSError):
            text = self.format(record)[:LOGGED_CHARACTERS]
            self._line.send(Logged(level=record.levelno, logger=record.name, text=text))


def _load() -> None:
    """Import what a training needs, after the process has tied itself to its worker. No device
    is touched: another training may use it."""
    try:
        with uncollected():
            import saf.data
            import saf.training.loop  # noqa: F401
    except Exception:  # it is raised again by the training, which has somebody to tell
        log.debug("loading", exc_info=True)


def _go_first() -> str | None:
    """Make the kernel kill this process before others where memory runs out. Returns what to
    write to take that back, None where it is not known."""
    try:
        before = OOM_SCORE.read_text()
        OOM_SCORE.write_text("1000")
    except OSError:
        return None
    return before


def _train(order: Order, stop: Callable[[], bool]) -> Iterator[Report]:
    import saf
    from saf.config import JobSpecification
    from saf.config.choice import unknown_names
    from saf.data import BUILTIN, load
    from saf.training.hardware.malloc import keep_freed_memory

    keep_freed_memory()
    if order.builtin and order.dataset not in BUILTIN:
        raise DataError(
            f"there is no data set {order.dataset!r} built in",
            hint=f"take one of {', '.join(BUILTIN)}, or upload the data set",
        )
    dataset = BUILTIN[order.dataset]() if order.builtin else load(Path(order.dataset))
    if missing := unknown_names(order.specification, JobSpecification):
        raise _unknown(missing, order.specification.get("plugins"))
    try:
        specification = JobSpecification.model_validate(order.specification)
    except ValueError as error:
        raise UserConfigError(
            f"the specification of the job is not one of this version: {error}",
            hint="submit the job again, with what this version of the program knows",
        ) from error
    yield from saf.train(
        specification,
        dataset,
        Path(order.directory),
        device=order.device,
        resume_from=Path(order.resume_from) if order.resume_from else None,
        init_from=Path(order.init_from) if order.init_from else None,
        inherited=order.inherited,
        stop=stop,
    )


def _unknown(missing: list[str], of_packages: object) -> UserConfigError:
    """Error for a job that was submitted where plugins are installed that are missing here."""
    from saf.registry import plugins

    packages = of_packages if isinstance(of_packages, dict) else {}
    wanted = list(dict.fromkeys(packages[name] for name in missing if name in packages))
    broken = [each for each in plugins() if each.error]
    said = "".join(f"; {each} is left out here: {each.error}" for each in broken)
    needed = f"install {' and '.join(wanted)}" if wanted else "install the plugin that adds it"
    return UserConfigError(
        f"this worker knows no {', no '.join(missing)}{said}",
        hint=f"{needed} on every worker, in the environment that `saf worker` runs in, and start "
        "it again; or choose what all of them know",
    )


def _die_with(parent: int) -> None:
    """Make the kernel kill this process when the worker's thread that started it ends."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before the call above
        _end_group()


def _end_group() -> NoReturn:
    if os.getpgrp() == os.getpid():  # never the group of a shell that it was started from by hand
        os.killpg(os.getpgrp(), signal.SIGKILL)
    os._exit(1)


def leave(status: int) -> NoReturn:
    """End this process at once, without torch's clean-up, which takes half a second."""
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    leave(main())
