"""What a training tells those who listen: plain values, no tensors, no torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Started:
    """The first report: the training is set up and goes on from `step`."""

    step: int  # iterations done before this start: 0, or where a checkpoint left off
    steps_total: int
    steps_per_epoch: int
    parameters: int
    device: str


@dataclass(frozen=True, kw_only=True)
class Step:
    """One iteration, that is one batch."""

    step: int  # iterations done, this one included
    epoch: float  # epochs done, as a fraction
    metrics: dict[str, float]  # loss, accuracy, firing_rate, learning_rate, step_seconds


@dataclass(frozen=True, kw_only=True)
class Epoch:
    """One pass over the training data is done."""

    step: int
    epoch: int
    metrics: dict[str, float]  # train_loss, train_accuracy, firing_rate/<layer> per layer


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """The network on the test data."""

    step: int
    epoch: int
    metrics: dict[str, float]  # test_loss, test_accuracy


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A file from which the training can go on bit-exactly."""

    step: int
    epoch: int
    path: Path


@dataclass(frozen=True, kw_only=True)
class Converting:
    """Training is over; the network is being converted to LIF neurons and checked."""

    step: int


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """A file that the job leaves behind."""

    name: str
    kind: str  # network, certificate, report, checkpoint
    path: Path


@dataclass(frozen=True, kw_only=True)
class Finished:
    """The last report of a training that succeeded."""

    step: int
    summary: dict[str, Any] = field(default_factory=dict)


Report = Started | Step | Epoch | Evaluation | Checkpoint | Converting | Artifact | Finished
