"""What attempts and exports of a job leave behind."""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    String,
    Text,
    UniqueConstraint,
)
from sqlalchemy.orm import Mapped, mapped_column, relationship

from api.store.tables.base import Base, Blob

_Key = BigInteger().with_variant(Integer, "sqlite")


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
