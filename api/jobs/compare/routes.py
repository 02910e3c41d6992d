"""Some jobs side by side: which settings differ, what came out, and their curves over one axis."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Annotated, Any, Literal
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request
from sqlalchemy import select
from sqlalchemy.orm import Session
from starlette.responses import Response

from api.errors import FieldError, InvalidRequestError, NotFoundError
from api.jobs.compare import svg
from api.jobs.schemas import Health, JobDocument, JobFinding, Verdict, job_documents
from api.settings import MIB
from api.store.database import clock
from api.store.runs import metrics
from api.store.soundness import readable
from api.store.tables import TERMINAL, Job, MetricChunk, Status
from api.web import formatting
from api.web.asgi import prefix
from api.web.csv_export import as_csv
from api.web.dependencies import ServiceDependency
from api.web.problems import responses
from api.web.rendering import attachment, page, templates
from api.web.schemas import Document, finite
from saf.config import json_pointer

router = APIRouter()
MOST = svg.MOST_LINES
POINTS = 300  # of each curve
LAST_STEP = 2.0**62
DRAWN = ("val_accuracy", "val_loss", "train_loss", "firing_rate", "step_seconds", "memory_bytes")
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

Ids = Annotated[
    list[str] | None, Query(alias="jobs", description="Ids, repeated or separated by commas")
]
Axis = Annotated[Literal["step", "epoch"], Query(description="What the curves are drawn over")]


class ComparedJob(Document):
    """A column of the comparison."""

    id: str
    name: str
    status: Status
    verdict: Verdict | None
    """Of its certificate; null until it has succeeded."""
    health: Health | None
    """`warning`: it succeeded, and has findings."""
    findings: list[JobFinding]
    url: str


class ComparedSetting(Document):
    """A value of the specification in each of the jobs."""

    pointer: str
    """JSON pointer into the specification."""
    values: list[Any]
    """In the order of the jobs; null where a job has no such setting."""
    differs: bool


class ComparedResult(Document):
    """A number that came out of each of the jobs."""

    name: str
    title: str
    """What it is, for people."""
    unit: Literal["share", "seconds", "bytes", "number"]
    better: Literal["higher", "lower", "neither"]
    values: list[float | None]
    best: list[str]
    """Ids of the jobs with the best value; empty where all are alike or nothing is better."""


class Comparison(Document):
    """Jobs side by side."""

    object: Literal["comparison"] = "comparison"
    jobs: list[ComparedJob]
    missing: list[str]
    """Ids that were asked for and are no job's (any more)."""
    settings: list[ComparedSetting]
    results: list[ComparedResult]


@dataclass(frozen=True, kw_only=True)
class _Curves:
    """How the curves are drawn."""

    names: Sequence[str] = ()
    axis: str = "step"
    log: bool = False
    begin: float | None = None
    end: float | None = None


@router.get(
    "/v1/comparison",
    tags=["jobs"],
    summary="Jobs side by side",
    response_model=Comparison,
    responses={
        200: {
            "content": {
                "text/csv": {"example": "id,name,status,best_accuracy,verdict,/method/name\n"},
                "image/svg+xml": {"example": "<svg …>"},
            }
        },
        **responses(404, 422, 503),
    },
)
def get_comparison(
    request: Request,
    service: ServiceDependency,
    ids: Ids = None,
    format: Annotated[
        Literal["json", "csv", "svg"],
        Query(description="`csv`: a line for each job; `svg`: the curves as a picture"),
    ] = "json",
    metric: Annotated[list[str] | None, Query(description="Curves of the picture")] = None,
    x: Axis = "step",
    log: Annotated[bool, Query(description="Losses on a logarithmic axis")] = False,
    begin: Annotated[float | None, Query(alias="from", ge=0, lt=2**53)] = None,
    end: Annotated[float | None, Query(alias="to", ge=0, lt=2**53)] = None,
) -> Comparison | Response:
    """At most twelve jobs. In the CSV a text that a spreadsheet would take for a formula has an
    apostrophe in front."""
    asked = _asked(ids)
    curves = _Curves(names=metric or (), axis=x, log=log, begin=begin, end=end)
    with service.database.reading() as session:
        jobs = _find(session, asked)
        if not jobs:
            raise NotFoundError(f"there is no job {' nor '.join(asked)}")
        comparison = compare(session, jobs, asked)
        if format == "json":
            return comparison
        if format == "csv":
            return attachment(_csv(comparison), "text/csv; charset=utf-8", "comparison.csv")
        plots = _plots(session, jobs, _chosen(session, jobs, curves.names)[0], curves)
    drawing = templates.get_template("figure_file.html").render(
        {"request": request, "jobs": comparison.jobs, "plots": plots, "figure": svg, "x": x}
    )
    return attachment(drawing.strip() + "\n", "image/svg+xml", "comparison.svg")


