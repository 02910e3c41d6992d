"""The tables. Times are seconds since 1970 (UTC) by the database's clock."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Double,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.engine.default import DefaultExecutionContext
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship, validates

from api.store import viewer
from api.store.search import folded

_Key = BigInteger().with_variant(Integer, "sqlite")


class Status(StrEnum):
    """Where a job stands."""

    queued = "queued"
    """accepted, waits for a worker"""
    starting = "starting"
    """claimed by a worker, its training process is being started"""
    running = "running"
    """trains"""
    converting = "converting"
    """trained, is being converted to LIF neurons and checked"""
    pausing = "pausing"
    """asked to pause, writes a checkpoint"""
    paused = "paused"
    """waits until somebody resumes it"""
    recovering = "recovering"
    """its worker vanished; waits for another one"""
    cancelling = "cancelling"
    """asked to cancel, its process is being stopped"""
    succeeded = "succeeded"
    """done, the artifacts are there"""
    failed = "failed"
    """ended with an error, which the job carries"""
    cancelled = "cancelled"
    """stopped on request; its process is gone"""


TERMINAL = (Status.succeeded, Status.failed, Status.cancelled)
WAITING = (Status.queued, Status.recovering)
ACTIVE = (
    Status.starting,
    Status.running,
    Status.converting,
    Status.pausing,
    Status.cancelling,
)


class Base(DeclarativeBase):
    """Names every constraint, so that migrations can name them too."""

    type_annotation_map = {  # noqa: RUF012  (SQLAlchemy reads it so)
        float: Double(),
        dict[str, Any]: JSON(),
        list[Any]: JSON(),
    }
    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


class Blob(Base):
    """A file of the artifact store, by content. The row's lock guards the file."""

    __tablename__ = "blobs"

    sha256: Mapped[str] = mapped_column(String(64), primary_key=True)
    bytes: Mapped[int] = mapped_column(BigInteger)
    created_at: Mapped[float]
    damaged_at: Mapped[float | None]  # when it was found to have another content than its name says


class DatabaseIdentity(Base):
    """Which database this is: one row, made by a migration."""

    __tablename__ = "identity"

    id: Mapped[str] = mapped_column(String(36), primary_key=True)


class Dataset(Base):
    """An uploaded data set."""

    __tablename__ = "datasets"

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    name: Mapped[str] = mapped_column(String(200), unique=True)
    format: Mapped[str] = mapped_column(String(40))
    status: Mapped[str] = mapped_column(String(20))  # checking, needs_choice, ready, invalid
    problems: Mapped[list[Any]]
    summary: Mapped[dict[str, Any] | None]  # shape, classes, counts, statistics
    upload_bytes: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str | None] = mapped_column(ForeignKey("blobs.sha256"))  # canonical form
    created_at: Mapped[float]
    checked_at: Mapped[float | None]  # while it is checked again: since when
    settings: Mapped[dict[str, Any] | None]  # with which it is read; `format` is among them
    questions: Mapped[list[Any] | None]  # what it leaves open, while `needs_choice`
    answer: Mapped[dict[str, Any] | None]  # further settings that are being tried
    uploaded_by: Mapped[str | None] = mapped_column(String(64))  # address or user that sent it
    owner_id: Mapped[str | None] = mapped_column(String(40), default=viewer.owner)
    project_id: Mapped[str | None] = mapped_column(String(40), default=viewer.project)


class CandidatePicture(Base):
    """A picture of one way to read an upload: of the candidate at its place in `questions`."""

    __tablename__ = "candidate_pictures"

    dataset_id: Mapped[str] = mapped_column(
        ForeignKey("datasets.id", ondelete="CASCADE"), primary_key=True
    )
    question: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    candidate: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    picture: Mapped[bytes] = mapped_column(LargeBinary)  # PNG


