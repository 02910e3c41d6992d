"""What every request works with: opened by the application's lifespan, asked for by endpoints."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from celery import Celery
from fastapi import Depends, Request

from api.checks import Checks
from api.errors import UnavailableError
from api.measures import Measures
from api.opening import Opening
from api.queue import Doorbell
from api.quota import Seats
from api.settings import Settings
from api.storage import Storage
from api.store.artifacts import ArtifactStore
from api.store.database import Database
from api.stream import Streams
from api.trials import Trials


@dataclass(frozen=True, kw_only=True)
class Service:
    """The parts of one running API process."""

    settings: Settings
    opening: Opening
    database: Database
    store: ArtifactStore
    storage: Storage
    celery: Celery
    doorbell: Doorbell
    streams: Streams
    checks: Checks
    trials: Trials
    measures: Measures
    seats: Seats


async def _any_service(request: Request) -> Service:
    # Not `def`: FastAPI would send it through the thread pool for each request.
    service: Service = request.app.state.service
    return service


async def _service(request: Request) -> Service:
    service = await _any_service(request)
    if service.opening.reason:
        raise UnavailableError(service.opening.reason)
    return service


AnyServiceDependency = Annotated[Service, Depends(_any_service)]
"""Also one that waits for its database."""
ServiceDependency = Annotated[Service, Depends(_service)]
