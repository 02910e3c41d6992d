"""Watchdog: detects a training that makes no progress for longer than its own pace explains.

Progress is a report. How long one may take depends on the phase: between two iterations on the
longest gap so far, in the others on an allowance, or the pace where that is longer. Time in which
the worker itself was stopped does not count.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from api.settings import Settings
from saf.training.events import Converting, Epoch, Evaluation, Report, Started, Step

LONGEST_LOOK = 1.0  # of the time between two looks counts at most so much: who looks may be stopped
KNOWN_GAPS = 3  # between iterations, from which on they say what is usual
EPOCHS_OF_AN_EVALUATION = 4  # an iteration is dearer than the same samples looked at
STATES = {
    "R": "it computes",
    "S": "it waits",
    "D": "it waits for a device or a disk",
    "T": "somebody stopped it by a signal",
    "t": "a debugger holds it",
    "Z": "it has ended",
}


class Phase(StrEnum):
    """Phase of a training."""

    loading = "loading"
    """until it says that it is set up"""
    first_iteration = "first iteration"
    """also compiles"""
    training = "training"
    """between iterations, and checkpoints"""
    evaluation = "evaluation"
    """on the test data, after each epoch"""
    conversion = "conversion"
    """to LIF neurons, and its check"""


@dataclass(frozen=True, kw_only=True)
class Stall:
    """A training that makes no progress."""

    phase: Phase
    step: int
    silent_seconds: float
    allowed_seconds: float
    longest_seconds: float
    """The longest gap in this phase before."""

    def __str__(self) -> str:
        pace = (
            f"its longest gap there before was {self.longest_seconds:.3g} s"
            if self.longest_seconds
            else "there is nothing to compare it with"
        )
        return (
            f"no progress for {self.silent_seconds:.3g} s after step {self.step} "
            f"({self.phase}; {pace})"
        )


class Watchdog:
    """Follows the reports of one attempt."""

    def __init__(
        self, settings: Settings, *, losses: int = 0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """The limits double with each attempt that was lost since the last checkpoint, so that a
        training that is slower than they allow comes through in the end."""
        self._settings = settings
        self._patience = 2.0**losses
        self._clock = clock
        self._lock = threading.Lock()
        self._phase = Phase.loading
        self._silent = 0.0
        self._looked = clock()
        self._longest: dict[Phase, float] = dict.fromkeys(Phase, 0.0)
        self._gaps: Counter[Phase] = Counter()
        self._step = 0
        self._steps_per_epoch = 0
        self._first_step: tuple[int, float] | None = None
        self._step_seconds = 0.0

    def saw(self, report: Report) -> None:
        """Note a report, which is progress; callable from any thread."""
        with self._lock:
            self._longest[self._phase] = max(self._longest[self._phase], self._silent)
            self._gaps[self._phase] += 1
            self._silent = 0.0
            self._step = getattr(report, "step", self._step)
            match report:
                case Started():
                    self._steps_per_epoch = report.steps_per_epoch
                    self._phase = Phase.first_iteration
                case Epoch():
                    self._phase = Phase.evaluation
                case Converting():
                    self._phase = Phase.conversion
                case Step() | Evaluation():
                    self._phase = Phase.training
            if isinstance(report, Step):
                self._time(report.step)

    def look(self) -> Stall | None:
        """Return a stall, if there is one; call it several times a second."""
        with self._lock:
            now = self._clock()
            self._silent += min(now - self._looked, LONGEST_LOOK)
            self._looked = now
            allowed = self._allowed()
            if not self._settings.stall_seconds or self._silent <= allowed:
                return None
            return Stall(
                phase=self._phase,
                step=self._step,
                silent_seconds=self._silent,
                allowed_seconds=allowed,
                longest_seconds=self._longest[self._phase],
            )

    def _allowed(self) -> float:
        phase, settings = self._phase, self._settings
        allowed = max(settings.stall_seconds, settings.stall_factor * self._longest[phase])
        if phase is not Phase.training:
            allowed = max(allowed, settings.stall_setup_seconds)
        elif self._gaps[phase] < KNOWN_GAPS:
            allowed = max(
                allowed, settings.stall_setup_seconds, 2 * self._longest[Phase.first_iteration]
            )
        if phase in (Phase.evaluation, Phase.conversion):
            epoch = self._steps_per_epoch * self._step_seconds
            allowed = max(allowed, EPOCHS_OF_AN_EVALUATION * epoch)
        return allowed * self._patience

    def _time(self, step: int) -> None:
        """Mean time of an iteration, evaluations and checkpoints included."""
        if self._first_step is None:
            self._first_step = (step, self._clock())
        elif (done := step - self._first_step[0]) > 0:
            self._step_seconds = (self._clock() - self._first_step[1]) / done


def state_of(pid: int) -> str:
    """State of a process according to the system, in words."""
    try:
        letter = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return "its state is not known"
    return STATES.get(letter, f"its state is {letter}")


def catches(pid: int, number: signal.Signals) -> bool:
    """Whether a process has a handler for a signal, which would end it otherwise."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
        mask = next(line for line in status.splitlines() if line.startswith("SigCgt:"))
    except (OSError, StopIteration):
        return False
    return bool(int(mask.split()[1], 16) >> (number - 1) & 1)


def ask_for_traceback(pid: int) -> None:
    """Make a training process write the stacks of its threads to its log."""
    if catches(pid, signal.SIGUSR1):
        try:
            os.kill(pid, signal.SIGUSR1)
        except ProcessLookupError:
            return
