"""The curves of some jobs over one axis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import inf

from sqlalchemy import select
from sqlalchemy.orm import Session

from api.jobs.compare import svg
from api.settings import MIB
from api.store.runs import metrics
from api.store.soundness import readable
from api.store.tables.jobs import Job
from api.store.tables.results import MetricChunk
from api.web import formatting
from api.web.schemas import finite
from saf import sizes

POINTS = 300  # of each curve
LAST_STEP = 2.0**62
DRAWN = ("val_accuracy", "val_loss", "train_loss", "firing_rate", "step_seconds", "memory_bytes")
TITLES: Mapping[str, str] = {
    "val_accuracy": "Accuracy, validation",
    "val_balanced_accuracy": "Accuracy, validation, mean over classes",
    "test_accuracy": "Accuracy, test (once, at the end)",
    "train_accuracy": "Accuracy, training",
    "accuracy": "Accuracy, batch",
    "val_loss": "Loss, validation",
    "test_loss": "Loss, test (once, at the end)",
    "train_loss": "Loss, training",
    "loss": "Loss, batch",
    "firing_rate": "Firing rate",
    "learning_rate": "Learning rate",
    "step_seconds": "Time per step",
    "memory_bytes": "Memory",
    "device_use": "Device use",
}


@dataclass(frozen=True, kw_only=True)
class Curves:
    """Scales and ranges of the curves."""

    names: Sequence[str] = ()
    axis: str = "step"
    log: bool = False
    begin: float | None = None
    end: float | None = None


def chosen(
    session: Session, jobs: Sequence[Job], asked: Sequence[str]
) -> tuple[list[str], list[str]]:
    """The metrics to draw, and all that one of the jobs has."""
    ids = [job.id for job in jobs]
    names = select(MetricChunk.name).where(MetricChunk.job_id.in_(ids)).distinct()
    order = list(TITLES)
    known = sorted(
        session.scalars(names), key=lambda n: (order.index(n) if n in order else len(order), n)
    )
    wanted = list(dict.fromkeys(asked)) or DRAWN
    return [name for name in wanted if name in known] or known[:4], known


def plots_of(
    session: Session, jobs: Sequence[Job], names: Sequence[str], curves: Curves
) -> list[svg.Plot]:
    """A plot for each metric that one of the jobs has, with a line for each job."""
    per_unit = [_steps_per_unit(job, curves.axis) for job in jobs]
    read = [
        _read(session, job, names, per, curves) for job, per in zip(jobs, per_unit, strict=True)
    ]
    whole = curves.begin is None and curves.end is None
    found = []
    for name in names:
        lines = [
            svg.Line(name=job.name or job.id, style=style, points=points.get(name, ()))
            for style, (job, points) in enumerate(zip(jobs, read, strict=True))
        ]
        xs = [x for points in read for one in points.values() for x, _ in one]
        drawn = svg.plot(
            TITLES.get(name, name),
            lines,
            says=partial(_says, name),
            unit=MIB if name.endswith("_bytes") else 1.0,
            log=curves.log and name.endswith("loss"),
            most=1.0 if name.endswith("accuracy") else inf,
            x_range=(0.0 if whole else min(xs), max(xs)) if xs else None,
        )
        if drawn is not None:
            found.append(drawn)
    return found


def _steps_per_unit(job: Job, axis: str) -> float:
    epochs = readable(job)[0].specification.get("epochs") or 0
    return job.steps_total / epochs if axis == "epoch" and job.steps_total and epochs else 1.0


def _read(
    session: Session, job: Job, names: Sequence[str], per_unit: float, curves: Curves
) -> dict[str, list[svg.Point]]:
    series = metrics.read(
        session,
        job.id,
        names=names,
        from_step=_step(curves.begin or 0, per_unit),
        to_step=None if curves.end is None else _step(curves.end, per_unit) + 1,
        max_points=POINTS,
    )
    return {
        one.name: [
            (step / per_unit, finite(value))
            for step, value in zip(one.steps.tolist(), one.values.tolist(), strict=True)
        ]
        for one in series
    }


def _step(place: float, per_unit: float) -> int:
    """The step at a place of the axis, or the last one that a database can hold."""
    return int(min(place * per_unit, LAST_STEP))


def _says(name: str, value: float) -> str:
    if name.endswith("_bytes"):
        return sizes.readable(int(value))
    if name.endswith("accuracy") or name.startswith(("firing_rate", "device_use")):
        return f"{100 * value:.4g} %"
    return formatting.metric(value, name)
