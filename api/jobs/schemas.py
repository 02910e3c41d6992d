"""Jobs and their events as the API shows them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, cast

from pydantic import Field
from sqlalchemy.orm import Session

from api.store import viewer
from api.store.database import clock
from api.store.jobs import queue, remarks
from api.store.jobs.result import RESULT
from api.store.limits.full import NOBODY, Full, full
from api.store.runs import checkpoints
from api.store.soundness import readable
from api.store.tables.jobs import WAITING, Job, Status
from api.store.tables.results import Event
from api.web.asgi import prefix
from api.web.caller import Names
from api.web.remarks import NamedRemarks
from api.web.schemas import Document, Timestamp, finite, iso, maybe_iso, without_nan


class Progress(Document):
    """How far a training is."""

    step: int
    """Iterations done."""
    steps_total: int | None
    """Iterations in all; null until the training has started."""
    epoch: float
    """Passes over the training data, with a fraction."""
    epochs: int
    fraction: float
    """0 to 1."""
    checked: int | None
    """While it converts: samples on which the LIF network was compared with what was trained."""
    to_check: int | None
    """And of how many; null while none is checked."""


Verdict = Literal["proven", "measured", "differs"]


Health = Literal["ok", "warning", "failed"]


class JobUrls(Document):
    self: str
    events: str
    metrics: str
    logs: str
    artifacts: str
    page: str


class JobError(Document):
    """Why a job failed."""

    code: str
    """user_config, data, diverged, silent_network, out_of_memory, time_limit, stalled, worker_lost
    or internal; unreadable of a job whose row in the database has a status that is none"""
    message: str
    hint: str
    """What to change."""


class JobFinding(Document):
    """Something that is wrong with a job that has ended."""

    code: str
    message: str
    hint: str
    """What to change."""


class JobResult(Document):
    """What came out of a job that succeeded. Accuracies are shares of 1. Of jobs
    that were stored before there were validation samples most of it is null."""

    test_accuracy: float | None
    """Of the network that was delivered, on the test samples, which are looked at once, at the end:
    in float, before it became one of LIF neurons."""
    train_accuracy: float | None
    """Of the last epoch, on the training samples, while the weights changed."""
    test_balanced_accuracy: float | None
    """The mean over the classes of the share of their test samples that is right."""
    val_accuracy: float | None
    """Of the epoch that was delivered, on the validation samples; null without such samples."""
    lif_accuracy: float | None
    verdict: Verdict | None
    rounding_cost_points: float | None
    most_frequent_accuracy: float | None
    """What naming the most frequent class of the training samples gives on the test samples."""
    linear_accuracy: float | None
    """What a linear classifier of the samples gives there; null: it was not fitted."""
    best_epoch: int | None
    """The epoch that was best on the validation samples, from 1; null without such samples."""
    delivered_epoch: int | None
    """The epoch whose weights were tested, converted and delivered."""
    ended_early: bool | None
    """Whether `patience` ended the training."""
    not_proven: str | None = None
    """Why a network that was to be on a grid was measured and is not proven, and with what it would
    be; null of others."""


class JobProgress(Document):
    """The part of a job that changes while it runs; the live streams send it."""

    id: str
    object: Literal["job"] = "job"
    name: str
    status: Status
    progress: Progress
    eta_seconds: float | None
    """Time left; null unless the job is running."""
    jobs_ahead: int
    """Waiting jobs that are served before this one; 0 unless it waits."""
    waits_for: str | None = None
    """Why no worker takes it although it waits: a limit of its user or project; null: its turn."""
    attempt: int
    """How often a worker has begun."""
    device: str | None
    retry_at: Timestamp | None
    """Of a recovering job that is not tried again before: when. Else null."""
    latest_metrics: dict[str, float | None]
    """The newest value of each metric; null where it is no number."""
    best_accuracy: float | None
    """On the validation samples, of the best epoch so far, 0 to 1; null without such samples."""
    lif_accuracy: float | None
    """Of the network of LIF neurons that was delivered, on the test data, 0 to 1; null until the
    job has succeeded."""
    verdict: Verdict | None
    """Of its certificate: `proven`, `measured`, or `differs` from what was trained; null until the
    job has succeeded."""
    rounding_cost_points: float | None
    """Points of accuracy that rounding the weights to a grid cost; null where none were rounded."""
    checkpoint_step: int | None
    """The step of the newest checkpoint, with which the network predicts; null: none."""
    health: Health | None
    """`failed` of a job that failed; of one that succeeded `warning` where there are findings, else
    `ok`; null of other jobs, and of those that succeeded before there were findings."""
    findings: list[JobFinding]
    """What is wrong with a job that has ended, the most important first; of a failed one, its
    error."""


class JobDocument(JobProgress):
    """A training job."""

    specification: dict[str, Any]
    """The job as it was sent, defaults filled in."""
    worker: str | None
    heartbeat_at: Timestamp | None
    created_at: Timestamp
    started_at: Timestamp | None
    finished_at: Timestamp | None
    parameters: int
    """Trainable numbers of the network."""
    memory_forecast_bytes: int
    error: JobError | None
    """Only of a job that failed."""
    result: JobResult | None
    """Only of a job that succeeded."""
    retry_of: str | None
    """The job that this one repeats."""
    continues: str | None
    """The job that had succeeded and is trained for more epochs by this one."""
    sweep: str | None
    """The sweep that it is a part of."""
    retry_from_step: int | None
    """The step of the checkpoint that was taken over from there, or from the job that it continues;
    null: it began anew."""
    micro_batches: int | None
    """Parts that a batch is computed in since memory ran out; null: as the specification says."""
    metadata: dict[str, str]
    notes: str = ""
    """Of people, in Markdown."""
    tags: list[str] = Field(default_factory=list)
    """In order of the alphabet."""
    favourite: bool = False
    owner: str | None = None
    """Name of the user it belongs to; null: there were no accounts."""
    project: str | None = None
    """Name of the project it belongs to; null: to none."""
    unreadable: str | None = None
    """Why the row of this job cannot be read, which then has other values in their place; null: it
    can."""
    urls: JobUrls


class JobChange(NamedRemarks):
    """What people write on a job; what is left out stays as it is. None of it changes the training
    or its specification."""


class EventDocument(Document):
    """One line of a job's timeline."""

    object: Literal["event"] = "event"
    job_id: str
    sequence: int
    """1, 2, 3 … within the job."""
    type: str
    """A status that the job took, or a note such as `checkpoint`."""
    attempt: int
    at: Timestamp
    data: dict[str, Any]


