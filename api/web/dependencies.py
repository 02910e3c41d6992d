"""Dependencies of endpoints, which the application's lifespan opens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, TypeVar, cast

from celery import Celery
from fastapi import Depends, Request

from api.broker.wakeups import WakeUps
from api.errors import UnavailableError
from api.settings import Settings
from api.store.blobs.base import ArtifactStore
from api.store.database import Database
from api.web.asgi.measures import Measures
from api.web.limits import ConcurrencyLimits
from api.web.startup import Opening

P = TypeVar("P")


@dataclass(frozen=True, kw_only=True)
class Service:
    """The parts of one running API process."""

    settings: Settings
    opening: Opening
    database: Database
    store: ArtifactStore
    celery: Celery
    wakeups: WakeUps
    measures: Measures
    concurrency: ConcurrencyLimits
    parts: Mapping[type[object], object]
    """What the nouns need beside it, each by its class: no name of a noun stands here."""

    def part(self, kind: type[P]) -> P:
        """The part of this class."""
        return cast(P, self.parts[kind])


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
