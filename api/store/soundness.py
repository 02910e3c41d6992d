"""Validation of rows: whether their values are such as this program writes.

A database may have been edited, restored from elsewhere or written by another version. A row with
invalid values is shown as unreadable, with harmless values in their place, and takes no list, page
or sweep down with it; `saf scrub` names such rows, and `saf restore` refuses them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from types import SimpleNamespace
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    Connection,
    Double,
    Integer,
    LargeBinary,
    String,
    Table,
    inspect,
    select,
)

from api.store.accounts import tables as _accounts  # noqa: F401  (they are among ours)
from api.store.jsonvalues import Unreadable
from api.store.tables.base import Base
from api.store.tables.jobs import Status
from api.store.webhooks import tables as _webhooks  # noqa: F401
from api.store.workers import Drain

LAST_SECOND = 253_402_300_799  # of the year 9999
DEEPEST = 100
"""Objects and lists within one another in a value of JSON."""
LISTS = frozenset(
    f"{mapper.local_table}.{name}"
    for mapper in Base.registry.mappers
    for name, said in mapper.class_.__annotations__.items()
    if "list[Any]" in str(said)
)  # columns of JSON that hold no object
MAY_BE_NEGATIVE = ("jobs.priority", "checkpoints.attempt")
INSTEAD = {
    "jobs.status": str(Status.failed),
    "datasets.status": "invalid",
    "exports.status": "failed",
}
_STATUSES = frozenset(map(str, Status))
_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
Values = Mapping[str, Any]


def status_of(text: Any) -> Status:
    """A job's status as it is shown; `failed` for an unknown one."""
    return Status(text) if text in _STATUSES else Status.failed


def problems_of(table: Table, values: Values) -> dict[str, str]:
    """Errors in the columns of a row that are in `values`, by the columns' names."""
    found = {}
    for name, check in _CHECKS[table.name].items():
        if name in values and (why := check(values[name])):
            found[name] = why
    for name, why in _RULES.get(table.name, _nothing)(values):
        found.setdefault(name, why)
    return found


def readable(row: Base) -> tuple[Any, str]:
    """The row and an empty text; or one with other values where there are odd ones, and what is
    wrong with it."""
    table: Any = type(row).__table__
    values = {column.key: getattr(row, column.key) for column in table.columns}
    problems = problems_of(table, values)
    if not problems:
        return row, ""
    for name in problems:
        values[name] = _instead_of(table.columns[name])
    why = "; ".join(f"{name} {problem}" for name, problem in problems.items())
    return SimpleNamespace(**values), f"its row in the database cannot be read: {why}"


def unsound_rows(connection: Connection) -> Iterator[str]:
    """Every row with odd values, in words. Tables and columns that are not there are left out."""
    inspector = inspect(connection)
    for table in Base.metadata.sorted_tables:
        if not inspector.has_table(table.name):
            continue
        there = {column["name"] for column in inspector.get_columns(table.name)}
        columns = [column for column in table.columns if column.name in there]
        query = select(*columns).execution_options(yield_per=500)
        for row in connection.execute(query):
            values = dict(row._mapping)
            if problems := problems_of(table, values):
                key = ", ".join(
                    _short(values[c.name]) for c in table.primary_key if c.name in there
                )
                why = "; ".join(f"{name} {problem}" for name, problem in problems.items())
                yield f"{table.name} {key}: {why}"


def _short(value: Any) -> str:
    return f"{str(value)[:64]!a}"


def _check_of(column: Column[Any]) -> Callable[[Any], str]:
    """Error of a value of the column; empty: none."""
    check = _kind_of(column)
    if column.nullable:
        return lambda value: "" if value is None else check(value)
    return check


