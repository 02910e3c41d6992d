"""The table of a sweep: a row for each of its jobs, and what came out of them."""

from __future__ import annotations

import math
import statistics
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import Field
from sqlalchemy import select
from sqlalchemy.orm import Session

from api.errors import NotFoundError
from api.jobs.compare.queries import run_seconds
from api.jobs.schemas import Health, JobDocument, JobFinding, job_documents
from api.store import pagesize
from api.store.database import clock
from api.store.remarks import marked
from api.store.soundness import readable, status_of
from api.store.tables.jobs import TERMINAL, Job, Status, Sweep
from api.sweeps.request import SweepRequest, short, told
from api.web.asgi import prefix
from api.web.caller import Belonging, Names, conditions
from api.web.csv_export import as_csv
from api.web.remarks import ANY, Marks
from api.web.schemas import Document, Timestamp, finite, iso

SEED = "/seed"
RESULTS = (
    "test_accuracy",
    "best_accuracy",
    "lif_accuracy",
    "test_loss",
    "train_accuracy",
    "firing_rate",
    "run_seconds",
    "memory_bytes",
)


class SweepSetting(Document):
    """A setting that differs between the jobs."""

    pointer: str
    name: str
    """Its short name, as in the jobs' names."""
    values: list[Any]


class SweepRow(Document):
    """One job of a sweep. A retry replaces the job that it repeats."""

    index: int
    settings: dict[str, Any]
    """The values of this job, by pointer."""
    job: str | None
    """null: it was deleted."""
    name: str
    status: Status | None
    url: str | None
    results: dict[str, float | None]
    """test_accuracy (once, at the end), best_accuracy (on the validation samples, best epoch),
    lif_accuracy, train_accuracy and firing_rate as shares of 1, test_loss, run_seconds,
    memory_bytes; null: not yet known."""
    verdict: str | None
    """Of the certificate: proven, measured or differs."""
    rounding_cost_points: float | None
    """Points of accuracy that rounding the weights cost; null where none were rounded."""
    error: str | None
    """The code of its error, if it failed."""
    health: Health | None
    """`warning`: it succeeded, and has findings."""
    findings: list[JobFinding]


class Spread(Document):
    """A number that came out of several jobs."""

    mean: float
    minimum: float
    maximum: float
    deviation: float | None
    """Of the sample (divided by their number less one); null for a single job."""


class SweepGroup(Document):
    """Jobs that differ in their seed alone."""

    settings: dict[str, Any]
    jobs: int
    succeeded: int
    results: dict[str, Spread]
    """Over those that succeeded."""


class SweepUrls(Document):
    self: str
    csv: str
    page: str


class SweepSummary(Document):
    """A sweep without its table."""

    id: str
    object: Literal["sweep"] = "sweep"
    name: str
    created_at: Timestamp
    over: list[SweepSetting]
    mode: Literal["grid", "zip"]
    jobs_total: int
    unreadable: str | None = None
    """Why the row of this sweep cannot be read: its settings are not known then; null: it can."""
    counts: dict[Status, int]
    """How many of its jobs are in each status, the deleted ones apart."""
    ended: int
    """Jobs that succeeded, failed, were cancelled or deleted."""
    notes: str = ""
    """Of people, in Markdown."""
    tags: list[str] = Field(default_factory=list)
    """In order of the alphabet."""
    favourite: bool = False
    owner: str | None = None
    """Name of the user it belongs to; null: there were no accounts."""
    project: str | None = None
    """Name of the project it belongs to; null: to none."""
    urls: SweepUrls


class SweepDocument(SweepSummary):
    """A sweep and its table."""

    rows: list[SweepRow]
    groups: list[SweepGroup]
    """Where the seed is one of several settings, or the only one: what came out over the seeds;
    else empty."""
    best: list[str]
    """Of those that succeeded, the jobs of the highest `best_accuracy`, which is that on the
    validation samples; of the highest `test_accuracy` where a job has no such samples."""
    best_by: Literal["best_accuracy", "test_accuracy"]
    """Which of the two it was."""