class DatasetPreview(Base):
    """A picture of an uploaded data set, and where everything is on it (`saf.data.preview`)."""

    __tablename__ = "dataset_previews"

    dataset_id: Mapped[str] = mapped_column(
        ForeignKey("datasets.id", ondelete="CASCADE"), primary_key=True
    )
    sha256: Mapped[str] = mapped_column(ForeignKey("blobs.sha256"), index=True)
    layout: Mapped[dict[str, Any]]


def _folded_name(context: DefaultExecutionContext) -> str:
    return folded(str(context.get_current_parameters()["name"]))  # type: ignore[no-untyped-call]


class Job(Base):
    """A training job; `lifecycle` alone writes `status`."""

    __tablename__ = "jobs"

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    name: Mapped[str] = mapped_column(String(200))
    folded_name: Mapped[str] = mapped_column(
        Text, default=_folded_name, server_default=text("''")
    )  # as it is searched and sorted; set with `name`
    specification: Mapped[dict[str, Any]]
    method: Mapped[str] = mapped_column(String(40))
    network: Mapped[str] = mapped_column(String(40))
    dataset: Mapped[str] = mapped_column(String(200))  # its name when the job was submitted
    dataset_id: Mapped[str | None] = mapped_column(ForeignKey("datasets.id"), index=True)
    priority: Mapped[int]
    parameters: Mapped[int] = mapped_column(BigInteger)
    memory_bytes: Mapped[int] = mapped_column(BigInteger)
    idempotency_key: Mapped[str | None] = mapped_column(String(255), unique=True)
    request_sha256: Mapped[str | None] = mapped_column(String(64))
    retry_of: Mapped[str | None] = mapped_column(String(40))
    continues: Mapped[str | None] = mapped_column(String(40))  # the job that it trains further
    submitted_by: Mapped[str | None] = mapped_column(String(64))  # address or user
    owner_id: Mapped[str | None] = mapped_column(String(40), default=viewer.owner)
    project_id: Mapped[str | None] = mapped_column(String(40), default=viewer.project)
    origin: Mapped[dict[str, Any] | None]  # ids of the request that it came with, for logs
    sweep_id: Mapped[str | None] = mapped_column(String(40))  # the sweep that it is a part of
    sweep_index: Mapped[int | None]  # its place there: 0, 1, …; a retry takes that of its original

    status: Mapped[str] = mapped_column(String(20))
    attempt: Mapped[int] = mapped_column(default=0)  # the fence: raised by every claim
    losses: Mapped[int] = mapped_column(default=0)  # attempts lost since the last checkpoint
    retry_at: Mapped[float | None]  # of a recovering job: no worker takes it before
    micro_batches: Mapped[int | None]  # parts of a batch since memory ran out; null: as specified
    inherited_step: Mapped[int | None] = mapped_column(BigInteger)  # taken over from `retry_of`
    worker_id: Mapped[str | None] = mapped_column(String(40))
    device: Mapped[str | None] = mapped_column(String(200))
    lease_until: Mapped[float | None]
    heartbeat_at: Mapped[float | None]
    announced_at: Mapped[float | None]  # when a message for it was last sent
    created_at: Mapped[float]
    queued_at: Mapped[float]
    started_at: Mapped[float | None]
    finished_at: Mapped[float | None]

    step: Mapped[int] = mapped_column(default=0)
    steps_total: Mapped[int | None]
    epoch: Mapped[float] = mapped_column(default=0.0)
    started_step: Mapped[int] = mapped_column(default=0)  # where the running attempt began
    running_at: Mapped[float | None]  # when the running attempt began to train
    latest: Mapped[dict[str, Any]]  # the newest value of each metric
    best_accuracy: Mapped[float | None]
    checked: Mapped[int | None]  # samples that the check of the LIF network has done; of
    to_check: Mapped[int | None]  # so many
    lif_accuracy: Mapped[float | None]  # what the check came to; null until the job has succeeded
    verdict: Mapped[str | None] = mapped_column(String(20))
    rounding_cost_points: Mapped[float | None]  # null where no weights were rounded
    health: Mapped[str | None] = mapped_column(String(10))  # ok, warning, failed; null: not ended
    findings: Mapped[list[Any] | None]  # of a job that succeeded: what is wrong with it
    result: Mapped[dict[str, Any] | None]  # and what else it came to: `jobs.result.RESULT`
    error: Mapped[dict[str, Any] | None]
    events_count: Mapped[int] = mapped_column(default=0)
    version: Mapped[int] = mapped_column(BigInteger, default=0)  # raised by every change
    notes: Mapped[str | None] = mapped_column(Text)  # of people, in Markdown
    favourite_at: Mapped[float | None]  # when it was made a favourite; null: it is none

    labels: Mapped[list[JobLabel]] = relationship(cascade="all", passive_deletes=True)

    @validates("name")
    def _fold(self, _key: str, name: str) -> str:
        self.folded_name = folded(name)
        return name

    __table_args__ = (
        Index(None, "status", "priority", "queued_at"),
        Index(None, "created_at"),
        Index(None, "submitted_by", "created_at"),
        Index(None, "sweep_id", "sweep_index"),
        Index(None, "owner_id", "created_at"),
        Index(None, "project_id", "created_at"),
    )


