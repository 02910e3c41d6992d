"""Queries of routes and pages about jobs."""

from __future__ import annotations

import re

from fastapi import Request
from sqlalchemy.orm import Session

from api.errors import InvalidRequestError, NotFoundError
from api.store.tables.jobs import Job

MOST_FILTERS = 16  # by entries of the metadata, in one request


_METADATA = re.compile(r"metadata\[(.+)\]")


def read_job(session: Session, job_id: str) -> Job:
    """The job, or NotFoundError."""
    job = session.get(Job, job_id)
    if job is None:
        raise NotFoundError(f"there is no job {job_id}")
    return job


def metadata_filter(request: Request) -> dict[str, str]:
    """The `metadata[key]=value` pairs of a query. Raises InvalidRequestError for too many."""
    pairs = ((_METADATA.fullmatch(key), value) for key, value in request.query_params.multi_items())
    found = {match[1]: value for match, value in pairs if match is not None}
    if len(found) > MOST_FILTERS:
        detail = f"{len(found)} entries of the metadata are asked for; {MOST_FILTERS} are the most"
        raise InvalidRequestError.at("metadata", detail)
    return found
