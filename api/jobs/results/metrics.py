"""The metrics of a job, also as a stream."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Annotated, Literal

from fastapi import APIRouter, Query
from starlette.responses import Response, StreamingResponse

from api.errors import InvalidRequestError
from api.jobs.queries import read_job
from api.store.runs import metrics
from api.web.dependencies import Service, ServiceDependency
from api.web.problems.documents import responses
from api.web.schemas import Document, finite

router = APIRouter(prefix="/v1", tags=["jobs"])
MAX_POINTS = 1_000_000  # of a metric
ALL_POINTS = 1_000_000  # of an answer
MOST_NAMES = 100  # of metrics in one request
POINTS_AT_ONCE = 10_000
PIECE = 2**16  # characters of an answer that is sent in pieces


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
        raise InvalidRequestError.at("names", detail)
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
