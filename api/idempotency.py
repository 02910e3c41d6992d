"""Requests that may come twice: under one `Idempotency-Key` they make one thing."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Annotated, TypeVar

from fastapi import Header
from pydantic import BaseModel
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from api.errors import ConflictError
from api.service import Service
from api.store.tables import Job, Sweep

T = TypeVar("T")
Thing = TypeVar("Thing", Job, Sweep)

IdempotencyKey = Annotated[
    str | None,
    Header(
        min_length=1,
        max_length=255,
        description="A text of your choice; the same request with it gives what the first one made",
    ),
]


def fingerprint(request: BaseModel) -> str:
    """Equal for requests that say the same, in whatever order their keys come."""
    content = json.dumps(request.model_dump(mode="json"), sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()


def find_earlier(
    session: Session, table: type[Thing], key: str | None, request: BaseModel
) -> Thing | None:
    """What the same request with this key made; ConflictError where another one had the key."""
    if key is None:
        return None
    found = session.scalar(select(table).where(table.idempotency_key == key))
    if found is None or found.request_sha256 == fingerprint(request):
        return found
    kind = table.__name__.lower()
    raise ConflictError(
        f"the Idempotency-Key {key!r} was used for another request, {kind} {found.id}; "
        "use a new key"
    )


def written(service: Service, write: Callable[[Session], T]) -> T:
    """What `write` returns, committed. The same key, or the deletion of a data set, may come at the
    same moment: then it looks again, and finds it."""
    try:
        with service.database.writing() as session:
            service.database.confirm(session)
            return write(session)
    except IntegrityError:
        with service.database.writing() as session:
            service.database.confirm(session)
            return write(session)
