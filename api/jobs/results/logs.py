"""The log of a job, also as a stream."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from fastapi import APIRouter, Header, Query, Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse

from api.jobs.live import Streams
from api.jobs.queries import read_job
from api.store.runs import logs
from api.web.dependencies import Service, ServiceDependency
from api.web.limits import UserDependency
from api.web.problems.documents import responses
from api.web.sse import EVENT_STREAM, event_stream, position_of, wants_stream

router = APIRouter(prefix="/v1", tags=["jobs"])

FOUND_LINES = 2000


@router.get(
    "/jobs/{job_id}/logs",
    summary="What a job printed, also live",
    response_class=PlainTextResponse,
    responses={200: {"content": {EVENT_STREAM: {}}}, **responses(404, 422, 429, 503)},
)
def get_logs(
    service: ServiceDependency,
    user: UserDependency,
    request: Request,
    job_id: str,
    after: Annotated[int, Query(ge=0, lt=2**63, description="`X-Log-After` of an answer")] = 0,
    tail: Annotated[int | None, Query(ge=0, le=100_000, description="The last lines only")] = None,
    q: Annotated[
        str, Query(max_length=200, description="Only lines with this, and their numbers")
    ] = "",
    last_event_id: Annotated[str | None, Header()] = None,
) -> Response:
    """With `Accept: text/event-stream`: messages `{"text", "after"}` until the job has ended.
    With `q`: of the whole log the last lines, `tail` or 2,000 of them, that hold it in any case."""
    with service.database.reading() as session:
        read_job(session, job_id)
        if wants_stream(request):
            start = position_of(last_event_id, after)
            return event_stream(
                service.concurrency, user, service.part(Streams).log(job_id, after=start)
            )
        if q:
            found = logs.search(session, job_id, q, most=FOUND_LINES if tail is None else tail)
        elif tail is not None:
            found = logs.tail(session, job_id, tail)
        else:
            end = max(after, logs.newest(session, job_id))
            return StreamingResponse(
                _log(service, job_id, after, end),
                media_type="text/plain",
                headers={"X-Log-After": str(end)},
            )
    return PlainTextResponse(found.text, headers={"X-Log-After": str(found.after)})


def _log(service: Service, job_id: str, after: int, end: int) -> Iterator[str]:
    """The text of a log between two positions, in pieces."""
    while after < end:
        with service.database.reading() as session:
            text, after = logs.read(session, job_id, after=after, until=end)
        if not text:  # it was deleted meanwhile
            return
        yield text
