"""Sweeps: many jobs from one request, one table back."""

from __future__ import annotations

import csv
import io
import threading
from pathlib import Path
from typing import Any

import pytest

from api.settings import Settings
from api.store.jobs import lifecycle, progress
from api.store.jobs.leases import Claim
from tests.api.conftest import NO_BROKER, Server, serving

PAGE = {"Accept": "text/html,*/*"}
BODY: dict[str, Any] = {
    "name": "both",
    "job": {"epochs": 3},
    "over": {"/method/name": ["saf-e", "ottt-a"], "/seed": [0, 1]},
}


def sent(server: Server, **changes: Any) -> dict[str, Any]:
    response = server.http.post("/v1/sweeps", json=BODY | changes)
    assert response.status_code == 201, response.text
    sweep: dict[str, Any] = response.json()
    assert response.headers["Location"] == f"/v1/sweeps/{sweep['id']}"
    return sweep


def trained(server: Server, accuracy: float, **summary: Any) -> Claim:
    """The first job in line, trained as a worker would report it."""
    claim = server.run()
    with server.service.database.writing() as session:
        progress.trained(
            session,
            claim,
            step=10,
            epoch=1.0,
            latest={"test_accuracy": accuracy, "firing_rate": None},
            best_accuracy=accuracy,
        )
        lifecycle.succeed(session, claim, summary=summary)
    return claim


def refused(server: Server, status: int, **changes: Any) -> dict[str, Any]:
    response = server.http.post("/v1/sweeps", json=BODY | changes)
    assert response.status_code == status, response.text
    problem: dict[str, Any] = response.json()
    return problem


def jobs_of(server: Server, sweep: dict[str, Any]) -> list[str]:
    page = server.get("/v1/jobs", sweep=sweep["id"], limit=200)
    return [job["id"] for job in page["data"]][::-1]


def test_one_request_makes_many_jobs_and_gives_their_table_back(server: Server) -> None:
    server.submit(name="another")
    sweep = sent(server)
    assert (sweep["jobs_total"], sweep["ended"], sweep["counts"]) == (4, 0, {"queued": 4})
    assert [row["job"] for row in sweep["rows"]] == jobs_of(server, sweep)
    assert [list(row["settings"].values()) for row in sweep["rows"]] == [
        *(["saf-e", 0], ["saf-e", 1]),
        *(["ottt-a", 0], ["ottt-a", 1]),
    ]
    job = server.get(sweep["rows"][3]["url"])
    assert job["name"] == "both: method = ottt-a, seed = 1"
    assert job["specification"]["method"]["name"] == "ottt-a"
    assert (job["specification"]["seed"], job["specification"]["epochs"]) == (1, 3)
    assert job["sweep"] == sweep["id"]
    assert server.get(sweep["urls"]["self"]) == sweep

    server.succeed(server.run())  # the other one
    for accuracy in (0.5, 0.75, 0.625):
        trained(server, accuracy, lif_accuracy=accuracy - 0.125, verdict="measured")
    failed = server.run()
    server.fail(failed)
    now = server.get(sweep["urls"]["self"])
    assert (now["ended"], now["counts"]) == (4, {"succeeded": 3, "failed": 1})
    first, second, third, fourth = now["rows"]
    assert first["results"]["test_accuracy"] == 0.5
    assert first["results"]["lif_accuracy"] == 0.375
    assert first["results"]["firing_rate"] is None  # it was no number
    assert first["results"]["run_seconds"] >= 0
    assert (third["verdict"], third["error"]) == ("measured", None)
    assert (fourth["verdict"], fourth["error"]) == (None, "data")
    assert now["best"] == [second["job"]]
    groups = {group["settings"]["/method/name"]: group for group in now["groups"]}
    assert groups["saf-e"]["results"]["test_accuracy"] == {
        "mean": 0.625,
        "minimum": 0.5,
        "maximum": 0.75,
        "deviation": pytest.approx(0.1767767),
    }
    assert (groups["ottt-a"]["jobs"], groups["ottt-a"]["succeeded"]) == (2, 1)
    assert groups["ottt-a"]["results"]["test_accuracy"]["deviation"] is None


def test_a_retry_takes_the_place_of_its_original_and_a_deleted_job_leaves_it_empty(
    server: Server,
) -> None:
    sweep = sent(server, over={"/seed": [0, 1]})
    first, second = (row["job"] for row in sweep["rows"])
    server.fail(server.run())
    again = server.http.post(f"/v1/jobs/{first}/retry").json()["id"]
    server.http.post(f"/v1/jobs/{second}/cancel")
    assert server.http.delete(f"/v1/jobs/{second}").status_code == 204
    now = server.get(sweep["urls"]["self"])
    assert [row["job"] for row in now["rows"]] == [again, None]
    assert (now["jobs_total"], now["ended"], now["counts"]) == (2, 1, {"queued": 1})
    (listed,) = server.get("/v1/sweeps")["data"]
    assert listed == {name: now[name] for name in listed}
    assert now["rows"][1]["name"] == "seed = 1"
    assert (now["rows"][1]["status"], now["rows"][1]["url"]) == (None, None)