@router.get("/compare", include_in_schema=False)
def compare_page(
    request: Request,
    service: ServiceDependency,
    ids: Ids = None,
    metric: Annotated[list[str] | None, Query()] = None,
    x: Axis = "step",
    log: bool = False,
    everything: Annotated[bool, Query(alias="all")] = False,
    begin: Annotated[float | None, Query(alias="from", ge=0, lt=2**53)] = None,
    end: Annotated[float | None, Query(alias="to", ge=0, lt=2**53)] = None,
) -> Response:
    """The same to look at: tables and curves, also without JavaScript."""
    asked = _asked(ids, least=0)
    curves = _Curves(names=metric or (), axis=x, log=log, begin=begin, end=end)
    with service.database.reading() as session:
        jobs = _find(session, asked)
        comparison = compare(session, jobs, asked)
        drawn, offered = _chosen(session, jobs, curves.names)
        plots = _plots(session, jobs, drawn, curves)
    there = ",".join(job.id for job in jobs)
    kept = [(k, v) for k, v in request.query_params.multi_items() if k != "jobs" and v]
    context = {
        "comparison": comparison,
        "is_live": any(job.status not in TERMINAL for job in jobs),
        "settings": [one for one in comparison.settings if one.differs or everything],
        "alike": sum(not one.differs for one in comparison.settings),
        "everything": everything,
        "plots": plots,
        "figure": svg,
        "offered": [(name, TITLES.get(name, name), name in drawn) for name in offered],
        "x": x,
        "log": log,
        "is_zoomed": begin is not None or end is not None,
        "ids": there,
        "address": lambda **changes: _address(there, kept, changes),
        "without": {
            job.id: _address(",".join(other.id for other in jobs if other is not job), kept, {})
            for job in jobs
        },
        "most": MOST,
    }
    return page(request, "compare.html", context)


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


def _asked(ids: Sequence[str] | None, *, least: int = 1) -> list[str]:
    found = list(dict.fromkeys(one for given in ids or () for one in given.split(",") if one))
    if least <= len(found) <= MOST:
        return found
    detail = (
        f"at most {MOST} jobs can be compared, not {len(found)}; leave some out"
        if found
        else "name the jobs, as in jobs=job_…,job_…"
    )
    raise InvalidRequestError(detail, errors=[FieldError("jobs", detail)])


def _find(session: Session, ids: Sequence[str]) -> list[Job]:
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
    def of(
        name: str, unit: Any, better: Any, values: Sequence[float | None]
    ) -> ComparedResult | None:
        if all(value is None for value in values):
            return None
        rated = {
            job.id: value
            for job, value in zip(jobs, values, strict=True)
            # A job that was stopped early is not the fastest.
            if value is not None and (name != "run_seconds" or job.status == Status.succeeded)
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


def _chosen(
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


def _plots(
    session: Session, jobs: Sequence[Job], names: Sequence[str], curves: _Curves
) -> list[svg.Plot]:
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
            x_range=(0.0 if whole else min(xs), max(xs)) if xs else None,
        )
        if drawn is not None:
            found.append(drawn)
    return found


def _steps_per_unit(job: Job, axis: str) -> float:
    epochs = readable(job)[0].specification.get("epochs") or 0
    return job.steps_total / epochs if axis == "epoch" and job.steps_total and epochs else 1.0


def _read(
    session: Session, job: Job, names: Sequence[str], per_unit: float, curves: _Curves
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
        return formatting.size(int(value))
    if name.endswith("accuracy") or name.startswith(("firing_rate", "device_use")):
        return f"{100 * value:.4g} %"
    return formatting.metric(value, name)


def _address(ids: str, kept: Sequence[tuple[str, str]], changes: Mapping[str, str]) -> str:
    pairs = [(name, value) for name, value in kept if name not in changes]
    pairs += [(name, value) for name, value in changes.items() if value]
    return prefix.at(f"/compare?jobs={ids}") + (f"&{urlencode(pairs)}" if pairs else "")


def _csv(comparison: Comparison) -> str:
    """A line for each job: what came out, then its settings by their pointers."""
    results, settings = comparison.results, comparison.settings
    names = [*(result.name for result in results), "verdict", "health", "findings"]
    names += [one.pointer for one in settings]
    rows = (
        (
            *(job.id, job.name, str(job.status)),
            *(result.values[index] for result in results),
            job.verdict,
            job.health,
            " ".join(finding.code for finding in job.findings),
            *(setting.values[index] for setting in settings),
        )
        for index, job in enumerate(comparison.jobs)
    )
    return as_csv(["id", "name", "status", *names], rows)