OWNER_AT_LIMIT = "its owner is at a limit; it goes on when there is room again"


def job_documents(session: Session, jobs: Sequence[Job]) -> list[JobDocument]:
    """The JSON of some jobs, in a few queries whatever their number."""
    ahead = queue.jobs_ahead(session, jobs)
    steps = checkpoints.newest_steps(session, [job.id for job in jobs])
    at = clock(session)
    names = Names(session, ((job.owner_id, job.project_id) for job in jobs))
    tags = remarks.tags_of(session, [job.id for job in jobs])
    held = full(session) if any(job.status in WAITING for job in jobs) else NOBODY
    return [
        _job_document(
            *(job, ahead.get(job.id, 0), steps.get(job.id), at, names, tags.get(job.id, ())),
            _waits_for(job, held, names),
        )
        for job in jobs
    ]


def _waits_for(job: Job, held: Full, names: Names) -> str | None:
    found = held.of(job) if job.status in WAITING else None
    if found is None:
        return None
    side, reached = found
    owner, project = names.of(job.owner_id, job.project_id)
    if side == "projects":
        return reached.said(f"the project {project}")
    # What somebody has used is their own, and admins' (`GET /v1/limits`); streams are of all.
    seen = viewer.current()
    if seen is None or not (seen.is_admin or seen.user_id == job.owner_id):
        return OWNER_AT_LIMIT
    return reached.said(owner or "its user")


def job_document(session: Session, job: Job) -> JobDocument:
    """The JSON of one job."""
    return job_documents(session, [job])[0]


def job_progress(document: JobDocument) -> JobProgress:
    """The part of a job that changes while it runs."""
    return JobProgress.model_validate(document.model_dump(include=set(JobProgress.model_fields)))


def event_document(row: Event) -> EventDocument:
    """The JSON of one line of a timeline."""
    event, why = readable(row)
    if why:
        event.data = {"reason": why}
    return EventDocument(
        job_id=event.job_id,
        sequence=event.sequence,
        type=event.type,
        attempt=event.attempt,
        at=iso(event.at),
        data=without_nan(event.data),
    )


