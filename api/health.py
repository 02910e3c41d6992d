"""Whether the service lives, whether it can work, and its numbers for Prometheus."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from fastapi import APIRouter
from sqlalchemy import func, select, text
from sqlalchemy.exc import SQLAlchemyError
from starlette.responses import PlainTextResponse

from api.documents import Document
from api.errors import FieldError, UnavailableError
from api.problems import responses
from api.queue import broker_answers
from api.service import AnyServiceDependency, Service, ServiceDependency
from api.store.database import clock, is_starved, why_away
from api.store.tables import WAITING, Job, Status, Worker
from api.workers import is_alive

router = APIRouter(tags=["system"])


class Check(Document):
    """One thing that the service needs."""

    name: Literal["database", "broker", "storage"]
    ok: bool
    reason: str
    """Empty when it is ok."""


class Readiness(Document):
    """Everything that the service needs is there."""

    status: Literal["ready"] = "ready"
    checks: list[Check]


@router.get("/healthz", summary="The process answers")
def get_health() -> dict[str, str]:
    """Looks at nothing else; what the service needs is in `/readyz`."""
    return {"status": "ok"}


@router.get("/readyz", summary="Database, broker and storage answer", responses=responses(503))
def get_readiness(service: AnyServiceDependency) -> Readiness:
    """503 with the reason of each that does not."""
    reasons = {
        "database": _database(service),
        "broker": _broker(service),
        "storage": _storage(service),
    }
    failing = [FieldError(name, reason) for name, reason in reasons.items() if reason]
    if failing:
        raise UnavailableError(
            "; ".join(f"{name}: {reason}" for name, reason in failing), errors=failing
        )
    return Readiness(
        checks=[
            Check(name="database", ok=True, reason=""),
            Check(name="broker", ok=True, reason=""),
            Check(name="storage", ok=True, reason=""),
        ]
    )


@router.get("/metrics", summary="Numbers for Prometheus", response_class=PlainTextResponse)
def get_prometheus(service: ServiceDependency) -> PlainTextResponse:
    """Jobs by status, queue, workers, and the requests that this process answered."""
    with service.database.reading() as session:
        counted = select(Job.status, func.count().label("number")).group_by(Job.status)
        jobs = {row.status: int(row.number) for row in session.execute(counted)}
        oldest = session.scalar(select(func.min(Job.queued_at)).where(Job.status.in_(WAITING)))
        waited = 0.0 if oldest is None else max(0.0, clock(session) - oldest)
        alive = session.execute(
            select(func.count(), func.sum(Worker.slots), func.sum(Worker.busy)).where(
                is_alive(service.settings)
            )
        ).one()
    lines = [
        *_metric(
            "saf_jobs",
            "gauge",
            "Jobs by status.",
            [(f'{{status="{status}"}}', jobs.get(status, 0)) for status in Status],
        ),
        *_metric(
            "saf_queue_depth",
            "gauge",
            "Jobs that wait for a worker.",
            [("", sum(jobs.get(status, 0) for status in WAITING))],
        ),
        *_metric(
            "saf_queue_oldest_seconds",
            "gauge",
            "How long the first of them has waited.",
            [("", round(waited, 3))],
        ),
        *_metric("saf_workers_alive", "gauge", "Workers that were seen lately.", [("", alive[0])]),
        *_metric("saf_slots", "gauge", "Slots of these workers.", [("", int(alive[1] or 0))]),
        *_metric("saf_slots_busy", "gauge", "Slots that train a job.", [("", int(alive[2] or 0))]),
        *_metric(
            "saf_streams_watched",
            "gauge",
            "Things that live streams of this process watch.",
            [("", service.streams.watched)],
        ),
        *_metric(
            "saf_http_requests_total",
            "counter",
            "Requests that this process answered.",
            [
                (f'{{method="{method}",status="{status}"}}', count)
                for method, status, count in service.counts.read()
            ],
        ),
    ]
    return PlainTextResponse(
        "\n".join(lines) + "\n", media_type="text/plain; version=0.0.4; charset=utf-8"
    )


def _database(service: Service) -> str:
    if service.opening.reason:
        return service.opening.reason
    try:
        with service.database.reading() as session:
            session.execute(text("SELECT 1 FROM jobs LIMIT 1"))
            service.database.confirm(session)
    except SQLAlchemyError as error:
        if is_starved(error):
            return (
                f"has no connection left ({why_away(error)}): give each process of the API fewer "
                "by SAF_DATABASE_CONNECTIONS and each worker by SAF_WORKER_DATABASE_CONNECTIONS "
                "where the server refuses more, or more where those of this process are all in use"
            )
        return f"does not answer ({why_away(error)}); look at DATABASE_URL and its server"
    return ""


def _broker(service: Service) -> str:
    if not service.settings.broker_url:
        return "BROKER_URL is not set"
    if not broker_answers(service.celery):
        return "does not answer; look at BROKER_URL and its server"
    return ""


def _storage(service: Service) -> str:
    try:
        service.store.check()
    except OSError as error:
        reason = error.strerror or error
        return f"cannot be written: {reason}; look at ARTIFACTS_URL and what it names"
    return ""


def _metric(name: str, kind: str, text_: str, samples: Iterable[tuple[str, float]]) -> list[str]:
    return [
        f"# HELP {name} {text_}",
        f"# TYPE {name} {kind}",
        *(f"{name}{labels} {value}" for labels, value in samples),
    ]
