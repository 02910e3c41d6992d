"""Limits of one user. Without accounts a user is the address of a client.

Behind a proxy all clients would be one user; so `SAF_TRUSTED_PROXIES` names the proxies whose
`X-Forwarded-For` is believed. Of IPv6 the first 64 bits count, since a customer has all addresses
that begin with them.
"""

from __future__ import annotations

import ipaddress
import math
import threading
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from typing import Annotated, Literal

from anyio.to_thread import run_sync
from fastapi import Depends, Request
from sqlalchemy import ColumnElement, and_, func, select
from sqlalchemy.orm import Session
from starlette.datastructures import Headers
from starlette.types import Scope

from api.broker.held import Holds
from api.errors import Met, TooManyError
from api.settings import Settings
from api.store import viewer
from api.store.accounts import projects, users
from api.store.database import now
from api.store.jobs import exports
from api.store.limits import kinds, numbers, room
from api.store.tables.jobs import WAITING, Job
from api.store.tables.results import Export
from api.store.visibility import EVERYTHING
from api.web.caller import caller_of

HOUR = 3600.0
ANY_NUMBER = 2**31
SOON = 10  # seconds after which an upload or a stream may have ended
LATER = 60  # seconds after which a job may have left the queue
Thing = Literal["upload", "live stream"]
_LIMITS: dict[Thing, kinds.Name] = {"upload": "uploads", "live stream": "streams"}


def user_of(scope: Scope, trusted: Collection[str]) -> str:
    """The user who sends a request: the last address on its way that is no trusted proxy."""
    client = scope.get("client")
    address = str(client[0]) if client else "local"
    if address not in trusted:
        return _network(address)
    way = ",".join(Headers(scope=scope).getlist("x-forwarded-for")).split(",")
    for hop in reversed([hop.strip() for hop in way]):
        if not _is_address(hop):
            break  # nothing before it can be believed either
        address = hop
        if hop not in trusted:
            break
    return _network(address)


async def _user(request: Request) -> str:
    caller = caller_of(request.scope)
    if caller is not None:
        return caller.name
    settings: Settings = request.app.state.service.settings
    return user_of(request.scope, settings.trusted_proxies)


UserDependency = Annotated[str, Depends(_user)]


class ConcurrencyLimits:
    """Limits on concurrent uploads and live streams: per user in all processes of the API together,
    counted in the broker, and in all in each process. While the broker is away each process counts
    those of users, too."""

    def __init__(self, settings: Settings) -> None:
        """The broker is not asked yet."""
        self._most = {
            "upload": (
                ("SAF_UPLOADS_PER_USER", settings.uploads_per_user),
                ("SAF_UPLOADS_AT_ONCE", settings.uploads_at_once),
            ),
            "live stream": (
                ("SAF_STREAMS_PER_USER", settings.streams_per_user),
                ("SAF_STREAMS_AT_ONCE", settings.streams_at_once),
            ),
        }
        self._holds = Holds(settings.broker_url)
        self._taken: dict[tuple[Thing, str], list[str]] = defaultdict(list)
        self._all: Counter[str] = Counter()
        self._lock = threading.Lock()

    def acquire(self, thing: Thing, user: str) -> None:
        """Count one more `thing` of `user` until `release`; may wait a moment for the broker.
        Raises TooManyError at a limit."""
        (name, most), (name_of_all, most_of_all) = self._most[thing]
        seen = viewer.current()
        if seen is not None:
            # 0 is any number, and none but that of all holds.
            most = int(seen.limits.get(_LIMITS[thing], most))
        with self._lock:
            if most and len(self._taken.get((thing, user), ())) >= most:
                raise self._too_many(thing, user, name, most)
            if self._all[thing] >= most_of_all:
                raise TooManyError(
                    f"the server has {most_of_all} {thing}s open already; try again in a moment, "
                    f"or set {name_of_all} on the server",
                    retry_after=SOON,
                )
            self._all[thing] += 1
            self._taken[thing, user].append("")  # its place, until it is known by its name
        hold = None
        try:
            hold = self._holds.take(f"{thing}:{user}", most or ANY_NUMBER)
        finally:
            with self._lock:
                self._taken[thing, user].remove("")
                if hold is not None:
                    self._taken[thing, user].append(hold)
                else:
                    self._all[thing] -= 1
                if not self._taken[thing, user]:
                    del self._taken[thing, user]
        if hold is None:
            raise self._too_many(thing, user, name, most)

    def taken(self, thing: Thing, user: str) -> int:
        """How many `thing`s of `user` are counted."""
        with self._lock:
            own = len(self._taken.get((thing, user), ()))
        return max(own, self._holds.count(f"{thing}:{user}"))

    def release(self, thing: Thing, user: str) -> None:
        """Count one `thing` of `user` less; this waits for nothing."""
        with self._lock:
            self._all[thing] -= 1
            held = self._taken[thing, user]
            hold = next(each for each in held if each)
            held.remove(hold)
            if not held:
                del self._taken[thing, user]
        self._holds.give_back(hold)

    @asynccontextmanager
    async def held(self, thing: Thing, user: str) -> AsyncIterator[None]:
        """Acquire, and release at the end of the block."""
        await run_sync(self.acquire, thing, user)
        try:
            yield
        finally:
            self.release(thing, user)

    def stop(self) -> None:
        """Leave nothing counted."""
        self._holds.stop()

    @staticmethod
    def _too_many(thing: Thing, user: str, name: str, most: int) -> TooManyError:
        return TooManyError(
            f"{user} has {most} {thing}s open already, the most for one user; end one first, or "
            f"set {name} on the server",
            retry_after=SOON,
            limit=_met(_LIMITS[thing], user, most, most),
        )


