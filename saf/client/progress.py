"""What a person sees while a network trains: a live bar in a terminal or a notebook, or a line now
and then."""

from __future__ import annotations

import html
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from saf.printable import one_line

LINE_SECONDS = 3.0


@dataclass(frozen=True, kw_only=True)
class Moment:
    """How far a training is."""

    status: str
    step: int = 0
    steps_total: int | None = None
    metrics: Mapping[str, float | None] = field(default_factory=dict)
    seconds_left: float | None = None
    checked: tuple[int, int] | None = None  # samples of the conversion's check: done, of
    note: str = ""  # why it waits


class TrainingBar:
    """Shows one moment after the other; a context manager.

    In a terminal it is one live line. Elsewhere it is a line for each status and one every few
    seconds, so that a log stays readable.
    """

    def __init__(self, console: Console, title: str) -> None:
        self._console = console
        self._title = one_line(title)
        self._live = console.is_terminal and not console.is_dumb_terminal
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[numbers]}", markup=False),
            console=console,
            disable=not self._live,
        )
        self._task: TaskID | None = None
        self._status = ""
        self._printed = 0.0

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def show(self, moment: Moment) -> None:
        """Show how far it is."""
        text, status = one_line(numbers(moment)), one_line(moment.status)
        if self._live:
            if self._task is None:
                self._task = self._progress.add_task(self._title, total=None, numbers="")
            self._progress.update(
                self._task,
                description=f"{self._title} {status}",
                completed=moment.step,
                total=moment.steps_total,
                numbers=text,
            )
            return
        if status == self._status and time.monotonic() - self._printed < LINE_SECONDS:
            return
        self._status, self._printed = status, time.monotonic()
        shown = f"{self._title} {status} {text}".rstrip()
        self._console.print(shown, markup=False, soft_wrap=True)


class NotebookBar:
    """Shows one moment after the other as one line of HTML that changes, below a notebook's cell.
    Needs nothing but IPython, which runs the notebook."""

    def __init__(self, title: str) -> None:
        self._title = one_line(title)
        self._handle: Any = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """The last line stays."""

    def show(self, moment: Moment) -> None:
        """Show how far it is."""
        display = import_module("IPython.display").display
        bundle = {"text/html": self._html(moment), "text/plain": self._text(moment)}
        if self._handle is None:
            self._handle = display(bundle, raw=True, display_id=True)
        else:
            self._handle.update(bundle, raw=True)

    def _text(self, moment: Moment) -> str:
        return f"{self._title} {one_line(moment.status)} {one_line(numbers(moment))}".rstrip()

    def _html(self, moment: Moment) -> str:
        bar = f'<progress max="{moment.steps_total or 1}" value="{moment.step}"></progress>'
        before, after = html.escape(self._title), html.escape(one_line(numbers(moment)))
        return f"{before} {html.escape(one_line(moment.status))} {bar} {after}"


def progress_bar(title: str) -> TrainingBar | NotebookBar:
    """The bar of the place where this program runs."""
    if in_notebook():
        return NotebookBar(title)
    return TrainingBar(Console(highlight=False), title)


def in_notebook() -> bool:
    """Whether a Jupyter kernel runs this program."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return shell is not None and hasattr(shell, "kernel")


def moment_of(job: Mapping[str, Any]) -> Moment:
    """What a bar shows of a job."""
    ahead = job["jobs_ahead"]
    checked, to_check = job["progress"]["checked"], job["progress"]["to_check"]
    return Moment(
        status=job["status"],
        step=job["progress"]["step"],
        steps_total=job["progress"]["steps_total"],
        metrics=job["latest_metrics"],
        seconds_left=job["eta_seconds"],
        checked=(checked, to_check) if checked is not None and to_check is not None else None,
        note=job.get("waits_for") or (f"{ahead} before it" if ahead else ""),
    )


def numbers(moment: Moment) -> str:
    """Step, loss, accuracy, firing rate and time left, as far as they are known."""
    shown = [moment.note] if moment.note else []
    if moment.checked is not None:
        done, total = moment.checked
        shown.append(f"checking {done:,} of {total:,} samples")
    if moment.steps_total:
        shown.append(f"step {moment.step}/{moment.steps_total}")
    metrics = moment.metrics
    if (loss := metrics.get("loss")) is not None:
        shown.append(f"loss {loss:.3f}")
    if (accuracy := metrics.get("accuracy")) is not None:
        shown.append(f"accuracy {accuracy:.1%}")
    if (validated := metrics.get("val_accuracy")) is not None:
        shown.append(f"validation {validated:.1%}")
    if (test := metrics.get("test_accuracy")) is not None:
        shown.append(f"test {test:.1%}")
    if (rate := metrics.get("firing_rate")) is not None:
        shown.append(f"firing rate {rate:.3f}")
    if moment.seconds_left is not None:
        shown.append(f"{duration(moment.seconds_left)} left")
    return "  ".join(shown)


def duration(seconds: float) -> str:
    """`42 s`, `3:07`, `2:03:45`."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
