"""What a job has left behind so far: its timeline, metrics, log; also live."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from typing import Annotated, Literal

from fastapi import APIRouter, Header, Query, Request
from sqlalchemy import select
from sqlalchemy.orm import Session
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from api.documents import Document, EventDocument, Listing, event_document, finite
from api.errors import FieldError, InvalidRequestError
from api.jobs import read_job
from api.problems import responses
from api.quota import Seats, UserDependency
from api.service import Service, ServiceDependency
from api.store import logs, metrics
from api.store.tables import Event

router = APIRouter(prefix="/v1", tags=["jobs"])
EVENT_STREAM = "text/event-stream"
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
MAX_POINTS = 1_000_000  # of a metric
ALL_POINTS = 1_000_000  # of an answer
MOST_NAMES = 100  # of metrics in one request
POINTS_AT_ONCE = 10_000
PIECE = 2**16  # characters of an answer that is sent in pieces
FOUND_LINES = 2000


class MetricSeries(Document):
    """The points of one metric."""

    name: str
    count: int
    """Points in the range before down-sampling."""
    points: list[tuple[int, float | None]]
    """[step, value]; a value that is no number is null."""


class MetricsDocument(Document):
    """Metrics of a job."""

    object: Literal["metrics"] = "metrics"
    job_id: str
    names: list[str]
    """All metrics that the job has."""
    attempts: list[tuple[int, int]]
    """[attempt, the first step that it reported], of all attempts whose points are here."""
    series: list[MetricSeries]


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
            start = _position(last_event_id, after)
            return event_stream(service.seats, user, service.streams.job(job_id, after=start))
        events, has_more = find_events(session, job_id, after=after, limit=limit)
    documents = [event_document(event) for event in events]
    return Listing(
        data=documents,
        first_id=str(documents[0].sequence) if documents else None,
        last_id=str(documents[-1].sequence) if documents else None,
        has_more=has_more,
    )


@router.get(
    "/jobs/{job_id}/metrics",
    summary="Metrics of a job",
    response_model=MetricsDocument,
    responses={
        200: {"content": {"text/csv": {"example": "name,attempt,step,value\nloss,1,1,2.3\n"}}},
        **responses(404, 422, 503),
    },
)
def get_metrics(
    service: ServiceDependency,
    job_id: str,
    names: Annotated[
        list[str] | None, Query(description="Repeated or separated by commas; all by default")
    ] = None,
    max_points: Annotated[
        int,
        Query(
            ge=10,
            le=MAX_POINTS,
            description="Of each metric, at most; a million of all metrics together",
        ),
    ] = 2000,
    from_step: Annotated[int, Query(ge=0, lt=2**63)] = 0,
    to_step: Annotated[int | None, Query(ge=0, lt=2**63)] = None,
    format: Annotated[
        Literal["json", "csv"], Query(description="`csv` is every point of every metric")
    ] = "json",
) -> MetricsDocument | Response:
    """Down-sampling keeps of each range of steps the first, last, smallest and largest point."""
    wanted = list(dict.fromkeys(one for given in names or [] for one in given.split(",") if one))
    if len(wanted) > MOST_NAMES:
        detail = f"names {len(wanted)} metrics, and {MOST_NAMES} are the most; ask for all or again"
        raise InvalidRequestError(detail, errors=[FieldError("names", detail)])
    with service.database.reading() as session:
        read_job(session, job_id)
        if format == "csv":
            return StreamingResponse(
                _csv(service, job_id),
                media_type="text/csv",
                headers={"Content-Disposition": f'attachment; filename="{job_id}-metrics.csv"'},
            )
        known = metrics.names(session, job_id)
        asked = wanted or known
        found = metrics.read(
            session,
            job_id,
            names=asked,
            from_step=from_step,
            to_step=to_step,
            max_points=min(max_points, max(10, ALL_POINTS // max(1, len(asked)))),
        )
        attempts = (
            metrics.attempts(session, job_id, "loss" if "loss" in known else known[0])
            if known
            else []
        )
    document = MetricsDocument(job_id=job_id, names=known, attempts=attempts, series=[])
    # As it is: FastAPI would check each of the points once more, and keep all of them in memory.
    return StreamingResponse(
        _in_large_pieces(_json(document, found)), media_type="application/json"
    )


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
            start = _position(last_event_id, after)
            return event_stream(service.seats, user, service.streams.log(job_id, after=start))
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


@router.get(
    "/stream",
    tags=["jobs"],
    summary="Changes of the newest jobs, live",
    response_class=StreamingResponse,
    responses={
        200: {"content": {EVENT_STREAM: {"schema": {"type": "string"}}}},
        **responses(429, 503),
    },
)
def stream_jobs(
    service: ServiceDependency,
    user: UserDependency,
    snapshot: Annotated[
        bool, Query(description="Begin with every job of the list; else only later changes")
    ] = True,
) -> Response:
    """A `job` message (id, name, status, progress, eta_seconds, latest_metrics, …) for each of
    the newest jobs, or a `begin` instead, and from then on `job` for each that changes and
    `deleted` for each that is gone."""
    return event_stream(service.seats, user, service.streams.jobs(snapshot=snapshot))


def wants_stream(request: Request) -> bool:
    """Whether the client asks for server-sent events."""
    return EVENT_STREAM in request.headers.get("accept", "")


class _EventStream(StreamingResponse):
    """Ends its messages, and with them the watching, as soon as the viewer is gone."""

    def __init__(self, messages: AsyncGenerator[str], end: Callable[[], None]) -> None:
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}  # no proxy collects it
        super().__init__(messages, media_type=EVENT_STREAM, headers=headers)
        self._messages = messages
        self._end = end

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._end()
            await self._messages.aclose()


def event_stream(seats: Seats, user: str, messages: AsyncGenerator[str]) -> StreamingResponse:
    """The response for a live stream, or TooManyError."""
    seats.take("live stream", user)
    return _EventStream(messages, lambda: seats.free("live stream", user))


def _position(last_event_id: str | None, after: int) -> int:
    if last_event_id is None or last_event_id == "":
        return after
    if not last_event_id.isdecimal() or len(last_event_id) > 18:
        detail = f"is a number that this stream sent as `id`, not {last_event_id!r}"
        raise InvalidRequestError(detail, errors=[FieldError("last-event-id", detail)])
    return int(last_event_id)


# While a client reads, no connection to the database is held for it.


def _csv(service: Service, job_id: str) -> Iterator[str]:
    """Lines of CSV, many at a time."""
    yield "name,attempt,step,value\n"
    place: metrics.Place | None = ("", -1)
    while place is not None:
        with service.database.reading() as session:
            found, place = metrics.some_rows(session, job_id, after=place)
        yield "".join(
            f"{name},{attempt},{step},{'' if finite(value) is None else repr(value)}\n"
            for name, attempt, step, value in found
        )


def _json(document: MetricsDocument, found: Sequence[metrics.Series]) -> Iterator[str]:
    """The JSON of a document, the points written some at a time."""
    yield document.model_dump_json().removesuffix("]}")  # of the empty list of series
    for number, series in enumerate(found):
        comma = "," if number else ""
        yield f'{comma}{{"name":{json.dumps(series.name)},"count":{series.count},"points":['
        for begin in range(0, len(series.steps), POINTS_AT_ONCE):
            part = slice(begin, begin + POINTS_AT_ONCE)
            values = map(finite, series.values[part].tolist())
            pairs = list(zip(series.steps[part].tolist(), values, strict=True))
            yield ("," if begin else "") + json.dumps(pairs, separators=(",", ":"))[1:-1]
        yield "]}"
    yield "]}"


def _in_large_pieces(texts: Iterator[str]) -> Iterator[str]:
    """The same text in pieces that are worth a turn of the event loop each."""
    held: list[str] = []
    size = 0
    for text in texts:
        held.append(text)
        size += len(text)
        if size >= PIECE:
            yield "".join(held)
            held, size = [], 0
    yield "".join(held)


def _log(service: Service, job_id: str, after: int, end: int) -> Iterator[str]:
    """The text of a log between two positions, in pieces."""
    while after < end:
        with service.database.reading() as session:
            text, after = logs.read(session, job_id, after=after, until=end)
        if not text:  # it was deleted meanwhile
            return
        yield text
