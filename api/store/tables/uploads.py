"""What people upload: data sets with their pictures, and networks of their own."""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, ForeignKey, LargeBinary, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from api.store import viewer
from api.store.tables.base import Base


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
    notes: Mapped[str | None] = mapped_column(Text)  # of people, in Markdown
    tags: Mapped[list[Any] | None]  # in order of the alphabet
    favourite_at: Mapped[float | None]  # when it was made a favourite; null: it is none


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