def find_sweeps(
    session: Session,
    *,
    limit: int,
    after: str = "",
    of: Belonging | None = None,
    marks: Marks = ANY,
) -> tuple[list[SweepSummary], bool]:
    """Up to `limit` sweeps, fewer where they are large, the newest first, and whether there are
    more."""
    where = (*conditions(Sweep, of), *marked(Sweep, marks.tags, marks.favourite))
    shown, has_more = pagesize.newest(
        session, Sweep.id, Sweep.request, limit=limit, after=after, where=where
    )
    found = list(
        session.scalars(select(Sweep).where(Sweep.id.in_(shown)).order_by(Sweep.id.desc()))
    )
    counts: dict[str, Counter[Status]] = defaultdict(Counter)
    newest: dict[tuple[str | None, int | None], str] = {}
    of_jobs = (
        select(Job.sweep_id, Job.sweep_index, Job.status)
        .where(Job.sweep_id.in_(shown))
        .order_by(Job.id)
    )
    for sweep_id, index, status in session.execute(of_jobs):
        newest[sweep_id, index] = status
    for (sweep_id, _), status in newest.items():
        counts[str(sweep_id)][status_of(status)] += 1
    names = Names(session, ((sweep.owner_id, sweep.project_id) for sweep in found))
    return [_summary(sweep, counts[sweep.id], names) for sweep in found], has_more


def sweep_document(session: Session, sweep: Sweep) -> SweepDocument:
    """The JSON of a sweep: its jobs and what came out of them so far."""
    request = _request(sweep)
    jobs = {job.sweep_index: job for job in all_jobs(session, sweep)}  # the newest at each place
    documents = {job.id: job for job in job_documents(session, list(jobs.values()))}
    at = clock(session)
    rows = []
    places = sorted({index for index in jobs if index is not None})
    asked = enumerate(request.settings()) if request else ((index, {}) for index in places)
    for index, settings in asked:
        row = jobs.get(index)
        job = None if row is None else documents[row.id]
        rows.append(_row(index, settings, job, at))
    names = Names(session, [(sweep.owner_id, sweep.project_id)])
    counts = Counter(row.status for row in rows if row.status is not None)
    summary = _summary(sweep, counts, names)
    by = _judged_by(rows)
    return SweepDocument(
        **summary.model_dump(),
        rows=rows,
        groups=_groups(request, rows) if request else [],
        best=_best(rows, by),
        best_by=by,
    )


def read_sweep(session: Session, sweep_id: str, *, lock: bool = False) -> Sweep:
    """The sweep, or NotFoundError; with `lock` no job is added to it before the commit."""
    sweep = session.get(Sweep, sweep_id, with_for_update=lock)
    if sweep is None:
        raise NotFoundError(f"there is no sweep {sweep_id}")
    return sweep


def all_jobs(session: Session, sweep: Sweep) -> Sequence[Job]:
    """The jobs of a sweep, also those that were retried, the oldest first."""
    return session.scalars(select(Job).where(Job.sweep_id == sweep.id).order_by(Job.id)).all()


def table_csv(sweep: SweepDocument) -> str:
    """A line for each job: its values, then what came out."""
    places = [setting.pointer for setting in sweep.over]
    head = ["job", "name", "status", *places, *RESULTS, "verdict", "error", "rounding_cost_points"]
    head += ["health", "findings"]
    rows = (
        (
            *(row.job, row.name, row.status or "deleted"),
            *(row.settings[place] for place in places),
            *(row.results[name] for name in RESULTS),
            *(row.verdict, row.error, row.rounding_cost_points, row.health),
            " ".join(finding.code for finding in row.findings),
        )
        for row in sweep.rows
    )
    return as_csv(head, rows)


def _request(sweep: Sweep) -> SweepRequest | None:
    """The request of the sweep; None where its row cannot be read."""
    try:
        return SweepRequest.model_validate(sweep.request)
    except ValueError:
        return None


