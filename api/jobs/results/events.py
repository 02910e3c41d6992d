"""The timeline of a job, also live."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Header, Query, Request
from sqlalchemy import select
from sqlalchemy.orm import Session
from starlette.responses import Response

from api.jobs.live import Streams
from api.jobs.queries import read_job
from api.jobs.schemas import EventDocument, event_document
from api.store.tables.results import Event
from api.web.dependencies import ServiceDependency
from api.web.limits import UserDependency
from api.web.problems.documents import responses
from api.web.schemas import Listing
from api.web.sse import EVENT_STREAM, event_stream, position_of, wants_stream

router = APIRouter(prefix="/v1", tags=["jobs"])

_STREAM_DOCUMENTATION = {
    "content": {
        EVENT_STREAM: {
            "schema": {"type": "string"},
            "example": 'id: 3\ndata: {"object": "event", "type": "running", …}\n\n'
            'event: progress\ndata: {"id": "job_…", "progress": {…}, …}\n\n'
            'event: done\ndata: {"object": "job", "status": "succeeded", …}\n\n',
        }
    }
}


def find_events(
    session: Session, job_id: str, *, after: int = 0, limit: int
) -> tuple[list[Event], bool]:
    """The timeline of a job after a sequence number, and whether there is more."""
    found = session.scalars(
        select(Event)
        .where(Event.job_id == job_id, Event.sequence > after)
        .order_by(Event.sequence)
        .limit(limit + 1)
    ).all()
    return list(found[:limit]), len(found) > limit


@router.get(
    "/jobs/{job_id}/events",
    summary="Timeline of a job, also live",
    response_model=Listing[EventDocument],
    responses={200: _STREAM_DOCUMENTATION, **responses(404, 422, 429, 503)},
)
def list_events(
    service: ServiceDependency,
    user: UserDependency,
    request: Request,
    job_id: str,
    after: Annotated[int, Query(ge=0, lt=2**31, description="A sequence number")] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 1000,
    last_event_id: Annotated[
        str | None, Header(description="As `after`; browsers send it when they reconnect")
    ] = None,
) -> Listing[EventDocument] | Response:
    """With `Accept: text/event-stream`: the timeline as messages whose `id` is the sequence
    number, `progress` whenever the job changed and every 15 s, and `done` with the job when it
    has ended."""
    with service.database.reading() as session:
        read_job(session, job_id)
        if wants_stream(request):
            start = position_of(last_event_id, after)
            return event_stream(
                service.concurrency, user, service.part(Streams).job(job_id, after=start)
            )
        events, has_more = find_events(session, job_id, after=after, limit=limit)
    documents = [event_document(event) for event in events]
    return Listing(
        data=documents,
        first_id=str(documents[0].sequence) if documents else None,
        last_id=str(documents[-1].sequence) if documents else None,
        has_more=has_more,
    )
