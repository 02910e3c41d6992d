"""Who works."""

from __future__ import annotations

from typing import Any

from sqlalchemy import String
from sqlalchemy.orm import Mapped, mapped_column

from api.store.tables.base import Base


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