class Sweep(Base):
    """Many jobs from one request: those with its id."""

    __tablename__ = "sweeps"

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    name: Mapped[str] = mapped_column(String(200))
    request: Mapped[dict[str, Any]]  # as it was sent, defaults filled in
    idempotency_key: Mapped[str | None] = mapped_column(String(255), unique=True)
    request_sha256: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[float]
    owner_id: Mapped[str | None] = mapped_column(String(40), default=viewer.owner)
    project_id: Mapped[str | None] = mapped_column(String(40), default=viewer.project)


class RequestMade(Base):
    """A request that came with an `Idempotency-Key`, and what it made or changed."""

    __tablename__ = "requests"

    key: Mapped[str] = mapped_column(String(255), primary_key=True)
    request_sha256: Mapped[str] = mapped_column(String(64))
    thing_id: Mapped[str] = mapped_column(String(40))  # of a job, a sweep or a data set
    created_at: Mapped[float] = mapped_column(index=True)


class JobLabel(Base):
    """One entry of a job's `metadata`, to find it by."""

    __tablename__ = "job_labels"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    key: Mapped[str] = mapped_column(String(64), primary_key=True)
    value: Mapped[str] = mapped_column(String(512))

    __table_args__ = (Index(None, "key", "value"),)


class JobTag(Base):
    """A word that somebody put on a job, to find it by."""

    __tablename__ = "job_tags"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    tag: Mapped[str] = mapped_column(String(50), primary_key=True, index=True)


class Event(Base):
    """One line of a job's timeline; `sequence` counts 1, 2, 3 … within the job."""

    __tablename__ = "events"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    sequence: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    type: Mapped[str] = mapped_column(String(40))
    attempt: Mapped[int]
    at: Mapped[float]
    data: Mapped[dict[str, Any]]


class MetricChunk(Base):
    """Up to 500 points of one metric: int64 steps, then float64 values, little endian."""

    __tablename__ = "metric_chunks"

    id: Mapped[int] = mapped_column(_Key, Identity(), primary_key=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"))
    name: Mapped[str] = mapped_column(String(100))
    attempt: Mapped[int]
    first_step: Mapped[int] = mapped_column(BigInteger)
    last_step: Mapped[int] = mapped_column(BigInteger)
    count: Mapped[int]
    points: Mapped[bytes] = mapped_column(LargeBinary)

    __table_args__ = (Index(None, "job_id", "name", "first_step"),)


class SpikeStatistics(Base):
    """Spike statistics of a job at one step; `data` is a `saf.training.events.SpikeStatistics`."""

    __tablename__ = "vitals"  # the name that databases have had since migration 0004

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    step: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    attempt: Mapped[int]
    data: Mapped[dict[str, Any]]


class LogChunk(Base):
    """Some lines that a job's processes printed; `id` is the position to read on from."""

    __tablename__ = "log_chunks"

    id: Mapped[int] = mapped_column(_Key, Identity(), primary_key=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), index=True)
    attempt: Mapped[int]
    text: Mapped[str] = mapped_column(Text)
    at: Mapped[float]