def check_jobs(
    session: Session,
    settings: Settings,
    user: str,
    count: int = 1,
    *,
    project_id: str | None = None,
) -> None:
    """TooManyError if the user may not submit `count` more jobs now, or they may not wait in that
    project, or there is no room for their files; a limit of 0 is none."""
    owner_id = viewer.owner()
    check_room(session, settings, owner_id=owner_id, project_id=project_id, address=user)
    _check_waiting_of(session, settings, owner_id, user, count, project_id=project_id)
    _check_hour(session, settings, user, count)


def check_room(
    session: Session,
    settings: Settings,
    *,
    owner_id: str | None,
    project_id: str | None,
    address: str | None,
) -> None:
    """TooManyError if the user, without accounts the address, or the project has as much stored as
    they may: for what leaves files of a size that nobody knows before."""
    whose = room.bounds(
        session, settings, owner_id=owner_id, project_id=project_id, address=address
    )
    if (full := room.reached(session, whose)) is not None:
        bound, there, words = full
        raise TooManyError(
            words, retry_after=LATER, limit=_met("stored_bytes", bound.of, bound.most, there)
        )


def check_resumed(session: Session, settings: Settings, job: Job) -> None:
    """TooManyError if a paused job may not wait again: it counts for whoever it belongs to, and for
    its project, whoever resumes it."""
    _check_waiting_of(session, settings, *_owner(session, job), project_id=job.project_id)


def check_export(session: Session, settings: Settings, job: Job) -> None:
    """TooManyError if no export of a job may be ordered: as many of whoever the job belongs to, or
    of its project, wait as jobs may, or as much is stored."""
    owner = _owner(session, job)
    _check_waiting_of(session, settings, *owner, project_id=job.project_id, what=Export)
    check_room(
        session,
        settings,
        owner_id=job.owner_id,
        project_id=job.project_id,
        address=job.submitted_by,
    )


def _owner(session: Session, job: Job) -> tuple[str | None, str]:
    """The id of the user whose job it is, and the name, or the address that it came from."""
    if job.owner_id is None:
        return None, job.submitted_by or ""
    return job.owner_id, users.names(session, {job.owner_id}).get(job.owner_id, job.owner_id)


