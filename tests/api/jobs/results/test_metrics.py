from __future__ import annotations

import math

import pytest

from api.store.jobs import progress
from api.store.runs import logs, metrics
from tests.api.conftest import Server


def test_the_timeline_is_a_list_that_goes_on_after_a_sequence_number(server: Server) -> None:
    path = server.submit()["urls"]["events"]
    claim = server.run()
    with server.service.database.writing() as session:
        progress.noted(session, claim, "checkpoint", step=50)
    server.succeed(claim)
    listed = server.get(path)
    assert [(event["sequence"], event["type"]) for event in listed["data"]] == [
        (1, "queued"),
        (2, "starting"),
        (3, "running"),
        (4, "checkpoint"),
        (5, "succeeded"),
    ]
    assert listed["data"][1]["data"] == {"worker_id": "wrk_1", "device": "cpu"}
    page = server.get(path, after=1, limit=2)
    assert [event["sequence"] for event in page["data"]] == [2, 3]
    assert (page["first_id"], page["last_id"], page["has_more"]) == ("2", "3", True)


@pytest.mark.slow
def test_metrics_keep_every_peak_and_show_nan_as_null(server: Server) -> None:
    path = server.submit()["urls"]["metrics"]
    claim = server.run()
    points = [(step, math.sin(step / 50)) for step in range(1, 5001)]
    points[1233] = (1234, 99.0)
    points[2345] = (2346, math.nan)
    with server.service.database.writing() as session:
        metrics.append(session, claim.job_id, 1, {"loss": points, "accuracy": [(1, math.inf)]})
    found = server.get(path, max_points=100)
    assert found["names"] == ["accuracy", "loss"]
    accuracy, loss = found["series"]
    assert accuracy["points"] == [[1, None]]
    assert (loss["name"], loss["count"]) == ("loss", 5000)
    assert len(loss["points"]) <= 100
    assert [1234, 99.0] in loss["points"]
    assert [2346, None] in loss["points"]
    assert (loss["points"][0][0], loss["points"][-1][0]) == (1, 5000)

    part = server.get(path, names="loss,unknown", from_step=10, to_step=12)
    assert part["names"] == ["accuracy", "loss"]
    (series,) = part["series"]
    assert [step for step, _ in series["points"]] == [10, 11, 12]
    both = server.get(path, names=["loss", "accuracy"], to_step=1)
    assert [series["name"] for series in both["series"]] == ["loss", "accuracy"]
    assert server.http.get(path, params={"max_points": 9}).status_code == 422


def test_metrics_as_csv_are_every_point_with_its_attempt(server: Server) -> None:
    path = server.submit()["urls"]["metrics"]
    claim = server.run()
    with server.service.database.writing() as session:
        metrics.append(
            session,
            claim.job_id,
            1,
            {"loss": [(step, 1 / step) for step in range(1, 2501)], "a": [(1, math.nan)]},
        )
        metrics.append(session, claim.job_id, 2, {"loss": [(2501, 0.1)]})
    response = server.http.get(path, params={"format": "csv"})
    assert response.headers["content-type"].startswith("text/csv")
    lines = response.text.splitlines()
    assert lines[0] == "name,attempt,step,value"
    assert lines[1] == "a,1,1,"
    assert lines[4] == f"loss,1,3,{1 / 3!r}"
    assert lines[-1] == "loss,2,2501,0.1"
    assert len(lines) == 1 + 1 + 2501


def test_the_log_is_text_that_is_read_on_from_a_position(server: Server) -> None:
    path = server.submit()["urls"]["logs"]
    claim = server.run()
    empty = server.http.get(path)
    assert (empty.text, empty.headers["x-log-after"]) == ("", "0")
    with server.service.database.writing() as session:
        logs.append(session, claim.job_id, 1, "one\ntwo\nthree\n")
    first = server.http.get(path)
    assert first.headers["content-type"] == "text/plain; charset=utf-8"
    assert first.text == "one\ntwo\nthree\n"
    with server.service.database.writing() as session:
        logs.append(session, claim.job_id, 1, "four → λ\n")
    newer = server.http.get(path, params={"after": first.headers["x-log-after"]})
    assert newer.text == "four → λ\n"
    assert server.http.get(path, params={"tail": 2}).text == "three\nfour → λ\n"
