from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from api.store.database import Database
from api.store.runs import logs, metrics

Submit = Callable[..., str]


@pytest.fixture
def job_id(submit: Submit) -> str:
    return submit()


def points(database: Database, job_id: str, name: str = "loss") -> list[tuple[int, float]]:
    with database.reading() as session:
        return [
            (step, value)
            for found, _, step, value in metrics.rows(session, job_id)
            if found == name
        ]


def test_points_come_back_in_order_and_unchanged(database: Database, job_id: str) -> None:
    sent = [(step, step / 3) for step in range(1, 1300)]
    for begin in range(0, len(sent), 7):
        with database.writing() as session:
            metrics.append(session, job_id, 1, {"loss": sent[begin : begin + 7]})
    assert points(database, job_id) == sent
    with database.reading() as session:
        assert metrics.names(session, job_id) == ["loss"]


def test_a_batch_that_is_sent_again_is_not_doubled(database: Database, job_id: str) -> None:
    batch = {"loss": [(1, 0.1), (2, 0.2)], "accuracy": [(2, 0.5)]}
    for _ in range(2):
        with database.writing() as session:
            metrics.append(session, job_id, 1, batch)
    assert points(database, job_id) == [(1, 0.1), (2, 0.2)]
    assert points(database, job_id, "accuracy") == [(2, 0.5)]


@pytest.mark.parametrize("after", [0, 3, 499, 500, 750, 5000])
def test_a_resumed_attempt_replaces_what_followed_its_checkpoint(
    database: Database, job_id: str, after: int
) -> None:
    with database.writing() as session:
        metrics.append(session, job_id, 1, {"loss": [(step, 1.0) for step in range(1, 1001)]})
    with database.writing() as session:
        metrics.cut(session, job_id, after_step=after)
        metrics.append(
            session, job_id, 2, {"loss": [(step, 2.0) for step in range(after + 1, after + 4)]}
        )
    kept = [(step, 1.0) for step in range(1, min(after, 1000) + 1)]
    assert points(database, job_id) == kept + [(after + i, 2.0) for i in (1, 2, 3)]


def test_down_sampling_loses_no_peak(database: Database, job_id: str) -> None:
    sent = [(step, math.sin(step / 500)) for step in range(1, 20001)]
    sent[7003] = (7004, 99.0)
    sent[13001] = (13002, -99.0)
    sent[15000] = (15001, math.nan)
    with database.writing() as session:
        metrics.append(session, job_id, 1, {"loss": sent})
    with database.reading() as session:
        (series,) = metrics.read(session, job_id, names=["loss", "nothing"], max_points=100)
        (part,) = metrics.read(
            session, job_id, names=["loss"], from_step=7000, to_step=7010, max_points=100
        )
    assert series.count == 20000
    assert len(series.steps) <= 100
    kept = dict(zip(series.steps.tolist(), series.values.tolist(), strict=True))
    assert kept[7004] == 99.0
    assert kept[13002] == -99.0
    assert math.isnan(kept[15001])
    assert kept[1] == sent[0][1]
    assert kept[20000] == sent[-1][1]
    assert part.steps.tolist() == list(range(7000, 7011))


def test_a_log_is_read_from_both_ends(database: Database, job_id: str) -> None:
    for number in range(10):
        with database.writing() as session:
            logs.append(
                session, job_id, 1, f"line {number}\n\x00" if number == 3 else f"line {number}\n"
            )
    with database.reading() as session:
        assert logs.tail(session, job_id, 2).text == "line 8\nline 9\n"
        everything = logs.read(session, job_id)
        assert everything.text.startswith("line 0\nline 1\n")
        assert logs.read(session, job_id, after=everything.after).text == ""