def _kind_of(column: Column[Any]) -> Callable[[Any], str]:
    name = f"{column.table.name}.{column.name}"
    match column.type:
        case JSON():
            return _list if name in LISTS else _object
        case LargeBinary():
            return lambda value: "" if isinstance(value, bytes) else "is no bytes"
        case Double():
            return _time if column.name.endswith("_at") else _number
        case Integer():
            most = 2**63 if isinstance(column.type, BigInteger) else 2**31
            least = -most if name in MAY_BE_NEGATIVE else 0
            return lambda value: _integer(value, least, most)
        case String(length=length):
            if column.name in ("sha256", "request_sha256"):
                return lambda value: _matches(value, _SHA256, "is no SHA-256")
            if column.name in ("id", "job_id", "dataset_id", "sweep_id", "worker_id"):
                return lambda value: _matches(value, _ID, "is no identifier")
            return lambda value: _text(value, length)
    return lambda _value: ""


def _object(value: Any) -> str:
    if isinstance(value, Unreadable) or not isinstance(value, dict):
        return "is no JSON object"
    return _plain(value)


def _list(value: Any) -> str:
    return _plain(value) if isinstance(value, list) else "is no JSON list"


def _plain(value: Any, depth: int = 0) -> str:
    """JSON may say 1e999, which is no number here."""
    if isinstance(value, float):
        return "" if math.isfinite(value) else "holds a number that is infinite"
    if not isinstance(value, dict | list):
        return ""
    if depth > DEEPEST:
        return f"is deeper than {DEEPEST} objects and lists"
    for entry in value.values() if isinstance(value, dict) else value:
        if why := _plain(entry, depth + 1):
            return why
    return ""