def _summary(row: Sweep, counts: Mapping[Status, int], names: Names) -> SweepSummary:
    sweep, unreadable = readable(row)
    owner, project = names.of(row.owner_id, row.project_id)
    request = _request(row)
    short_names = short(request.over) if request else {}
    total = request.count if request else sum(counts.values())
    if request is None:
        unreadable = unreadable or "its settings are not those of a sweep of this version"
    going = sum(count for status, count in counts.items() if status not in TERMINAL)
    path = prefix.at(f"/v1/sweeps/{sweep.id}")
    return SweepSummary(
        id=sweep.id,
        name=sweep.name,
        created_at=iso(sweep.created_at),
        over=[
            SweepSetting(pointer=place, name=short_names[place], values=values)
            for place, values in (request.over.items() if request else ())
        ],
        mode=request.mode if request else "grid",
        jobs_total=total,
        unreadable=unreadable or None,
        counts={status: counts[status] for status in Status if counts.get(status)},
        ended=total - going,
        notes=sweep.notes or "",
        tags=sweep.tags or [],
        favourite=sweep.favourite_at is not None,
        owner=owner,
        project=project,
        urls=SweepUrls(self=path, csv=f"{path}?format=csv", page=prefix.at(f"/sweeps/{sweep.id}")),
    )


def _row(
    index: int,
    settings: dict[str, Any],
    job: JobDocument | None,
    at: float,
) -> SweepRow:
    if job is None:
        return SweepRow(
            index=index,
            settings=settings,
            job=None,
            name=told(settings),
            status=None,
            url=None,
            results=dict.fromkeys(RESULTS),
            verdict=None,
            rounding_cost_points=None,
            error=None,
            health=None,
            findings=[],
        )
    known = {
        **job.latest_metrics,
        "best_accuracy": job.best_accuracy,
        "lif_accuracy": job.lif_accuracy,
        "run_seconds": run_seconds(job, at),
    }
    return SweepRow(
        index=index,
        settings=settings,
        job=job.id,
        name=job.name,
        status=job.status,
        url=job.urls.self,
        results={name: finite(known.get(name)) for name in RESULTS},
        verdict=job.verdict,
        rounding_cost_points=job.rounding_cost_points,
        error=job.error.code if job.error else None,
        health=job.health,
        findings=job.findings,
    )


def _groups(request: SweepRequest, rows: Sequence[SweepRow]) -> list[SweepGroup]:
    if SEED not in request.over:
        return []
    alike: dict[str, list[SweepRow]] = defaultdict(list)
    for row in rows:
        alike[repr(_but_seed(row))].append(row)
    found = []
    for group in alike.values():
        done = [row for row in group if row.status == Status.succeeded]
        of_each = {
            name: [value for row in done if (value := row.results[name]) is not None]
            for name in RESULTS
        }
        found.append(
            SweepGroup(
                settings=_but_seed(group[0]),
                jobs=len(group),
                succeeded=len(done),
                results={name: _spread(values) for name, values in of_each.items() if values},
            )
        )
    return found


def _but_seed(row: SweepRow) -> dict[str, Any]:
    return {place: value for place, value in row.settings.items() if place != SEED}


def _spread(values: Sequence[float]) -> Spread:
    return Spread(
        mean=math.fsum(values) / len(values),
        minimum=min(values),
        maximum=max(values),
        deviation=statistics.stdev(values) if len(values) > 1 else None,
    )


def _judged_by(rows: Sequence[SweepRow]) -> Literal["best_accuracy", "test_accuracy"]:
    done = [row for row in rows if row.status == Status.succeeded]
    lacking = any(row.results["best_accuracy"] is None for row in done)
    return "test_accuracy" if lacking else "best_accuracy"


def _best(rows: Sequence[SweepRow], by: str) -> list[str]:
    known = {
        row.job: accuracy
        for row in rows
        if row.job and row.status == Status.succeeded and (accuracy := row.results[by]) is not None
    }
    highest = max(known.values(), default=None)
    return [job for job, accuracy in known.items() if accuracy == highest]
