"""Artifacts of jobs."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from api.store.database import clock
from api.store.ids import new_id
from api.store.tables.results import Artifact


def register(session: Session, *, job_id: str, name: str, kind: str, sha256: str) -> Artifact:
    """Add the file of an artifact; a file of the same name is replaced."""
    artifact = session.scalar(
        select(Artifact).where(Artifact.job_id == job_id, Artifact.name == name)
    )
    if artifact is None:
        artifact = Artifact(id=new_id("art"), job_id=job_id, name=name)
        session.add(artifact)
    artifact.kind = kind
    artifact.sha256 = sha256
    artifact.created_at = clock(session)
    session.flush()
    return artifact
