"""Training and running on this machine, without a server: `saf train` and `saf run`.

Nothing of torch is loaded before one of them is called, so that its threads learn how to wait, and
nothing of the terminal before a training, so that `saf run` works without the extra `client`.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from saf.cli.data.reading import read_here
from saf.config import JobSpecification
from saf.cores import prepare_threads
from saf.data import BUILTIN, Dataset
from saf.errors import DataError
from saf.training.events import (
    Checking,
    Checkpoint,
    Converting,
    Epoch,
    Evaluation,
    Finished,
    Report,
    Started,
    Step,
)

if TYPE_CHECKING:
    from rich.console import Console

    from saf.client.progress import TrainingBar
    from saf.lif.measure import Measured


def dataset_of(name_or_path: str, reading: Mapping[str, str] | None = None) -> Dataset:
    """A built-in data set by its name, or whatever lies at a path, read as `reading` says. Raises
    DataError."""
    if name_or_path in BUILTIN:
        return BUILTIN[name_or_path]()
    if not Path(name_or_path).exists():
        raise DataError(
            f"there is no data set {name_or_path!r}",
            hint=f"Name one of {', '.join(BUILTIN)}, or a folder or file on this machine.",
        )
    return read_here(name_or_path, reading or {})


def begun_with(directory: Path) -> dict[str, Any] | None:
    """The specification of the training whose checkpoint lies in `directory`, as a download of a
    job's files leaves it; None where there is none. Raises ValueError for a damaged one."""
    point = _resume_point(directory)
    if point is None:
        return None
    from saf.training import checkpoint

    saved, _ = checkpoint.newest(point)
    return None if saved is None else saved.specification.model_dump(mode="json")


def _resume_point(directory: Path) -> Path | None:
    """Where a training in `directory` goes on: the checkpoints of one that was interrupted there,
    or `checkpoint.safetensors`, which a job leaves behind, whichever is further."""
    file, folder = directory / "checkpoint.safetensors", directory / "checkpoints"
    from saf.training import checkpoint

    there = checkpoint.steps(folder)
    if file.is_file():
        step = checkpoint.Checkpoint.read(file).progress.step
        if not there or step > there[0][0]:
            return file
    return folder if there else None


def _going_on(specification: JobSpecification, point: Path) -> JobSpecification:
    """`specification` to go on with from the checkpoints at `point`: where that training is done
    and more epochs are asked for, the schedule begins anew after its last one."""
    from saf.training import checkpoint

    saved, _ = checkpoint.newest(point)
    if saved is None or specification.epochs == "auto":
        return specification
    before, done = saved.specification, len(saved.progress.history)
    is_done = saved.progress.ended_early or done >= before.epochs
    schedule = specification.schedule
    if schedule.start_epoch not in (0, before.schedule.start_epoch):
        return specification
    if is_done and done < specification.epochs != before.epochs:
        start = done
    elif schedule.start_epoch == 0 and specification.epochs == before.epochs:
        start = before.schedule.start_epoch  # the command that went on, once more
    else:
        return specification
    changed = schedule.model_copy(update={"start_epoch": start})
    return specification.model_copy(update={"schedule": changed})


def train_here(
    specification: JobSpecification,
    directory: Path,
    console: Console,
    *,
    init_from: Path | None = None,
    reading: Mapping[str, str] | None = None,
) -> dict[str, Any] | None:
    """Train into `directory`, with a live bar; goes on from a checkpoint that is there. `init_from`
    is the checkpoint that `specification.init` names, `reading` how the data are to be read.

    Returns the summary of the run, None when it was interrupted and a checkpoint was written.
    Raises TrainingError, OSError.
    """
    dataset = dataset_of(specification.dataset, reading)
    directory.mkdir(parents=True, exist_ok=True)
    prepare_threads(os.environ)
    from saf.client.progress import TrainingBar
    from saf.training.loop import train

    point = _resume_point(directory)
    if point is not None:
        specification = _going_on(specification, point)
    summary: dict[str, Any] | None = None
    with _interrupt() as interrupted, TrainingBar(console, "training") as bar:
        follow = _Follower(console, bar)
        for report in train(
            specification,
            dataset,
            directory,
            resume_from=point,
            init_from=init_from,
            stop=interrupted.is_set,
        ):
            follow(report)
            if isinstance(report, Finished):
                summary = report.summary
    return summary


def run_network(
    network: Path,
    dataset: str,
    *,
    split: str,
    batch_size: int,
    reading: Mapping[str, str] | None = None,
) -> Measured:
    """Run a `lif.safetensors` on a split of a data set. Raises DataError, ValueError, OSError."""
    data = dataset_of(dataset, reading)
    prepare_threads(os.environ)
    from saf.lif.measure import measure
    from saf.lif.network import load_lif

    x, y, lengths = data.x_train, data.y_train, data.lengths_train
    if split == "test":
        x, y, lengths = data.x_test, data.y_test, data.lengths_test
    options: dict[str, Any] = {"batch_size": batch_size, "unit": data.unit, "lengths": lengths}
    try:
        return measure(load_lif(network), x, y, **options)
    except RuntimeError as error:  # as torch says that memory does not suffice
        reason = str(error).strip().splitlines()[0][:300]
        raise ValueError(f"{network} cannot be run on this machine: {reason}") from error


class _Follower:
    """Turns the reports of a training into what the bar shows."""

    def __init__(self, console: Console, bar: TrainingBar) -> None:
        self._console = console
        self._bar = bar
        self._status = "starting"
        self._metrics: dict[str, float] = {}
        self._begun = (0, 0.0)  # step and time
        self._step = 0
        self._total = 0
        self._checked: tuple[int, int] | None = None

    def __call__(self, report: Report) -> None:
        match report:
            case Started():
                self._begun = (report.step, time.monotonic())
                self._total = report.steps_total
                self._status = "running"
                if report.step:
                    self._console.print(f"goes on from step {report.step}", highlight=False)
            case Step() | Epoch() | Evaluation():
                self._metrics |= report.metrics
            case Converting():
                self._status = "converting"
            case Checking():
                self._checked = (report.done, report.total)
            case Checkpoint() | Finished():
                pass
            case _:
                return
        self._step = getattr(report, "step", self._step)  # the check has none of its own
        from saf.client.progress import Moment

        self._bar.show(
            Moment(
                status=self._status,
                step=self._step,
                steps_total=self._total,
                metrics=self._metrics,
                checked=self._checked,
                seconds_left=self._left(self._step),
            )
        )

    def _left(self, step: int) -> float | None:
        first, began = self._begun
        if step <= first or self._status != "running":
            return None
        return (time.monotonic() - began) / (step - first) * (self._total - step)


@contextmanager
def _interrupt() -> Iterator[threading.Event]:
    """Ctrl-C sets the event; a second one interrupts as usual."""
    event = threading.Event()
    before = signal.getsignal(signal.SIGINT)

    def ask(_number: int, _frame: object) -> None:
        event.set()
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, ask)
    try:
        yield event
    finally:
        signal.signal(signal.SIGINT, before)
