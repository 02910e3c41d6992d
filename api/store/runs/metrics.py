"""Metric points: appended in batches, kept as chunks, read down-sampled without losing a peak.

A chunk holds up to 500 points of one metric as bytes, which reads and down-samples a million
points some forty times faster than a row a point.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import func, select, tuple_
from sqlalchemy.orm import Session

from api.store.tables.results import MetricChunk

CHUNK_POINTS = 500
CHUNKS_AT_ONCE = 40
Steps = NDArray[np.int64]
Values = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Series:
    """Points of one metric in the order of their steps; NaN and infinities are kept."""

    name: str
    steps: Steps
    values: Values
    count: int  # points before down-sampling


def append(
    session: Session,
    job_id: str,
    attempt: int,
    points: Mapping[str, Sequence[tuple[int, float]]],
) -> None:
    """Store points of an attempt. Steps of a metric that are there already are skipped, so a
    batch that is sent again changes nothing."""
    for name, new in points.items():
        last = session.scalar(
            select(MetricChunk)
            .where(MetricChunk.job_id == job_id, MetricChunk.name == name)
            .order_by(MetricChunk.first_step.desc())
            .limit(1)
        )
        after = last.last_step if last is not None else -1
        fresh = sorted((step, value) for step, value in new if step > after)
        if not fresh:
            continue
        steps = np.array([step for step, _ in fresh], dtype=np.int64)
        values = np.array([value for _, value in fresh], dtype=np.float64)
        if last is not None and last.attempt == attempt and last.count < CHUNK_POINTS:
            room = CHUNK_POINTS - last.count
            old_steps, old_values = _unpack(last)
            _pack(
                last,
                np.concatenate([old_steps, steps[:room]]),
                np.concatenate([old_values, values[:room]]),
            )
            steps, values = steps[room:], values[room:]
        for begin in range(0, len(steps), CHUNK_POINTS):
            chunk = MetricChunk(job_id=job_id, name=name, attempt=attempt)
            _pack(
                chunk,
                steps[begin : begin + CHUNK_POINTS],
                values[begin : begin + CHUNK_POINTS],
            )
            session.add(chunk)
    session.flush()


def cut(session: Session, job_id: str, *, after_step: int) -> None:
    """Delete the points after a step: an attempt goes on from a checkpoint made there."""
    for chunk in session.scalars(
        select(MetricChunk).where(MetricChunk.job_id == job_id, MetricChunk.last_step > after_step)
    ).all():
        if chunk.first_step > after_step:
            session.delete(chunk)
        else:
            steps, values = _unpack(chunk)
            keep = steps <= after_step
            _pack(chunk, steps[keep], values[keep])
    session.flush()


def names(session: Session, job_id: str) -> list[str]:
    """Names of a job's metrics, sorted."""
    found = select(MetricChunk.name).where(MetricChunk.job_id == job_id).distinct()
    return sorted(session.scalars(found))


def attempts(session: Session, job_id: str, name: str) -> list[tuple[int, int]]:
    """The attempts that reported a metric, each with its first step."""
    query = (
        select(MetricChunk.attempt, func.min(MetricChunk.first_step))
        .where(MetricChunk.job_id == job_id, MetricChunk.name == name)
        .group_by(MetricChunk.attempt)
        .order_by(MetricChunk.attempt)
    )
    return [(attempt, step) for attempt, step in session.execute(query)]


