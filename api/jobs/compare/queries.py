"""Comparison of jobs: the settings that differ, and the results."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from api.jobs.compare.schemas import ComparedJob, ComparedResult, ComparedSetting, Comparison
from api.jobs.schemas import JobDocument, job_documents
from api.store.database import clock
from api.store.tables.jobs import Job, Status
from api.web.asgi import prefix
from api.web.schemas import finite
from saf.config import json_pointer

RESULTS: Mapping[str, str] = {
    "lif_accuracy": "Accuracy, as LIF network",
    "best_accuracy": "Accuracy, validation (best epoch)",
    "test_accuracy": "Accuracy, test (once, at the end)",
    "test_balanced_accuracy": "Accuracy, test, mean over classes",
    "rounding_cost_points": "Rounding cost, points",
    "most_frequent_accuracy": "Accuracy, most frequent class",
    "linear_accuracy": "Accuracy, linear classifier",
    "train_accuracy": "Accuracy, training",
    "test_loss": "Loss, test (once, at the end)",
    "train_loss": "Loss, training",
    "delivered_epoch": "Epoch delivered",
    "run_seconds": "Run time",
    "step_seconds": "Step time",
}
OF_SAMPLES = frozenset(
    ("lif_accuracy", "best_accuracy", "test_accuracy", "test_balanced_accuracy", "train_accuracy")
) | {"rounding_cost_points", "test_loss", "train_loss"}
"""Results that say nothing of which job is better where these are on several data sets."""


def compare(session: Session, jobs: Sequence[Job], asked: Sequence[str] = ()) -> Comparison:
    """The settings and results of some jobs, in their order."""
    documents = job_documents(session, jobs)
    at = clock(session)
    flat = [dict(_flat(job.specification)) for job in documents]
    pointers = list(dict.fromkeys(pointer for one in flat for pointer in one))
    there = {job.id for job in jobs}
    return Comparison(
        jobs=[
            ComparedJob(
                id=job.id,
                name=job.name,
                status=job.status,
                verdict=job.verdict,
                health=job.health,
                findings=job.findings,
                url=prefix.at(f"/v1/jobs/{job.id}"),
            )
            for job in documents
        ],
        missing=[job_id for job_id in asked if job_id not in there],
        settings=[_setting(pointer, [one.get(pointer) for one in flat]) for pointer in pointers],
        results=_results(documents, at),
    )


def find(session: Session, ids: Sequence[str]) -> list[Job]:
    """The jobs of these ids, in their order; what is not there is left out."""
    found = {job.id: job for job in session.scalars(select(Job).where(Job.id.in_(ids)))}
    return [found[job_id] for job_id in ids if job_id in found]


def _flat(value: Any, pointer: str = "") -> Iterator[tuple[str, Any]]:
    """Every leaf of a specification with its JSON pointer; a list is a leaf."""
    if isinstance(value, Mapping) and value:
        for key, entry in value.items():
            yield from _flat(entry, pointer + json_pointer.pointer([key]))
    elif pointer != "/name" and value not in ({}, []):
        yield pointer, value


def _setting(pointer: str, values: list[Any]) -> ComparedSetting:
    differs = any(value != values[0] for value in values[1:])
    return ComparedSetting(pointer=pointer, values=values, differs=differs)


def _results(jobs: Sequence[JobDocument], at: float) -> list[ComparedResult]:
    datasets = {job.specification.get("dataset") for job in jobs if job.status != Status.failed}

    def is_rated(job: JobDocument, name: str) -> bool:
        # A job that was stopped early is not the fastest, nor one that failed the best at anything.
        if name == "run_seconds":
            return bool(job.status == Status.succeeded)
        return job.status != Status.failed and (len(datasets) == 1 or name not in OF_SAMPLES)

    def of(
        name: str, unit: Any, better: Any, values: Sequence[float | None]
    ) -> ComparedResult | None:
        if all(value is None for value in values):
            return None
        rated = {
            job.id: value
            for job, value in zip(jobs, values, strict=True)
            if value is not None and is_rated(job, name)
        }
        tells = better != "neither" and len(set(rated.values())) > 1
        extreme = max if better == "higher" else min
        best = extreme(rated.values()) if tells else None
        ids = [job_id for job_id, value in rated.items() if value == best]
        title = RESULTS.get(name, name.removesuffix("_bytes").replace("_", " ").capitalize())
        return ComparedResult(
            name=name, title=title, unit=unit, better=better, values=list(values), best=ids
        )

    def latest(name: str) -> list[float | None]:
        return [finite(job.latest_metrics.get(name)) for job in jobs]

    def came_out(name: str) -> list[float | None]:
        return [None if job.result is None else getattr(job.result, name) for job in jobs]

    found = (
        of("lif_accuracy", "share", "higher", [job.lif_accuracy for job in jobs]),
        of("best_accuracy", "share", "higher", [job.best_accuracy for job in jobs]),
        of("test_accuracy", "share", "higher", latest("test_accuracy")),
        of("test_balanced_accuracy", "share", "higher", came_out("test_balanced_accuracy")),
        of("most_frequent_accuracy", "share", "neither", came_out("most_frequent_accuracy")),
        of("linear_accuracy", "share", "neither", came_out("linear_accuracy")),
        of(
            "rounding_cost_points",
            "number",
            "lower",
            [job.rounding_cost_points for job in jobs],
        ),
        of("train_accuracy", "share", "higher", latest("train_accuracy")),
        of("test_loss", "number", "lower", latest("test_loss")),
        of("train_loss", "number", "lower", latest("train_loss")),
        of("firing_rate", "share", "lower", latest("firing_rate")),
        of("delivered_epoch", "number", "neither", came_out("delivered_epoch")),
        of("run_seconds", "seconds", "lower", [run_seconds(job, at) for job in jobs]),
        of("step_seconds", "seconds", "lower", latest("step_seconds")),
        of("memory_bytes", "bytes", "lower", latest("memory_bytes")),
        of("memory_forecast_bytes", "bytes", "lower", [job.memory_forecast_bytes for job in jobs]),
        of("parameters", "number", "neither", [job.parameters for job in jobs]),
        of("steps", "number", "neither", [job.progress.step for job in jobs]),
        of("attempts", "number", "neither", [job.attempt for job in jobs]),
    )
    return [result for result in found if result is not None]


def run_seconds(job: JobDocument, at: float) -> float | None:
    """From its first start to its end, or until now."""
    if job.started_at is None:
        return None
    end = datetime.fromisoformat(job.finished_at).timestamp() if job.finished_at else at
    return round(end - datetime.fromisoformat(job.started_at).timestamp(), 3)