def _number(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "is no number"
    return "" if math.isfinite(value) else "is not finite"


def _time(value: Any) -> str:
    return _number(value) or ("" if 0 <= value <= LAST_SECOND else "is no time")


def _integer(value: Any, least: int, most: int) -> str:
    if isinstance(value, bool) or not isinstance(value, int):
        return "is no integer"
    return "" if least <= value < most else f"is {value}, out of its range"


def _text(value: Any, length: int | None) -> str:
    if not isinstance(value, str):
        return "is no text"
    if length is not None and len(value) > length:
        return f"has {len(value)} characters, more than {length}"
    return "holds a character that is none" if "\0" in value else ""


def _matches(value: Any, pattern: re.Pattern[str], why: str) -> str:
    return "" if isinstance(value, str) and pattern.fullmatch(value) else why


def _instead_of(column: Column[Any]) -> Any:
    name = f"{column.table.name}.{column.name}"
    if name in INSTEAD:
        return INSTEAD[name]
    if column.nullable:
        return None
    match column.type:
        case JSON():
            return [] if name in LISTS else {}
        case LargeBinary():
            return b""
        case Double():
            return 0.0
        case Integer():
            return 0
    return "unreadable"


_CHECKS: Mapping[str, Mapping[str, Callable[[Any], str]]] = {
    table.name: {column.name: _check_of(column) for column in table.columns}
    for table in Base.metadata.sorted_tables
}
_Problems = Iterator[tuple[str, str]]
_ERROR = ("code", "message", "hint")


def _job(row: Values) -> _Problems:
    if row.get("status") not in _STATUSES:
        yield "status", f"is {_short(row.get('status'))}, which is none"
    specification = row.get("specification")
    if isinstance(specification, dict):
        for key in ("method", "network"):
            part = specification.get(key, {"name": ""})
            if not isinstance(part, dict) or not isinstance(part.get("name"), str):
                yield "specification", f"has no name in its {key!r}"
        for key, kind in (("timesteps", int), ("epochs", int), ("priority", int), ("name", str)):
            if not isinstance(specification.get(key, kind()), kind):
                yield "specification", f"has a {key!r} that is none"
        for key in ("batch_size", "validation_share", "max_gradient_norm"):
            if specification.get(key) is not None and _number(specification[key]):
                yield "specification", f"has a {key!r} that is none"
        automatic = specification.get("automatic", [])
        if not isinstance(automatic, list) or not all(isinstance(v, str) for v in automatic):
            yield "specification", "has automatic settings that are none"
        for key in ("metadata", "plugins"):
            texts = specification.get(key, {})
            if not isinstance(texts, dict) or not all(isinstance(v, str) for v in texts.values()):
                yield "specification", f"has {key} that are no texts"
    latest = row.get("latest")
    if isinstance(latest, dict) and any(v is not None and _number(v) for v in latest.values()):
        yield "latest", "holds values that are no numbers"
    error = row.get("error")
    if isinstance(error, dict) and not all(isinstance(error.get(key), str) for key in _ERROR):
        yield "error", "has no code, message and hint"
    if row.get("health") not in (None, "ok", "warning", "failed"):
        yield "health", f"is {_short(row.get('health'))}, which is none"
    if isinstance(findings := row.get("findings"), list) and not all(
        isinstance(each, dict) and all(isinstance(each.get(key), str) for key in _ERROR)
        for each in findings
    ):
        yield "findings", "have no code, message and hint"
    result = row.get("result")
    if isinstance(result, dict):
        for key, value in result.items():
            if key == "ended_early":
                fits = isinstance(value, bool)
            elif key == "not_proven":
                fits = isinstance(value, str)
            elif key.endswith("_epoch"):
                fits = not _integer(value, 0, 2**31)
            else:
                fits = not _number(value)
            if value is not None and not fits:
                yield "result", f"has a {key!r} that is none"


def _dataset(row: Values) -> _Problems:
    if row.get("status") not in ("checking", "needs_choice", "ready", "invalid"):
        yield "status", f"is {_short(row.get('status'))}, which is none"
    entries = row.get("problems")
    if isinstance(entries, list) and not all(
        isinstance(e, dict) and all(isinstance(e.get(k), str) for k in ("message", "hint"))
        for e in entries
    ):
        yield "problems", "are no messages with hints"
    if isinstance(questions := row.get("questions"), list) and not all(
        map(_is_question, questions)
    ):
        yield "questions", "are none with candidates"
    summary = row.get("summary")
    if isinstance(summary, dict) and (why := _summary(summary)):
        yield "summary", why
        if row.get("status") == "ready":
            yield "status", "is ready, and its summary is none"


def _is_question(entry: Any) -> bool:
    def has(value: Any, *keys: str) -> bool:
        return isinstance(value, dict) and all(isinstance(value.get(key), str) for key in keys)

    return has(entry, "setting", "asks") and (
        isinstance(entry.get("candidates"), list)
        and all(has(each, "value", "means") for each in entry["candidates"])
    )


def _summary(summary: Values) -> str:
    shape, counts = summary.get("shape"), summary.get("counts")
    names = summary.get("class_names")
    if not isinstance(shape, list) or not all(_is_count(side) for side in shape) or not shape:
        return "has no shape"
    if summary.get("timesteps") is not None and not _is_count(summary["timesteps"]):
        return "has timesteps that are none"
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        return "has no names of classes"
    if summary.get("classes") != len(names):
        return "has not as many classes as names"
    if not isinstance(counts, dict) or not all(_is_count(counts.get(k)) for k in ("train", "test")):
        return "has no counts"
    per_class = counts.get("per_class")
    if not isinstance(per_class, dict):
        return "has no counts"
    for key in ("mean", "std"):
        values = summary.get(key)
        if not isinstance(values, list) or any(_number(value) for value in values):
            return f"has no {key}"
    return ""


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _worker(row: Values) -> _Problems:
    if row.get("draining") not in (None, *Drain):
        yield "draining", "is no way to end"


def _export(row: Values) -> _Problems:
    if row.get("status") not in ("queued", "running", "succeeded", "failed"):
        yield "status", f"is {_short(row.get('status'))}, which is none"
    if row.get("verdict") not in (None, "identical", "equivalent", "differs", "not_replayed"):
        yield "verdict", f"is {_short(row.get('verdict'))}, which is none"
    error = row.get("error")
    if isinstance(error, dict) and not all(isinstance(error.get(key), str) for key in _ERROR):
        yield "error", "has no code, message and hint"


def _chunk(row: Values) -> _Problems:
    points, count = row.get("points"), row.get("count")
    if isinstance(points, bytes) and len(points) != 16 * (count if isinstance(count, int) else 0):
        yield "points", "are not as many as its count says"


def _nothing(_row: Values) -> _Problems:
    yield from ()


_RULES: Mapping[str, Callable[[Values], _Problems]] = {
    "jobs": _job,
    "datasets": _dataset,
    "workers": _worker,
    "exports": _export,
    "metric_chunks": _chunk,
}