def read(
    session: Session,
    job_id: str,
    *,
    names: Iterable[str],
    from_step: int = 0,
    to_step: int | None = None,
    max_points: int | None = None,
) -> list[Series]:
    """Each named metric that has points in the range; at most `max_points` (4 or more) of each.

    Down-sampling keeps, of equal ranges of steps, the first, the last, the smallest and the
    largest point (M4, Jugel et al., VLDB 2014) and the first that is no number.
    """
    result = []
    for name in names:
        query = select(MetricChunk.count, MetricChunk.points).where(
            MetricChunk.job_id == job_id,
            MetricChunk.name == name,
            MetricChunk.last_step >= from_step,
        )
        if to_step is not None:
            query = query.where(MetricChunk.first_step <= to_step)
        chunks = session.execute(query.order_by(MetricChunk.first_step)).all()
        if not chunks:
            continue
        pairs = [_arrays(count, points) for count, points in chunks]
        steps = np.concatenate([pair[0] for pair in pairs])
        values = np.concatenate([pair[1] for pair in pairs])
        inside = steps >= from_step
        if to_step is not None:
            inside &= steps <= to_step
        steps, values = steps[inside], values[inside]
        if not len(steps):
            continue
        kept = (
            slice(None)
            if max_points is None or len(steps) <= max_points
            else _m4(steps, values, max_points)
        )
        result.append(Series(name=name, steps=steps[kept], values=values[kept], count=len(steps)))
    return result


Row = tuple[str, int, int, float]
Place = tuple[str, int]


def rows(session: Session, job_id: str) -> Iterator[Row]:
    """Every point as (name, attempt, step, value), by name and step."""
    place: Place | None = ("", -1)
    while place is not None:
        found, place = some_rows(session, job_id, after=place)
        yield from found


def some_rows(
    session: Session, job_id: str, *, after: Place = ("", -1)
) -> tuple[list[Row], Place | None]:
    """The points of some chunks after a place, and the place to go on from; None at the end."""
    name, first_step = after
    query = (
        select(MetricChunk)
        .where(
            MetricChunk.job_id == job_id,
            tuple_(MetricChunk.name, MetricChunk.first_step) > (name, first_step),
        )
        .order_by(MetricChunk.name, MetricChunk.first_step)
        .limit(CHUNKS_AT_ONCE)
    )
    chunks = session.scalars(query).all()
    found = [
        (chunk.name, chunk.attempt, step, value)
        for chunk in chunks
        for step, value in zip(*(part.tolist() for part in _unpack(chunk)), strict=True)
    ]
    is_last = len(chunks) < CHUNKS_AT_ONCE
    return found, None if is_last else (chunks[-1].name, chunks[-1].first_step)


def _m4(steps: Steps, values: Values, max_points: int) -> NDArray[np.int64]:
    """Indices of the points to keep, up to five per bucket."""
    buckets = max(1, max_points // 5)
    edges = np.linspace(float(steps[0]), float(steps[-1]) + 1.0, buckets + 1)
    starts = np.unique(np.searchsorted(steps, edges[:-1], side="left"))
    ends = np.append(starts[1:], len(steps))
    numbers = np.isfinite(values)
    low = np.where(numbers, values, np.inf)
    high = np.where(numbers, values, -np.inf)
    kept: set[int] = set()
    for begin, end in zip(starts.tolist(), ends.tolist(), strict=True):
        kept.update((begin, end - 1))
        kept.add(begin + int(np.argmin(low[begin:end])))
        kept.add(begin + int(np.argmax(high[begin:end])))
        if not numbers[begin:end].all():
            kept.add(begin + int(np.argmin(numbers[begin:end])))
    return np.array(sorted(kept), dtype=np.int64)


def _pack(chunk: MetricChunk, steps: Steps, values: Values) -> None:
    chunk.first_step, chunk.last_step, chunk.count = int(steps[0]), int(steps[-1]), len(steps)
    chunk.points = steps.astype("<i8").tobytes() + values.astype("<f8").tobytes()


def _unpack(chunk: MetricChunk) -> tuple[Steps, Values]:
    return _arrays(chunk.count, chunk.points)


def _arrays(count: int, points: bytes) -> tuple[Steps, Values]:
    steps = np.frombuffer(points, dtype="<i8", count=count)
    values = np.frombuffer(points, dtype="<f8", offset=8 * count)
    return steps, values
