"""Requests that may come twice: under one `Idempotency-Key` they make one thing.

The same key for another request is refused; the project that the thing would belong to is a part of
the request.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Callable
from typing import Annotated, TypeVar

from fastapi import Header
from pydantic import BaseModel
from sqlalchemy import delete, func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from api.errors import ConflictError
from api.store import viewer
from api.store.database import clock
from api.store.tables.base import Base
from api.store.tables.jobs import Job, RequestMade, Sweep
from api.web.dependencies import Service

KEPT_SECONDS = 30 * 86_400.0  # that a request is remembered which made no job or sweep
_LOCK = 0x1DE  # the first number of advisory locks of PostgreSQL: the second is of the key
T = TypeVar("T")
Thing = TypeVar("Thing", Job, Sweep)
Row = TypeVar("Row", bound=Base)

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
    content = json.dumps(_in_project(request.model_dump(mode="json")), sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()


def find_earlier(
    session: Session, table: type[Thing], key: str | None, request: BaseModel
) -> Thing | None:
    """Result of the same request with this key; ConflictError where another one had the key."""
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


def made_before(
    session: Session, table: type[Row], key: str | None, *request: object
) -> Row | None:
    """What the same request with this key made or changed; None where it is the first one, or that
    is gone.

    `request` is what tells it from others: the address, its parameters. ConflictError where
    another one had the key.
    """
    thing_id = id_made_before(session, key, *request)
    if thing_id is None:
        return None
    thing = session.get(table, thing_id)
    if thing is None:
        forget(session, key)
    return thing


def id_made_before(session: Session, key: str | None, *request: object) -> str | None:
    """The id of what the same request with this key made, which may be gone; None where it is the
    first one. ConflictError where another one had the key.

    One that comes at the same moment waits here until this transaction has ended, as all that write
    to SQLite do.
    """
    if key is None:
        return None
    if session.get_bind().dialect.name == "postgresql":
        of_key = zlib.crc32(key.encode()) - 2**31  # a signed number of 32 bits
        session.execute(select(func.pg_advisory_xact_lock(_LOCK, of_key)))
    made = session.get(RequestMade, key)
    if made is None:
        return None
    if made.request_sha256 != _digest(request):
        raise ConflictError(
            f"the Idempotency-Key {key!r} was used for another request, about {made.thing_id}; "
            "use a new key"
        )
    return made.thing_id


def forget(session: Session, key: str | None) -> None:
    """Let the next request with this key be the first one: what the last one made is gone."""
    session.execute(delete(RequestMade).where(RequestMade.key == key))
    session.flush()


def remember(session: Session, key: str | None, thing_id: str, *request: object) -> None:
    """Keep the result for the next request with this key.

    IntegrityError where the same came at the same moment.
    """
    if key is None:
        return
    at = clock(session)
    session.execute(delete(RequestMade).where(RequestMade.created_at < at - KEPT_SECONDS))
    digest = _digest(request)
    session.add(RequestMade(key=key, request_sha256=digest, thing_id=thing_id, created_at=at))
    session.flush()


def _digest(request: tuple[object, ...]) -> str:
    return hashlib.sha256(json.dumps(_in_project(request)).encode()).hexdigest()


def _in_project(request: object) -> object:
    """A request with the project of what it makes, if it names one."""
    project = viewer.project()
    return request if project is None else {"project": project, "request": request}


def written(service: Service, write: Callable[[Session], T]) -> T:
    """What `write` returns, committed, in the database that the process began with. The same key,
    or the deletion of a data set, may come at the same moment: then it looks again, and finds
    it."""
    try:
        with service.database.writing() as session:
            service.database.confirm(session)
            return write(session)
    except IntegrityError:
        with service.database.writing() as session:
            service.database.confirm(session)
            return write(session)
