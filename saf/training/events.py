"""Events of a training: plain values, no tensors, no torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypedDict

MEMBRANE_BINS = 25
MEMBRANE_RANGE = (-2.0, 3.0)  # of u / V: the threshold, 1, is an edge between two bins


@dataclass(frozen=True, kw_only=True)
class Started:
    """The first report: the training is set up and goes on from `step`."""

    step: int  # iterations done before this start: 0, or where a checkpoint left off
    steps_total: int
    steps_per_epoch: int
    parameters: int
    device: str
    environment: dict[str, Any] = field(
        default_factory=dict
    )  # as `saf.training.hardware.environment` has it


@dataclass(frozen=True, kw_only=True)
class Step:
    """One optimizer step on one batch."""

    step: int  # iterations done, this one included
    epoch: float  # epochs done, as a fraction
    metrics: dict[str, float]
    """loss, accuracy, firing_rate, learning_rate, step_seconds; about once a second memory_bytes
    and device_use too"""


@dataclass(frozen=True, kw_only=True)
class Epoch:
    """The end of one pass over the training samples."""

    step: int
    epoch: int
    metrics: dict[str, float]  # train_loss, train_accuracy, firing_rate/<layer> per layer


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Metrics on samples that are not trained on: on the validation samples after an epoch, and
    on the test samples once, when the training is over."""

    step: int
    epoch: int
    metrics: dict[str, float]
    """val_loss, val_accuracy, val_balanced_accuracy; or test_loss, test_accuracy,
    test_balanced_accuracy"""
    best_accuracy: float | None = None
    """val_accuracy of the best epoch so far, of which the weights are kept: with balanced classes
    another epoch may have the largest."""


class LayerStatistics(TypedDict):
    """Spike statistics of one layer for some samples."""

    firing_rate: float  # spikes per neuron and time step
    dead: float  # share of the neurons that never fire
    saturated: float  # share of the neurons that fire at 95 % of the time steps or more
    gradient_norm: float | None  # of all its parameters together, before any clipping
    membrane: list[float]  # histogram of u / V: MEMBRANE_BINS shares over MEMBRANE_RANGE


@dataclass(frozen=True, kw_only=True)
class SpikeStatistics:
    """Spike statistics of the network at one step; see `saf.training.evaluation.spike_stats`."""

    step: int
    epoch: float
    samples: int  # of the batch, that were measured
    readout_gradient_norm: float | None
    layers: dict[str, LayerStatistics]


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A checkpoint file was written."""

    step: int
    epoch: int
    path: Path


@dataclass(frozen=True, kw_only=True)
class Converting:
    """Training is over; the network is being converted to LIF neurons and checked."""

    step: int


@dataclass(frozen=True, kw_only=True)
class Checking:
    """Progress of the check of the LIF network, about once a second."""

    done: int  # samples
    total: int


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """A file that the job leaves behind."""

    name: str
    kind: str  # network, certificate, report, checkpoint
    path: Path


@dataclass(frozen=True, kw_only=True)
class Finished:
    """The last event of a training that succeeded."""

    step: int
    summary: dict[str, Any] = field(default_factory=dict)


Report = (
    Started
    | Step
    | Epoch
    | Evaluation
    | SpikeStatistics
    | Checkpoint
    | Converting
    | Checking
    | Artifact
    | Finished
)
