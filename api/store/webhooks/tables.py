"""The tables of webhooks."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ForeignKey, Index, String, Text, true
from sqlalchemy.orm import Mapped, mapped_column

from api.store import viewer
from api.store.tables.base import Base

MAILTO = "mailto:"


class Webhook(Base):
    """An address that is told when something ends: of a receiver, or of a mail box (`mailto:`)."""

    __tablename__ = "webhooks"

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    owner_id: Mapped[str | None] = mapped_column(String(40), default=viewer.owner, index=True)
    project_id: Mapped[str | None] = mapped_column(String(40), default=viewer.project, index=True)
    url: Mapped[str] = mapped_column(Text)
    events: Mapped[list[Any]]
    secret: Mapped[str] = mapped_column(String(100))  # whsec_…: it signs messages and links
    sweep_jobs: Mapped[bool] = mapped_column(default=True, server_default=true())
    """Whether it is told of each job of a sweep too."""
    created_at: Mapped[float]
    confirmed_at: Mapped[float | None]  # of a mail box: whose it is was said there
    failing_since: Mapped[float | None]  # the first failure that no arrival has followed
    disabled_at: Mapped[float | None]  # since then nothing is sent
    disabled_why: Mapped[str | None] = mapped_column(Text)
    sending_until: Mapped[float | None]  # until then nobody else sends to it


class Delivery(Base):
    """A message of the outbox, until it has arrived or was given up."""

    __tablename__ = "webhook_deliveries"

    id: Mapped[str] = mapped_column(String(40), primary_key=True)  # msg_…: the same at each try
    webhook_id: Mapped[str] = mapped_column(ForeignKey("webhooks.id", ondelete="CASCADE"))
    type: Mapped[str] = mapped_column(String(40))
    body: Mapped[str] = mapped_column(Text)
    created_at: Mapped[float]
    tries: Mapped[int] = mapped_column(default=0)
    next_at: Mapped[float | None]  # of the next try; null: there is none
    delivered_at: Mapped[float | None]
    status: Mapped[int | None]  # of the last answer
    error: Mapped[str] = mapped_column(Text, default="")  # of the last try

    __table_args__ = (Index(None, "next_at"), Index(None, "webhook_id", "next_at"))


class SweepNews(Base):
    """A job of a sweep has ended: whoever sends looks whether it was the last one."""

    __tablename__ = "sweep_news"

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    sweep_id: Mapped[str] = mapped_column(String(40), index=True)
