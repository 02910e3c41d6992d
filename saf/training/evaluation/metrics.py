"""The numbers of a training: collected on the device, read several iterations at a time."""

from __future__ import annotations

from math import isfinite, prod
from time import perf_counter

import torch
from torch import Tensor

from saf.config import ResolvedSpecification
from saf.model.batch import Batch
from saf.model.outcome import Outcome
from saf.networks.architecture import Architecture
from saf.training.checkpoint import Progress
from saf.training.events import Epoch, Step
from saf.training.failures import diverged
from saf.training.hardware.device_usage import Usage


class Meter:
    """Collects the numbers of iterations on the device and reads them several at a time."""

    def __init__(
        self,
        specification: ResolvedSpecification,
        architecture: Architecture,
        per_epoch: int,
        progress: Progress,
        usage: Usage,
    ) -> None:
        shapes = architecture.shapes()
        neurons = {p.name: prod(shapes[p.name]) for p in architecture.spiking}
        self._share = {name: count / sum(neurons.values()) for name, count in neurons.items()}
        self._specification, self._per_epoch, self._progress = specification, per_epoch, progress
        self._usage = usage
        self._waiting: list[tuple[int, float, int, float, Tensor]] = []
        self._began = 0.0

    @property
    def waiting(self) -> int:
        """Iterations whose numbers have not been read."""
        return len(self._waiting)

    def add(self, began: float, rate: float, outcome: Outcome, batch: Batch) -> None:
        """The iteration that ended just now and began at the time `began`."""
        if not self._waiting:
            self._began = began
        samples = len(batch.y)
        shown = float(samples)  # at all time steps
        if batch.lengths is not None:
            shown = batch.lengths.shown(batch.timesteps)
        correct = (outcome.scores.argmax(1) == batch.y).sum()
        numbers = torch.stack([outcome.loss.double(), correct.double()])
        numbers = torch.cat([numbers, outcome.firing_rates.double()])
        self._waiting.append((self._progress.step, rate, samples, shown, numbers))

    def read(self) -> list[Step]:
        """A report for each waiting iteration; their numbers are added to the sums of the epoch.

        Raises `DivergedError` at a loss that is not finite.
        """
        table = torch.stack([numbers for *_, numbers in self._waiting]).tolist()
        seconds = perf_counter() - self._began
        self._progress.seconds["iterations"] += seconds
        reports = []
        # An epoch that began with a version that did not count them.
        self._progress.sums.setdefault("shown", self._progress.sums.get("samples", 0.0))
        for (step, rate, samples, shown, _), (loss, correct, *rates) in zip(
            self._waiting, table, strict=True
        ):
            if not isfinite(loss):
                raise diverged(f"at iteration {step}", self._specification)
            if self._progress.initial_loss is None:
                self._progress.initial_loss = loss
            firing = dict(zip(self._share, rates, strict=True))
            sums = {"loss": loss * samples, "correct": correct, "samples": samples, "shown": shown}
            sums |= {f"firing_rate/{name}": value * shown for name, value in firing.items()}
            for key, value in sums.items():
                self._progress.sums[key] = self._progress.sums.get(key, 0.0) + value
            metrics = {
                "loss": loss,
                "accuracy": correct / samples,
                "firing_rate": sum(self._share[name] * firing[name] for name in firing),
                "learning_rate": rate,
                "step_seconds": seconds / len(self._waiting),
            }
            reports.append(Step(step=step, epoch=step / self._per_epoch, metrics=metrics))
        self._waiting.clear()
        reports[-1].metrics.update(self._usage.read())
        return reports

    def finish_epoch(self) -> Epoch:
        """The means over the epoch that has ended; they begin the entry of it in the history."""
        sums = self._progress.sums
        epoch = self._progress.step // self._per_epoch
        metrics = {
            "train_loss": sums["loss"] / sums["samples"],
            "train_accuracy": sums["correct"] / sums["samples"],
        }
        metrics |= {
            name: value / sums["shown"]
            for name, value in sums.items()
            if name.startswith("firing_rate/")
        }
        self._progress.history.append({"epoch": epoch, "step": self._progress.step, **metrics})
        self._progress.sums = {}
        return Epoch(step=self._progress.step, epoch=epoch, metrics=metrics)