def _job_document(
    row: Job,
    ahead: int,
    checkpoint_step: int | None,
    at: float,
    names: Names,
    tags: Sequence[str],
    waits_for: str | None,
) -> JobDocument:
    job, unreadable = readable(row)
    owner, project = names.of(row.owner_id, row.project_id)
    specification = _whole(job)
    error = job.error
    if unreadable and job.status != row.status:
        hint = "`saf scrub` names such rows; submit the job again, and delete this one"
        error = {"code": "unreadable", "message": unreadable, "hint": hint}
    path = prefix.at(f"/v1/jobs/{job.id}")
    return JobDocument(
        id=job.id,
        name=job.name,
        specification=specification,
        status=Status(job.status),
        progress=_progress(job),
        eta_seconds=_eta(job, at),
        jobs_ahead=ahead,
        waits_for=waits_for,
        attempt=job.attempt,
        worker=job.worker_id,
        device=job.device,
        retry_at=maybe_iso(job.retry_at),
        heartbeat_at=maybe_iso(job.heartbeat_at),
        created_at=iso(job.created_at),
        started_at=maybe_iso(job.started_at),
        finished_at=maybe_iso(job.finished_at),
        latest_metrics={name: finite(value) for name, value in job.latest.items()},
        best_accuracy=finite(job.best_accuracy),
        lif_accuracy=finite(job.lif_accuracy),
        verdict=cast(Verdict | None, job.verdict),
        rounding_cost_points=finite(job.rounding_cost_points),
        checkpoint_step=checkpoint_step,
        health="failed" if error else cast(Health | None, job.health),
        findings=[
            JobFinding.model_validate(each) for each in ([error] if error else job.findings or ())
        ],
        parameters=job.parameters,
        memory_forecast_bytes=job.memory_bytes,
        error=JobError.model_validate(error) if error else None,
        result=_result(job),
        retry_of=job.retry_of,
        continues=job.continues,
        sweep=job.sweep_id,
        retry_from_step=job.inherited_step,
        micro_batches=job.micro_batches,
        metadata=specification["metadata"],
        notes=job.notes or "",
        tags=list(tags),
        favourite=job.favourite_at is not None,
        owner=owner,
        project=project,
        unreadable=unreadable or None,
        urls=JobUrls(
            self=path,
            events=f"{path}/events",
            metrics=f"{path}/metrics",
            logs=f"{path}/logs",
            artifacts=f"{path}/artifacts",
            page=prefix.at(f"/jobs/{job.id}"),
        ),
    )


def _result(job: Any) -> JobResult | None:
    if job.status != Status.succeeded:
        return None
    kept = job.result or {}
    found = dict.fromkeys(JobResult.model_fields) | {name: kept.get(name) for name in RESULT}
    of_the_lif = ("lif_accuracy", "verdict", "rounding_cost_points")
    found |= {name: getattr(job, name) for name in of_the_lif}
    return JobResult.model_validate(without_nan(found))


def _whole(job: Any) -> dict[str, Any]:
    """The specification of a job, with what every page needs where that is missing."""
    known = {
        "name": job.name,
        "dataset": job.dataset,
        "method": {"name": job.method},
        "network": {"name": job.network},
        "timesteps": 0,
        "epochs": 0,
        "priority": job.priority,
        "metadata": {},
    }
    specification: dict[str, Any] = job.specification
    return specification if known.keys() <= specification.keys() else {**known, **specification}


def _progress(job: Any) -> Progress:
    fraction = job.step / job.steps_total if job.steps_total else 0.0
    return Progress(
        step=job.step,
        steps_total=job.steps_total,
        epoch=job.epoch,
        epochs=job.specification.get("epochs", 0),
        fraction=1.0 if job.status == Status.succeeded else min(1.0, fraction),
        checked=job.checked if job.status == Status.converting else None,
        to_check=job.to_check if job.status == Status.converting else None,
    )


def _eta(job: Any, at: float) -> float | None:
    """Seconds left at the pace of the running attempt."""
    done = job.step - job.started_step
    if job.status != Status.running or job.running_at is None or not job.steps_total or done <= 0:
        return None
    pace = max(0.0, at - job.running_at) / done
    return float(round(pace * max(0, job.steps_total - job.step), 1))
