"""The tables of limits, and of what workers have done, for whom."""

from __future__ import annotations

from sqlalchemy import Index, String
from sqlalchemy.orm import Mapped, mapped_column

from api.store.tables.base import Base


class Limit(Base):
    """The most of something that a user or a project may have. What has no row of its own has the
    default of all users or projects, as the settings of the API say it; 0: any number."""

    __tablename__ = "limits"

    subject_id: Mapped[str] = mapped_column(String(40), primary_key=True)  # or `users`, `projects`
    name: Mapped[str] = mapped_column(String(40), primary_key=True)  # `kinds.KINDS`
    most: Mapped[float]


class Attempt(Base):
    """A worker's try at a job, which took a device for so long; it stays when the job goes, so that
    what it took still counts."""

    __tablename__ = "attempts"

    job_id: Mapped[str] = mapped_column(String(40), primary_key=True)
    attempt: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    owner_id: Mapped[str | None] = mapped_column(String(40))
    project_id: Mapped[str | None] = mapped_column(String(40))
    began_at: Mapped[float]
    ended_at: Mapped[float | None] = mapped_column(index=True)  # null: it runs

    __table_args__ = (
        Index(None, "owner_id", "ended_at"),
        Index(None, "project_id", "ended_at"),
    )
