"""Saved searches: save, list, delete."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Body, Response
from sqlalchemy.orm import Session

from api.jobs.searches.queries import find_searches, read_search, save, saved
from api.jobs.searches.schemas import NewSearch, SearchDocument
from api.store import viewer
from api.store.tables.jobs import SavedSearch
from api.web.caller import ProjectHeader
from api.web.dependencies import ServiceDependency
from api.web.idempotency import IdempotencyKey, made_before, remember, written
from api.web.problems.documents import responses
from api.web.schemas import Listing

router = APIRouter(prefix="/v1/searches", tags=["jobs"])


@router.get("", summary="List saved searches", responses=responses(401, 503))
def list_searches(service: ServiceDependency) -> Listing[SearchDocument]:
    """One's own, and those of one's projects, by name."""
    with service.database.reading() as session:
        found = find_searches(session)
    return Listing(
        data=found,
        first_id=found[0].id if found else None,
        last_id=found[-1].id if found else None,
    )


@router.post(
    "",
    status_code=201,
    summary="Save a search",
    responses={
        200: {"description": "The same request came before (Idempotency-Key)"},
        **responses(400, 401, 403, 409, 413, 415, 422, 503),
    },
)
def add_search(
    service: ServiceDependency,
    response: Response,
    search: Annotated[NewSearch, Body()],
    idempotency_key: IdempotencyKey = None,
    saf_project: ProjectHeader = None,
) -> SearchDocument:
    """Filters and order of the list of jobs under a name; made in a project, its members see it."""
    request = ("searches", search.name, search.query)

    def make(session: Session) -> tuple[SearchDocument, bool]:
        earlier = made_before(session, SavedSearch, idempotency_key, *request)
        if earlier is not None:
            return saved(session, earlier), False
        row = save(session, search, viewer.project())
        remember(session, idempotency_key, row.id, *request)
        return saved(session, row), True

    made, is_new = written(service, make)
    response.status_code = 201 if is_new else 200
    return made


@router.delete(
    "/{search}",
    status_code=204,
    summary="Delete a saved search",
    responses=responses(401, 403, 404, 503),
)
def delete_search(service: ServiceDependency, search: str) -> None:
    """By its owner, or an admin of its project. The jobs that it finds stay."""
    with service.database.writing() as session:
        session.delete(read_search(session, search))