@pytest.mark.slow
def test_a_job_that_was_retried_twice_is_cancelled_with_all_others(server: Server) -> None:
    sweep = sent(server, over={"/seed": [0]})
    server.fail(server.run())
    address = f"/v1/jobs/{sweep['rows'][0]['job']}/retry"
    retries = [server.http.post(address).json()["id"] for _ in range(2)]
    assert server.get(sweep["urls"]["self"])["rows"][0]["job"] == retries[1]
    assert server.http.post(f"{sweep['urls']['self']}/cancel").json()["ended"] == 1
    assert {server.get(f"/v1/jobs/{job_id}")["status"] for job_id in retries} == {"cancelled"}
    assert server.http.delete(sweep["urls"]["self"]).status_code == 204
    assert server.get("/v1/jobs")["data"] == []


def test_all_jobs_or_none(shared: Server) -> None:
    before = shared.get("/v1/jobs", limit=200)["data"]
    problem = refused(shared, 422, over={"/neuron/decay": [0.5, 2], "/seed": [1]})
    (field,) = problem["errors"]
    assert field["pointer"] == "/job/neuron/decay"
    assert field["detail"].endswith("(with decay = 2, seed = 1)")
    problem = refused(shared, 422, over={"/dataset": ["digits", "nowhere"]})
    assert problem["errors"][0]["pointer"] == "/job/dataset"
    assert "(with dataset = nowhere)" in problem["detail"]
    problem = refused(
        shared,
        422,
        over={"/batch_size": [64, 10_000_000]},
        job={"timesteps": 1000, "method": {"name": "bptt"}},
    )
    assert problem["errors"][0]["pointer"] == "/job/batch_size"
    assert "timesteps_at_once" not in problem["detail"]
    steps = {"/timesteps_at_once": [1000]}
    job = {"timesteps": 1000, "batch_size": 10_000_000}
    assert "or a smaller timesteps_at_once" in refused(shared, 422, over=steps, job=job)["detail"]
    assert shared.get("/v1/jobs", limit=200)["data"] == before
    assert shared.get("/v1/sweeps")["data"] == []


def test_a_wrong_key_of_the_request_is_told_with_those_that_there_are(shared: Server) -> None:
    problem = refused(shared, 422, over_={"/seed": [1]})
    assert problem["errors"] == [
        {
            "pointer": "/over_",
            "detail": "there is no such key; did you mean 'over'; known are job, mode, name, over",
        }
    ]
    problem = refused(shared, 422, over={"/seed": [1], "/epochs": [1, 2]}, mode="zip")
    assert "need as many values; here they have [1, 2]" in problem["detail"]


def test_characters_that_cannot_be_stored_are_refused(server: Server) -> None:
    for body in (
        '{"over": {"/dataset": ["\\ud800"]}}',
        '{"over": {"/seed": [0]}, "job": {"name": "\\u0000"}}',
    ):
        response = server.http.post(
            "/v1/sweeps", content=body, headers={"content-type": "application/json"}
        )
        assert response.status_code == 422, response.text
        assert "cannot be stored" in response.json()["detail"]
    refused(server, 422, job={"name": "n" * 201})


def test_validate_only_says_what_the_sweep_would_be(shared: Server) -> None:
    response = shared.http.post(
        "/v1/sweeps?validate_only=true", json=BODY | {"over": {"/batch_size": [8, 5000]}}
    )
    assert response.status_code == 200
    found = response.json()
    assert found["jobs_total"] == 2
    assert found["names"] == ["both: batch_size = 8", "both: batch_size = 5000"]
    assert found["memory_forecast_bytes"] > 2**20
    assert [warning["pointer"] for warning in found["warnings"]] == ["/batch_size"]
    assert shared.get("/v1/sweeps")["data"] == []


def test_the_same_key_gives_the_same_sweep(server: Server) -> None:
    answers: list[Any] = []

    def send(**changes: Any) -> None:
        headers = {"Idempotency-Key": "once"}
        answers.append(server.http.post("/v1/sweeps", json=BODY | changes, headers=headers))

    threads = [threading.Thread(target=send) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answer.status_code for answer in answers) == [200, 200, 200, 201]
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert len(server.get("/v1/jobs")["data"]) == 4
    send(over=dict(reversed(BODY["over"].items())))  # said in another order
    assert answers[-1].status_code == 200
    send(name="another")
    assert answers[-1].status_code == 409
    assert "use a new key" in answers[-1].json()["detail"]


