"""What a job will take, as far as it can be told: its time, and its memory at other numbers of
time steps and by other methods."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import ValidationError
from sqlalchemy import select
from sqlalchemy.orm import Session

from api.datasets.queries import DatasetFacts, find_facts
from api.errors import ServiceError
from api.jobs.submission import Submission
from api.store.tables.jobs import Job, Status
from api.store.tables.results import Event
from api.web.schemas import Document
from saf.config import METHODS, ResolvedSpecification
from saf.config.methods import method_label
from saf.estimate.memory import forecast
from saf.estimate.operations import evaluations, multiply_adds
from saf.networks.build import NetworkError, build, encoded_shape

SHOWN_TIMESTEPS = (1, 2, 4, 8, 16, 32)
EARLIER_RUNS = 12
Basis = Literal["measured", "counted"]


class TimeForecast(Document):
    """Estimated duration of a training, from earlier ones."""

    seconds: float
    """From the first iteration to the last, evaluations included, the conversion not."""
    basis: Basis
    """`measured`: earlier runs had the same network, method, T, data set and precision; only the
    number of samples differs. `counted`: they had the same method and precision, and the time
    follows the number of multiplications."""
    runs: int
    """Earlier runs that it rests on."""
    device: str
    """What they ran on."""


class MemoryCurve(Document):
    """The memory forecast of one method at several numbers of time steps."""

    method: str
    label: str
    """What people read in place of the method's name."""
    timesteps: list[int]
    bytes: list[int]


@dataclass(frozen=True, kw_only=True)
class _Run:
    """An earlier training, and the seconds that each of its samples took."""

    job: Job
    specification: ResolvedSpecification
    dataset: DatasetFacts
    seconds: float


def memory_curves(submission: Submission) -> list[MemoryCurve]:
    """The forecast by each of the methods that are compared, with all else as it is."""
    asked = submission.specification
    timesteps = sorted({*SHOWN_TIMESTEPS, asked.timesteps})
    curves = []
    for method in (kind() for kind in METHODS if kind.compared):
        needs = [
            forecast(
                asked.model_copy(update={"method": method, "timesteps": steps}),
                submission.architecture,
                limit_bytes=0,
                in_time=submission.dataset.timesteps is not None,
            ).memory_bytes
            for steps in timesteps
        ]
        curves.append(
            MemoryCurve(
                method=method.name,
                label=method_label(method.name),
                timesteps=timesteps,
                bytes=needs,
            )
        )
    return curves


def time_forecast(session: Session, submission: Submission) -> TimeForecast | None:
    """Estimate the duration of a training; None when no earlier run tells anything."""
    asked = submission.specification
    samples = asked.epochs * submission.dataset.train
    runs = _earlier(session, asked)
    same = [run for run in runs if _is_same(run, submission)]
    if same:
        device = same[0].job.device or ""
        rates = [run.seconds for run in same if run.job.device == device]
        return _forecast(samples * statistics.median(rates), "measured", len(rates), device)
    here = multiply_adds(submission.architecture) * evaluations(asked)
    counted = [(run, work) for run in runs if (work := _work(run)) is not None]
    if not counted:
        return None
    device = counted[0][0].job.device or ""
    rates = [run.seconds / work for run, work in counted if run.job.device == device]
    seconds = samples * here * statistics.median(rates)
    return _forecast(seconds, "counted", len(rates), device)


def _earlier(session: Session, asked: ResolvedSpecification) -> Sequence[_Run]:
    """The newest runs by the same method that trained to their end, in one attempt."""
    found = session.execute(
        select(Job, Event.at)
        .join(Event, (Event.job_id == Job.id) & (Event.type == Status.converting))
        .where(
            Job.status == Status.succeeded,
            Job.method == asked.method.name,
            Job.attempt == 1,
            Job.running_at.is_not(None),
        )
        .order_by(Job.id.desc())
        .limit(EARLIER_RUNS)
    )
    runs = []
    for job, ended in found:
        try:
            specification = ResolvedSpecification.model_validate(job.specification)
            dataset = find_facts(session, job.dataset_id or job.dataset)
        except (ValidationError, ServiceError):
            continue  # of another version, or its data set is gone
        seconds = ended - (job.running_at or ended)
        if seconds > 0 and specification.precision == asked.precision:
            seconds /= specification.epochs * dataset.train
            run = _Run(job=job, specification=specification, dataset=dataset, seconds=seconds)
            runs.append(run)
    return runs


def _is_same(run: _Run, submission: Submission) -> bool:
    asked, ran = submission.specification, run.specification
    return (
        ran.network == asked.network
        and ran.timesteps == asked.timesteps
        and run.dataset == submission.dataset
    )


def _work(run: _Run) -> int | None:
    """Multiplications for one sample of an earlier run; None where its network is not made so any
    more."""
    try:
        shape = encoded_shape(run.specification, run.dataset.shape)
        architecture = build(run.specification.network, shape, run.dataset.classes)
    except NetworkError:
        return None
    return multiply_adds(architecture) * evaluations(run.specification)


def _forecast(seconds: float, basis: Basis, runs: int, device: str) -> TimeForecast:
    return TimeForecast(seconds=seconds, basis=basis, runs=runs, device=device)