def _check_waiting_of(
    session: Session,
    settings: Settings,
    owner_id: str | None,
    name: str,
    count: int = 1,
    *,
    project_id: str | None = None,
    what: type[Job | Export] = Job,
) -> None:
    """TooManyError if no `count` more jobs, or exports of jobs, of a user, without accounts of an
    address, may wait, or not in that project."""
    if owner_id is None:
        own: ColumnElement[bool] = and_(Job.owner_id.is_(None), Job.submitted_by == name)
        remedy = "SAF_JOBS_QUEUED_PER_USER on the server"
        most: float = settings.jobs_queued_per_user
        _check_waiting(session, "user", own, name, most, count, remedy, what)
    else:
        most = numbers.of(session, "users", owner_id).get("jobs_waiting", 0)
        remedy = f"saf users limit {name} --jobs-waiting, by an admin of the service"
        try:
            own = Job.owner_id == owner_id
            _check_waiting(session, "user", own, name, most, count, remedy, what)
        except TooManyError as error:
            # What somebody has is their own, and admins'.
            seen = viewer.current()
            if seen is None or seen.is_admin or seen.user_id == owner_id:
                raise
            raise TooManyError(
                f"{name}, whose job it is, has as many that wait as they may; let them end some, "
                f"or set {remedy}",
                retry_after=LATER,
            ) from error
    if project_id is not None:
        most = numbers.of(session, "projects", project_id).get("jobs_waiting", 0)
        name = projects.names(session, {project_id}).get(project_id, project_id)
        remedy = f"saf projects limit {name} --jobs-waiting, by an admin of the service"
        own = Job.project_id == project_id
        _check_waiting(session, "project", own, name, most, count, remedy, what)


def _check_waiting(
    session: Session,
    side: str,
    own: ColumnElement[bool],
    of: str,
    most: float,
    count: int,
    remedy: str,
    what: type[Job | Export],
) -> None:
    if not most:
        return
    # Of the user first, in every transaction, so that none waits for another in a circle.
    numbers.count_alone(session, f"{side} {of}")
    if what is Job:
        waiting = select(func.count()).where(own, Job.status.in_(WAITING))
    else:
        in_line = Export.status == exports.QUEUED
        waiting = select(func.count(Export.id)).join(Job, Job.id == Export.job_id)
        waiting = waiting.where(own, in_line)
    words = "jobs" if what is Job else "exports"
    there = session.execute(waiting.execution_options(**EVERYTHING)).scalar_one()
    limit = _met("jobs_waiting", of, most, there)
    if count > most:
        raise TooManyError(
            f"these are {count} {words}, and {most:g} that wait are the most for {of}; send "
            f"fewer, or set {remedy}",
            retry_after=LATER,
            limit=limit,
        )
    if there + count > most:
        these = f" (and these are {count})" if count > 1 else ""
        raise TooManyError(
            f"{there} {words} of {of} wait already{these}, and {most:g} are the most; wait until "
            f"some have run or {'cancel' if what is Job else 'delete'} some, or set {remedy}",
            retry_after=LATER,
            limit=limit,
        )


def _met(name: kinds.Name, of: str, most: float, used: float) -> Met | None:
    """What programs are told; without accounts there is nobody who could raise it."""
    return None if viewer.current() is None else Met(name, of, most, used)


def _check_hour(session: Session, settings: Settings, user: str, count: int) -> None:
    if most := settings.jobs_per_user_hour:
        newest = select(Job.created_at).where(
            Job.submitted_by == user, Job.created_at > now() - HOUR
        )
        if count > most:
            raise TooManyError(
                f"these are {count} jobs, and {most} within an hour are the most for one user; "
                "send fewer, or set SAF_JOBS_PER_USER_HOUR on the server",
                retry_after=LATER,
            )
        # With this one gone there is room for as many.
        first = session.scalar(newest.order_by(Job.created_at.desc()).offset(most - count).limit(1))
        if first is not None:
            left = first + HOUR - session.execute(select(now())).scalar_one()
            raise TooManyError(
                f"{most} jobs within an hour are the most for one user, and {user} would have "
                "submitted more; try again later, or set SAF_JOBS_PER_USER_HOUR on the server",
                retry_after=max(1, math.ceil(left)),
            )


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _network(address: str) -> str:
    if not _is_address(address):
        return address[:64]
    parsed = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        if not parsed.is_loopback:
            return str(ipaddress.ip_network((parsed, 64), strict=False))
    return str(parsed)
