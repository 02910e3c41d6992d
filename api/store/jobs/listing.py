"""Lists of jobs: filters, orders, and one page at a time.

A page is found by the place of the job beside it (keyset pagination), never by counting from the
beginning, so that the thousandth page costs what the first does and a job that comes or goes shifts
none.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from sqlalchemy import Boolean, ColumnElement, Select, and_, case, func, or_, select
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import Session
from sqlalchemy.sql.functions import FunctionElement

from api.errors import InvalidRequestError
from api.store.search import words
from api.store.soundness import status_of
from api.store.tables.jobs import Job, JobLabel, JobTag, Status

S = TypeVar("S", bound=Select[*tuple[Any, ...]])
_ORDER = (  # of statuses: what needs a look first
    Status.failed,
    Status.running,
    Status.converting,
    Status.starting,
    Status.pausing,
    Status.cancelling,
    Status.recovering,
    Status.queued,
    Status.paused,
    Status.succeeded,
    Status.cancelled,
)


class has_timesteps(FunctionElement[bool]):  # noqa: N801  (a SQL function)
    """Whether a specification can be sorted by its time steps: one that cannot is no error."""

    type = Boolean()
    inherit_cache = True


@compiles(has_timesteps, "sqlite")
def _has_timesteps_sqlite(element: has_timesteps, compiler: Any, **options: Any) -> str:
    value = compiler.process(element.clauses, **options)
    is_integer = f"json_type({value}, '$.timesteps') = 'integer'"
    return f"(CASE WHEN json_valid({value}) THEN {is_integer} ELSE 0 END)"


@compiles(has_timesteps, "postgresql")
def _has_timesteps_postgresql(element: has_timesteps, compiler: Any, **options: Any) -> str:
    value = compiler.process(element.clauses, **options)
    return f"(coalesce({value} ->> 'timesteps', '') ~ '^[0-9]{{1,9}}$')"


WORD_OF_ID = 6  # characters of a word that is looked for in ids, too, where there are several
_LOWEST = -1.0  # below every accuracy: jobs that have none
_progress = case(
    (Job.status == Status.succeeded, 1.0),
    (func.coalesce(Job.steps_total, 0) > 0, Job.step * 1.0 / Job.steps_total),
    else_=0.0,
)
_KEYS: Mapping[str, tuple[ColumnElement[Any], type]] = {
    "status": (
        case({str(status): rank for rank, status in enumerate(_ORDER)}, value=Job.status, else_=0),
        int,
    ),
    "name": (Job.folded_name.expression, str),
    "method": (Job.method.expression, str),
    "network": (Job.network.expression, str),
    "dataset": (func.lower(Job.dataset), str),
    "timesteps": (
        case(
            (has_timesteps(Job.specification), Job.specification["timesteps"].as_integer()), else_=0
        ),
        int,
    ),
    "best_accuracy": (func.coalesce(Job.best_accuracy, _LOWEST), float),
    "lif_accuracy": (func.coalesce(Job.lif_accuracy, _LOWEST), float),
    "progress": (_progress, float),
    "device": (func.coalesce(Job.device, ""), str),
    "created": (Job.id.expression, str),
}
SORTS = tuple(_KEYS)
NEWEST_FIRST = "-created"


@dataclass(frozen=True, kw_only=True)
class JobFilter:
    """Filters of a list of jobs; an empty one does not restrict it."""

    status: tuple[Status, ...] = ()
    method: str = ""
    dataset: str = ""  # name or id
    network: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    sweep: str = ""  # id
    health: tuple[str, ...] = ()  # ok, warning, failed
    tags: tuple[str, ...] = ()  # all of them
    favourite: bool | None = None
    owner: str = ""  # id
    project: str = ""  # id
    q: str = ""  # words, each a part of the name or the id, whatever their case


@dataclass(frozen=True, kw_only=True)
class JobPage:
    """Jobs in the order that was asked for, and what lies beside them."""

    jobs: Sequence[Job]
    has_before: bool
    has_after: bool
    first: str
    """The place of the first job, to ask for the page before; empty without jobs."""
    last: str
    """The place of the last job, to ask for the page after."""


def find_jobs(
    session: Session,
    wanted: JobFilter,
    *,
    limit: int,
    sort: str = NEWEST_FIRST,
    after: str = "",
    before: str = "",
) -> JobPage:
    """One page of the jobs that are wanted.

    `sort` is one of `SORTS`, with a minus in front for the largest first; jobs that are equal in
    it stand newest first. `after` and `before` are places as `JobPage` names them, or ids of jobs.
    Raises InvalidRequestError for a sort that there is not and a place that is none.
    """
    name, descending = sort.removeprefix("-"), sort.startswith("-")
    if name not in _KEYS:
        raise InvalidRequestError.at(
            "sort", f"there is no order {name!r}; use one of {', '.join(SORTS)}"
        )
    if after and before:
        raise InvalidRequestError.at("before", "give either after or before, not both")
    key = _KEYS[name][0]
    forward = not before  # a page before a place is read backwards and turned round
    largest_first = descending == forward
    query = _restricted(select(Job, key.label("place")), wanted)
    parameter, place = ("after", after) if forward else ("before", before)
    if place:
        value, job_id = _place(session, name, parameter, place)
        query = query.where(_beyond(key, value, job_id, largest_first, forward))
    query = query.order_by(
        key.desc() if largest_first else key, Job.id.desc() if forward else Job.id
    )
    rows = list(session.execute(query.limit(limit + 1)))
    more = len(rows) > limit
    rows = rows[:limit] if forward else rows[:limit][::-1]
    places = [row.place if name == "created" else f"{row.place}~{row.Job.id}" for row in rows]
    return JobPage(
        jobs=[row.Job for row in rows],
        has_before=bool(place) if forward else more,
        has_after=more if forward else True,
        first=places[0] if places else "",
        last=places[-1] if places else "",
    )


def count_by_status(session: Session, wanted: JobFilter) -> dict[Status, int]:
    """Number of matching jobs of each status, without the filter for statuses."""
    query = select(Job.status, func.count()).group_by(Job.status)
    counted = session.execute(_restricted(query, wanted, by_status=False))
    found: Counter[Status] = Counter()
    for status, count in counted:
        found[status_of(status)] += count
    return dict(found)


def _restricted(query: S, wanted: JobFilter, *, by_status: bool = True) -> S:
    if wanted.status and by_status:
        chosen: ColumnElement[bool] = Job.status.in_(wanted.status)
        if Status.failed in wanted.status:  # as what is none is shown
            chosen = or_(chosen, Job.status.not_in(tuple(Status)))
        query = query.where(chosen)
    if wanted.health:
        query = query.where(Job.health.in_(wanted.health))
    if wanted.method:
        query = query.where(Job.method == wanted.method)
    if wanted.network:
        query = query.where(Job.network == wanted.network)
    if wanted.dataset:
        query = query.where(or_(Job.dataset == wanted.dataset, Job.dataset_id == wanted.dataset))
    if wanted.owner:
        query = query.where(Job.owner_id == wanted.owner)
    if wanted.project:
        query = query.where(Job.project_id == wanted.project)
    if wanted.sweep:
        query = query.where(Job.sweep_id == wanted.sweep)
    for label, value in wanted.metadata.items():
        query = query.where(Job.labels.any((JobLabel.key == label) & (JobLabel.value == value)))
    for tag in wanted.tags:
        tagged = select(JobTag.job_id).where(JobTag.tag == tag)
        query = query.where(Job.id.in_(tagged))
    if wanted.favourite is not None:
        is_none = Job.favourite_at.is_(None)
        query = query.where(~is_none if wanted.favourite else is_none)
    searched = words(wanted.q)
    for word in searched:
        found = Job.folded_name.contains(word, autoescape=True)
        # A short word among others is in every other id by chance.
        if len(searched) == 1 or len(word) >= WORD_OF_ID:
            found = or_(found, Job.id.contains(word, autoescape=True))
        query = query.where(found)
    return query


def _beyond(
    key: ColumnElement[Any], value: Any, job_id: str, largest_first: bool, forward: bool
) -> ColumnElement[bool]:
    """The condition on jobs that come later in the direction of reading."""
    later = key < value if largest_first else key > value
    return or_(later, and_(key == value, Job.id < job_id if forward else Job.id > job_id))


def _place(session: Session, name: str, parameter: str, place: str) -> tuple[Any, str]:
    """The value of a place and the id of the job there."""
    key, kind = _KEYS[name]
    if name == "created":
        return place, place
    value, tilde, job_id = place.rpartition("~")
    if not tilde:
        found = session.execute(select(key).where(Job.id == place)).one_or_none()
        if found is None:
            raise InvalidRequestError.at(
                parameter, f"there is no job {place}; begin with the first page"
            )
        return found[0], place
    try:
        found_value = kind(value)
    except ValueError:
        found_value = None
    if found_value is None or (kind is int and abs(found_value) >= 2**31):
        raise InvalidRequestError.at(parameter, f"{place!r} is no place in this order")
    return found_value, job_id
