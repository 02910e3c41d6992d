"""What the server answers with, as the Python client returns and raises it.

Documents are dictionaries with known keys; the server may send more, `GET /openapi.json`
describes all.

ClientError
 ├── ApiError          the server refused: `status`, `code`, `detail`, `errors`
 ├── UnreachableError  no server answers at that address
 ├── WaitTimeoutError  the job had not ended in time
 └── ChecksumError     a downloaded file is not the one that the server has
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, TypedDict

Status = Literal[
    "queued",
    "starting",
    "running",
    "converting",
    "pausing",
    "paused",
    "recovering",
    "cancelling",
    "succeeded",
    "failed",
    "cancelled",
]
TERMINAL: frozenset[str] = frozenset({"succeeded", "failed", "cancelled"})


class Progress(TypedDict):
    """How far a training is."""

    step: int
    steps_total: int | None
    epoch: float
    epochs: int
    fraction: float
    checked: int | None
    to_check: int | None


class JobError(TypedDict):
    """Why a job failed, and what to change."""

    code: str
    message: str
    hint: str


class Finding(TypedDict):
    """Something that is wrong with a job that has ended, and what to change."""

    code: str
    message: str
    hint: str


class JobResult(TypedDict):
    """What came out of a job that succeeded."""

    test_accuracy: float | None
    train_accuracy: float | None
    test_balanced_accuracy: float | None
    val_accuracy: float | None
    lif_accuracy: float | None
    verdict: Literal["proven", "measured", "differs"] | None
    rounding_cost_points: float | None
    most_frequent_accuracy: float | None
    linear_accuracy: float | None
    best_epoch: int | None
    delivered_epoch: int | None
    ended_early: bool | None
    not_proven: str | None


class JobProgress(TypedDict):
    """The part of a job that changes while it runs."""

    id: str
    name: str
    status: Status
    progress: Progress
    eta_seconds: float | None
    jobs_ahead: int
    waits_for: str | None
    attempt: int
    device: str | None
    retry_at: str | None
    latest_metrics: dict[str, float | None]
    best_accuracy: float | None
    lif_accuracy: float | None
    verdict: Literal["proven", "measured", "differs"] | None
    rounding_cost_points: float | None
    checkpoint_step: int | None
    health: Literal["ok", "warning", "failed"] | None
    findings: list[Finding]


class JobDocument(JobProgress):
    """A training job."""

    specification: dict[str, Any]
    worker: str | None
    heartbeat_at: str | None
    created_at: str
    started_at: str | None
    finished_at: str | None
    parameters: int
    memory_forecast_bytes: int
    error: JobError | None
    result: JobResult | None
    retry_of: str | None
    continues: str | None
    retry_from_step: int | None
    sweep: str | None
    micro_batches: int | None
    metadata: dict[str, str]
    notes: str
    tags: list[str]
    favourite: bool
    owner: str | None
    project: str | None
    urls: dict[str, str]


class FieldProblem(TypedDict):
    """What is wrong with one field; `pointer` is a JSON pointer."""

    pointer: str
    detail: str


class ClientError(Exception):
    """What a call of the client can fail with; the message is for people."""


class ApiError(ClientError):
    """The server refused: the fields of its problem document (RFC 9457)."""

    def __init__(
        self,
        status: int,
        *,
        code: str,
        title: str,
        detail: str,
        request_id: str = "",
        errors: Sequence[FieldProblem] = (),
    ) -> None:
        super().__init__(detail or title)
        self.status = status
        self.code = code
        self.title = title
        self.detail = detail
        self.request_id = request_id
        self.errors = list(errors)


class UnreachableError(ClientError):
    """No server answers at that address."""


class WaitTimeoutError(ClientError):
    """The job had not ended in time; it goes on."""


class ChecksumError(ClientError):
    """A downloaded file is not the one that the server has."""


class Validation(TypedDict):
    """What a specification would need."""

    specification: dict[str, Any]
    automatic: list[dict[str, Any]]
    parameters: int
    neurons: int
    memory_forecast_bytes: int
    largest_batch: int
    memory_curves: list[dict[str, Any]]
    time_forecast: dict[str, Any] | None
    warnings: list[FieldProblem]


class Event(TypedDict):
    """One line of a job's timeline."""

    job_id: str
    sequence: int
    type: str
    attempt: int
    at: str
    data: dict[str, Any]


class MetricSeries(TypedDict):
    """One metric: `points` are [step, value], `count` their number before down-sampling."""

    name: str
    count: int
    points: list[list[float | None]]


class MetricsDocument(TypedDict):
    """Metrics of a job."""

    job_id: str
    names: list[str]
    series: list[MetricSeries]


class Artifact(TypedDict):
    """A file that a job left behind."""

    id: str
    job_id: str
    name: str
    kind: str
    bytes: int
    sha256: str
    created_at: str
    url: str


class SweepRow(TypedDict):
    """One job of a sweep: its values by pointer, and what came out so far."""

    index: int
    settings: dict[str, Any]
    job: str | None
    name: str
    status: Status | None
    results: dict[str, float | None]
    verdict: str | None
    rounding_cost_points: float | None
    error: str | None
    health: Literal["ok", "warning", "failed"] | None
    findings: list[Finding]


class SweepDocument(TypedDict):
    """Many jobs from one request; in a list without `rows`, `groups` and `best`."""

    id: str
    name: str
    created_at: str
    over: list[dict[str, Any]]
    mode: Literal["grid", "zip"]
    jobs_total: int
    counts: dict[Status, int]
    ended: int
    urls: dict[str, str]
    rows: list[SweepRow]
    groups: list[dict[str, Any]]
    best: list[str]
    best_by: Literal["best_accuracy", "test_accuracy"]


class SweepValidation(TypedDict):
    """What a sweep would be."""

    jobs_total: int
    names: list[str]
    memory_forecast_bytes: int
    warnings: list[FieldProblem]


class Worker(TypedDict):
    """A worker process."""

    id: str
    alive: bool
    host: str
    pid: int
    devices: list[str]
    slots: int
    busy: int
    jobs: list[dict[str, Any]]
    seen_at: str
    draining: str | None


class DatasetDocument(TypedDict):
    """A data set of the catalogue or an uploaded one."""

    id: str
    name: str
    status: str
    problems: list[dict[str, Any]]
    shape: list[int] | None
    timesteps: int | None
    classes: int | None
    counts: dict[str, Any] | None
    findings: list[dict[str, str]] | None
    questions: list[dict[str, Any]]
    settings: dict[str, Any]
    decisions: list[dict[str, str]] | None
    skipped: dict[str, Any] | None
