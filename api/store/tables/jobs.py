"""Jobs, what they are found by, and the requests that made them."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Index, String, Text, text
from sqlalchemy.engine.default import DefaultExecutionContext
from sqlalchemy.orm import Mapped, mapped_column, relationship, validates

from api.store import viewer
from api.store.search import folded
from api.store.tables.base import Base


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
    notes: Mapped[str | None] = mapped_column(Text)  # of people, in Markdown
    tags: Mapped[list[Any] | None]  # in order of the alphabet
    favourite_at: Mapped[float | None]  # when it was made a favourite; null: it is none


class RequestMade(Base):
    """A request that came with an `Idempotency-Key`, and what it made or changed."""

    __tablename__ = "requests"

    key: Mapped[str] = mapped_column(String(255), primary_key=True)
    request_sha256: Mapped[str] = mapped_column(String(64))
    thing_id: Mapped[str] = mapped_column(String(40))  # of a job, a sweep or a data set
    created_at: Mapped[float] = mapped_column(index=True)


class SavedSearch(Base):
    """Filters and order of the list of jobs that somebody has given a name."""

    __tablename__ = "searches"

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    name: Mapped[str] = mapped_column(String(60))
    query: Mapped[str] = mapped_column(Text)  # as in an address
    created_at: Mapped[float]
    owner_id: Mapped[str | None] = mapped_column(String(40), default=viewer.owner, index=True)
    project_id: Mapped[str | None] = mapped_column(String(40), index=True)