class Artifact(Base):
    """A file that a job left behind."""

    __tablename__ = "artifacts"

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"))
    name: Mapped[str] = mapped_column(String(200))
    kind: Mapped[str] = mapped_column(String(40))
    sha256: Mapped[str] = mapped_column(ForeignKey("blobs.sha256"), index=True)
    created_at: Mapped[float]

    blob: Mapped[Blob] = relationship(lazy="joined")

    __table_args__ = (UniqueConstraint("job_id", "name"),)


class Export(Base):
    """A job's network written for another tool and replayed there; `api.store.jobs.exports` alone
    writes `status`. Its files are artifacts of the job."""

    __tablename__ = "exports"

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"))
    target: Mapped[str] = mapped_column(String(100))
    options: Mapped[dict[str, Any]]  # settings of the target
    samples: Mapped[int]  # held-out ones to replay, at most
    status: Mapped[str] = mapped_column(String(20))  # queued, running, succeeded, failed
    attempt: Mapped[int] = mapped_column(default=0)  # the fence: raised by every claim
    losses: Mapped[int] = mapped_column(default=0)  # attempts whose worker or process vanished
    delays: Mapped[int] = mapped_column(default=0, server_default="0")  # by a disk or the store
    waits_for: Mapped[str | None] = mapped_column(Text)  # why it was put off
    retry_at: Mapped[float | None]  # no worker takes it before
    worker_id: Mapped[str | None] = mapped_column(String(40))
    lease_until: Mapped[float | None]
    replayed: Mapped[int | None]  # samples, of
    to_replay: Mapped[int | None]  # so many
    verdict: Mapped[str | None] = mapped_column(String(20))
    certificate: Mapped[dict[str, Any] | None]
    error: Mapped[dict[str, Any] | None]
    created_at: Mapped[float]
    started_at: Mapped[float | None]
    finished_at: Mapped[float | None]

    __table_args__ = (Index(None, "status", "created_at"), Index(None, "job_id", "target"))


class Checkpoint(Base):
    """A state from which a job can go on, the last two and what it began from; or, of step 0, the
    state of another job whose weights it starts with."""

    __tablename__ = "checkpoints"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    step: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    attempt: Mapped[int]
    sha256: Mapped[str] = mapped_column(ForeignKey("blobs.sha256"), index=True)
    created_at: Mapped[float]


class UploadedNetwork(Base):
    """A network of somebody's own, to start jobs from: a file that was checked."""

    __tablename__ = "networks"

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    name: Mapped[str] = mapped_column(String(200))
    sha256: Mapped[str] = mapped_column(ForeignKey("blobs.sha256"), index=True)
    bytes: Mapped[int] = mapped_column(BigInteger)
    settings: Mapped[dict[str, Any]]  # that a job takes over
    facts: Mapped[dict[str, Any]]  # shape, classes, layers, counts
    created_at: Mapped[float]
    uploaded_by: Mapped[str | None] = mapped_column(String(64))  # address or user that sent it
    owner_id: Mapped[str | None] = mapped_column(String(40), default=viewer.owner)
    project_id: Mapped[str | None] = mapped_column(String(40), default=viewer.project)


class Worker(Base):
    """A worker process; alive while `seen_at` is recent."""

    __tablename__ = "workers"

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    host: Mapped[str] = mapped_column(String(255))
    pid: Mapped[int]
    version: Mapped[str] = mapped_column(String(40))
    devices: Mapped[list[Any]]
    slots: Mapped[int]
    busy: Mapped[int] = mapped_column(default=0)
    measures: Mapped[dict[str, Any] | None]  # of its last heartbeat, as `worker.measures` has them
    started_at: Mapped[float]
    seen_at: Mapped[float]
    stopped_at: Mapped[float | None]
    draining: Mapped[str | None] = mapped_column(String(20))  # asked to end: hand_back, finish
