"""Queries of routes and pages about exports."""

from __future__ import annotations

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from api.errors import GoneError, NotFoundError
from api.jobs.exports.schemas import ExportDocument, export_document
from api.jobs.results.artifacts import artifact_document
from api.jobs.results.predict import NETWORK
from api.store.blobs.base import ArtifactStore
from api.store.blobs.verified import DamagedError
from api.store.jobs.exports import SUCCEEDED, files_of
from api.store.tables.results import Artifact, Export
from saf.networks.outline import Outline, read_outline


def find_exports(session: Session, job_id: str) -> list[Export]:
    """The exports of a job, the newest first."""
    query = select(Export).where(Export.job_id == job_id)
    return list(session.scalars(query.order_by(Export.created_at.desc(), Export.id.desc())))


def read_export(session: Session, job_id: str, name: str) -> Export:
    """The export of a job with this id, or the newest one to the target of this name. Raises
    NotFoundError."""
    export = session.scalar(
        select(Export)
        .where(Export.job_id == job_id, or_(Export.id == name, Export.target == name))
        .order_by(Export.created_at.desc(), Export.id.desc())
        .limit(1)
    )
    if export is None:
        raise NotFoundError(f"job {job_id} has no export {name}")
    return export


def export_documents(session: Session, exports: list[Export]) -> list[ExportDocument]:
    """The JSON of some exports, with their files."""
    return [
        export_document(
            export,
            [artifact_document(each) for each in files_of(session, export.job_id, export.target)]
            if export.status == SUCCEEDED
            else [],
        )
        for export in exports
    ]


def network_of(session: Session, job_id: str) -> str | None:
    """SHA-256 of the LIF network of a job."""
    return session.scalar(
        select(Artifact.sha256).where(Artifact.job_id == job_id, Artifact.name == NETWORK)
    )


def outline_of_network(store: ArtifactStore, sha256: str) -> Outline | None:
    """What the header of a network says of it; None where this version cannot tell. Raises
    GoneError and OSError."""
    try:
        with store.open(sha256) as file:
            return read_outline(file)
    except (FileNotFoundError, DamagedError) as error:
        raise GoneError(
            f"the file {NETWORK} of the job is no longer whole in the store; submit the "
            "specification of the job again to make it anew"
        ) from error
