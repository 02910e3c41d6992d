"""Whether the service lives, whether it can work, and its numbers for Prometheus."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from starlette.responses import PlainTextResponse

from api.broker.wakeups import broker_answers
from api.errors import FieldError, UnavailableError
from api.store.database import is_starved, why_away
from api.web.dependencies import AnyServiceDependency, Service
from api.web.problems.documents import responses
from api.web.schemas import Document

router = APIRouter(tags=["system"])


class Check(Document):
    """The check of one thing that the service needs."""

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
def get_prometheus(service: AnyServiceDependency) -> PlainTextResponse:
    """What this process measures of itself, and of the service what can be asked within two
    seconds: jobs, the queue, leases, workers with their GPUs, disks; `saf_database_up`,
    `saf_broker_up` and `saf_storage_up` say what answers."""
    return PlainTextResponse(service.measures.page(), media_type=CONTENT_TYPE_PLAIN_0_0_4)


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