def test_a_sweep_is_cancelled_then_deleted_as_one(server: Server) -> None:
    sweep = sent(server)
    claim = server.run()
    assert server.http.delete(sweep["urls"]["self"]).status_code == 409
    cancelled = server.http.post(f"{sweep['urls']['self']}/cancel").json()
    assert cancelled["counts"] == {"cancelling": 1, "cancelled": 3}
    ends = [server.get(row["url"])["finished_at"] for row in cancelled["rows"]]
    assert [end is None for end in ends] == [True, False, False, False]
    with server.service.database.writing() as session:
        lifecycle.stopped(session, claim)
    assert server.http.post(f"{sweep['urls']['self']}/cancel").json()["ended"] == 4
    other = sent(server, over={"/seed": [7]})
    assert server.http.delete(sweep["urls"]["self"]).status_code == 204
    assert server.http.get(sweep["urls"]["self"]).status_code == 404
    assert [job["id"] for job in server.get("/v1/jobs")["data"]] == [other["rows"][0]["job"]]


def test_sweeps_are_listed_in_pages_the_newest_first(server: Server) -> None:
    ids = [sent(server, name=f"s{n}", over={"/seed": [n]})["id"] for n in range(3)]
    first = server.get("/v1/sweeps", limit=2)
    assert ([one["id"] for one in first["data"]], first["has_more"]) == ([ids[2], ids[1]], True)
    rest = server.get("/v1/sweeps", limit=2, after=first["last_id"])
    assert ([one["id"] for one in rest["data"]], rest["has_more"]) == ([ids[0]], False)
    assert rest["data"][0]["over"] == [{"pointer": "/seed", "name": "seed", "values": [0]}]


@pytest.mark.slow
def test_a_sweep_counts_as_all_of_its_jobs(tmp_path: Path) -> None:
    limits = Settings(data_dir=tmp_path, broker_url=NO_BROKER, jobs_queued_per_user=5)
    with serving(limits) as server:
        server.submit()
        sent(server)
        problem = refused(server, 429, over={"/seed": [1]})
        assert problem["detail"].startswith("5 jobs of 127.0.0.1 wait already, and 5 are the most")
        problem = refused(server, 429, over={"/seed": list(range(6))})
        assert problem["detail"].startswith("these are 6 jobs, and 5 that wait are the most")
        assert len(server.get("/v1/jobs")["data"]) == 5
    limits = Settings(data_dir=tmp_path / "2", broker_url=NO_BROKER, jobs_per_user_hour=7)
    with serving(limits) as server:
        sent(server)
        problem = refused(server, 429)
        assert "7 jobs within an hour are the most" in problem["detail"]
        problem = refused(server, 429, over={"/seed": list(range(8))})
        assert "these are 8 jobs" in problem["detail"]
        sent(server, over={"/seed": [1, 2, 3]})
        assert len(server.get("/v1/jobs")["data"]) == 7
        assert server.http.post("/v1/jobs", json={}).status_code == 429


def test_the_table_as_csv_holds_no_formula(server: Server) -> None:
    sweep = sent(server, name="=1+1", over={"/seed": [3], "/augment": [["crop", "flip"]]})
    trained(server, 0.5, lif_accuracy=0.5, verdict="proven", rounding_cost_points=0.25)
    response = server.http.get(sweep["urls"]["csv"])
    assert response.headers["content-type"] == "text/csv; charset=utf-8"
    assert f'filename="{sweep["id"]}.csv"' in response.headers["content-disposition"]
    (row,) = csv.DictReader(io.StringIO(response.text))
    assert row["name"] == "'=1+1: seed = 3, augment = crop flip"
    assert (row["/seed"], row["/augment"]) == ("3", '["crop", "flip"]')
    assert (row["test_accuracy"], row["verdict"], row["firing_rate"]) == ("0.5", "proven", "")
    assert row["rounding_cost_points"] == "0.25"


@pytest.mark.slow
def test_the_pages_show_the_table_sorted_and_escape_what_was_sent(server: Server) -> None:
    empty = server.http.get("/sweeps", headers=PAGE).text
    assert "No sweeps yet" in empty
    sweep = sent(
        server,
        name="<b>",
        job={"epochs": 1},
        over={"/seed": [0, 1, 2], "/method/name": ["saf-e", "ottt-a"]},
    )
    for accuracy in (0.25, 0.5, 0.75):
        trained(server, accuracy, verdict="measured")
    text = server.http.get(sweep["urls"]["page"] + "?sort=-test_accuracy", headers=PAGE).text
    assert "<b>" not in text
    assert "&lt;b&gt;" in text
    places = [text.index(f'id="row-{index}"') for index in (2, 1, 0, 3)]
    assert places == sorted(places)
    assert 'aria-sort="descending"' in text
    assert '75.00 %<span class="mark" title="best"> best' in text
    assert "± 35.36 %" in text  # of saf-e, seeds 0 and 1: 25 and 75 %
    assert "&lt;b&gt;" in server.http.get("/sweeps", headers=PAGE).text
    job = server.http.get(f"/jobs/{sweep['rows'][0]['job']}", headers=PAGE).text
    assert f'href="/sweeps/{sweep["id"]}"' in job
    wrong = server.http.get(sweep["urls"]["page"] + "?sort=seed", headers=PAGE)
    assert wrong.status_code == 422
    assert server.http.get("/sweeps/swp_nowhere", headers=PAGE).status_code == 404
