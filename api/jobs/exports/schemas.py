"""Exports as the API takes and shows them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal, cast

from pydantic import BaseModel, ConfigDict, Field

from api.jobs.results.artifacts import ArtifactDocument
from api.store.soundness import readable
from api.store.tables.results import Export
from api.web.asgi import prefix
from api.web.schemas import Document, Timestamp, iso, maybe_iso, without_nan

ExportStatus = Literal["queued", "running", "succeeded", "failed"]
ExportVerdict = Literal["identical", "equivalent", "differs", "not_replayed"]


class ExportRequest(BaseModel):
    """A network to write for another tool."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)

    target: Annotated[str, Field(min_length=1, max_length=100)]
    """One of `GET /v1/exports`."""
    options: Annotated[dict[str, Any], Field(max_length=32)] = {}
    """Settings of the target; `GET /v1/exports` has them as `parameters`."""
    samples: Annotated[int, Field(ge=1, le=100_000)] = 1000
    """Samples of the evaluation split to replay, at even distances; fewer where it has fewer."""


class ExportError(Document):
    """Why an export failed."""

    code: str
    """cannot_express: the target cannot express the network; reader: its reader cannot run what was
    written; else as of jobs, and gone."""
    message: str
    hint: str


class ExportDocument(Document):
    """A job's network written for another tool, and replayed there."""

    id: str
    object: Literal["export"] = "export"
    job_id: str
    target: str
    options: dict[str, Any]
    samples: int
    """Samples to replay, at most."""
    status: ExportStatus
    attempt: int
    """How often a worker has begun."""
    waits_for: str | None
    """What keeps a queued one from being made, such as a disk that is full; null: nothing but the
    queue."""
    retry_at: Timestamp | None
    """When such a one is tried again."""
    replayed: int | None
    """Samples that were replayed, of `to_replay`; null before."""
    to_replay: int | None
    verdict: ExportVerdict | None
    """Of its certificate; null until it has succeeded."""
    artifacts: list[ArtifactDocument]
    """Its files: the one that is loaded first is `certificate.files[0]`; the last is the
    certificate."""
    certificate: dict[str, Any] | None
    """What was compared, and what came out; null until it has succeeded."""
    error: ExportError | None
    """Only of an export that failed."""
    created_at: Timestamp
    started_at: Timestamp | None
    finished_at: Timestamp | None
    url: str


def export_document(row: Export, files: Sequence[ArtifactDocument]) -> ExportDocument:
    """The JSON of an export."""
    export, unreadable = readable(row)
    error = export.error
    if unreadable:
        hint = "`saf scrub` names such rows; export again"
        error = {"code": "unreadable", "message": unreadable, "hint": hint}
    return ExportDocument(
        id=export.id,
        job_id=export.job_id,
        target=export.target,
        options=without_nan(export.options),
        samples=export.samples,
        status=cast(ExportStatus, export.status),
        attempt=export.attempt,
        waits_for=export.waits_for,
        retry_at=maybe_iso(export.retry_at),
        replayed=export.replayed,
        to_replay=export.to_replay,
        verdict=cast(ExportVerdict | None, export.verdict),
        artifacts=list(files),
        certificate=None if export.certificate is None else without_nan(export.certificate),
        error=None if error is None else ExportError.model_validate(error),
        created_at=iso(export.created_at),
        started_at=maybe_iso(export.started_at),
        finished_at=maybe_iso(export.finished_at),
        url=prefix.at(f"/v1/jobs/{export.job_id}/exports/{export.id}"),
    )
