"""Looks are kept once, in order, and go where an attempt goes back."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from api.store.database import Database
from api.store.jobs import lifecycle
from api.store.runs import spike_stats

Submit = Callable[..., str]


@pytest.fixture
def job_id(submit: Submit) -> str:
    return submit()


def kept(database: Database, job_id: str, **part: int) -> list[tuple[int, int]]:
    with database.reading() as session:
        return [(row.step, row.attempt) for row in spike_stats.read(session, job_id, **part)]


def test_looks_that_are_sent_again_are_not_doubled(database: Database, job_id: str) -> None:
    for _ in range(2):
        with database.writing() as session:
            spike_stats.append(session, job_id, 1, [(1, {"layers": {}}), (40, {"layers": {}})])
    assert kept(database, job_id) == [(1, 1), (40, 1)]
    assert kept(database, job_id, after_step=1) == [(40, 1)]
    assert kept(database, job_id, newest=1) == [(40, 1)]


def test_an_attempt_that_goes_back_replaces_what_came_after(
    database: Database, job_id: str, submit: Submit
) -> None:
    other = submit()
    with database.writing() as session:
        for job in (job_id, other):
            spike_stats.append(session, job, 1, [(1, {}), (20, {}), (21, {}), (30, {})])
    with database.writing() as session:
        spike_stats.cut(session, job_id, after_step=20)
        spike_stats.append(session, job_id, 2, [(25, {})])
    assert kept(database, job_id) == [(1, 1), (20, 1), (25, 2)]
    assert len(kept(database, other)) == 4


def test_looks_go_with_their_job(database: Database, job_id: str) -> None:
    with database.writing() as session:
        spike_stats.append(session, job_id, 1, [(1, {})])
        lifecycle.cancel(session, job_id)
    with database.writing() as session:
        lifecycle.delete(session, job_id)
    assert kept(database, job_id) == []
