"""Whether a job that has ended was worth something: in its document, lists, sweeps, comparisons."""

from __future__ import annotations

import csv
import io
from typing import Any

import pytest

from api.store.jobs import lifecycle, progress
from tests.api.conftest import Server

PAGE = {"Accept": "text/html,*/*"}
FINDING = {"code": "at_chance", "message": "no better than no network", "hint": "lower the rate"}
SUMMARY = {
    "health": "warning",
    "findings": [FINDING],
    "test_accuracy": 0.25,
    "test_balanced_accuracy": 0.2,
    "val_accuracy": 0.3,
    "train_accuracy": 0.9,
    "most_frequent_accuracy": 0.26,
    "linear_accuracy": 0.5,
    "best_epoch": 3,
    "delivered_epoch": 3,
    "ended_early": False,
    "lif_accuracy": 0.24,
    "verdict": "measured",
    "rounding_cost_points": None,
    "not_proven": None,
}


def trained(server: Server, asked: dict[str, Any] | None = None, **summary: Any) -> dict[str, Any]:
    """A job as a worker leaves it."""
    job = server.submit(**(asked or {}))
    claim = server.run(steps_total=10)
    with server.service.database.writing() as session:
        progress.trained(
            session,
            claim,
            step=10,
            epoch=1.0,
            latest={"val_accuracy": 0.3, "test_accuracy": 0.25},
            best_accuracy=0.3,
        )
    server.succeed(claim, **{**SUMMARY, **summary})
    return job


def found(server: Server, job: dict[str, Any]) -> dict[str, Any]:
    return server.get(job["urls"]["self"])


def test_a_job_says_why_a_network_that_was_to_be_proven_is_not(server: Server) -> None:
    job = found(server, trained(server, not_proven="its weights are on no grid: too large"))
    assert job["result"]["not_proven"] == "its weights are on no grid: too large"
    page = server.http.get(job["urls"]["page"], headers=PAGE).text
    assert "Not proven, as was asked: its weights are on no grid: too large." in page
    assert found(server, trained(server))["result"]["not_proven"] is None


def test_a_network_of_few_bits_is_not_called_as_it_was_trained(server: Server) -> None:
    job = trained(server, {"conversion": {"weight_bits": 4}})
    page = server.http.get(job["urls"]["page"], headers=PAGE).text
    assert "25.00 % with weights of 4 bits, on the test samples" in page
    page = server.http.get(trained(server)["urls"]["page"], headers=PAGE).text
    assert "25.00 % as trained, on the test samples" in page


def test_a_job_says_what_came_out_and_what_is_wrong_with_it(server: Server) -> None:
    job = trained(server)  # as it was when it was submitted
    assert (job["health"], job["findings"], job["result"]) == (None, [], None)
    job = found(server, job)
    assert (job["health"], job["findings"]) == ("warning", [FINDING])
    assert job["error"] is None
    assert job["result"] == {k: v for k, v in SUMMARY.items() if k not in ("health", "findings")}


def test_a_job_without_findings_is_well(server: Server) -> None:
    job = found(server, trained(server, health="ok", findings=[]))
    assert (job["health"], job["findings"]) == ("ok", [])


def test_the_finding_of_a_failed_job_is_its_error(server: Server) -> None:
    job = server.submit()
    server.fail(server.run())
    job = found(server, job)
    assert job["health"] == "failed"
    assert job["findings"] == [{"code": "data", "message": "no images", "hint": "send some"}]
    assert job["result"] is None


def test_a_job_that_lost_too_many_workers_is_failed_in_its_health_as_well(server: Server) -> None:
    job = server.submit()
    claim = server.run()
    with server.service.database.writing() as session:
        lifecycle.lost(session, claim, reason="it died", max_losses=0)
    assert found(server, job)["health"] == "failed"
    assert [one["id"] for one in server.get("/v1/jobs", health="failed")["data"]] == [job["id"]]


def test_a_cancelled_job_has_no_health(server: Server) -> None:
    job = server.submit()
    server.http.post(f"{job['urls']['self']}/cancel")
    job = found(server, job)
    assert (job["status"], job["health"], job["findings"]) == ("cancelled", None, [])


def test_jobs_are_listed_by_their_health(server: Server) -> None:
    warned, well = trained(server), trained(server, health="ok", findings=[])
    listed = server.get("/v1/jobs", health="warning")["data"]
    assert [job["id"] for job in listed] == [warned["id"]]
    both = server.http.get("/v1/jobs?health=warning&health=ok").json()["data"]
    assert {job["id"] for job in both} == {warned["id"], well["id"]}
    refused = server.http.get("/v1/jobs?health=sick")
    assert refused.status_code == 422
    page = server.http.get("/?health=warning", headers=PAGE).text
    assert warned["id"] in page
    assert well["id"] not in page
    assert server.http.get("/?health=sick", headers=PAGE).status_code == 422


def test_a_list_marks_the_job_that_has_findings(server: Server) -> None:
    trained(server)
    page = server.http.get("/", headers=PAGE).text
    assert 'class="status succeeded warned" title="no better than no network"' in page
    assert "Best val. acc." in page


@pytest.mark.slow
def test_a_comparison_says_which_samples_an_accuracy_is_of(server: Server) -> None:
    jobs = [trained(server), trained(server, health="ok", findings=[])]
    ids = ",".join(job["id"] for job in jobs)
    compared = server.get("/v1/comparison", jobs=ids)
    assert [job["health"] for job in compared["jobs"]] == ["warning", "ok"]
    titles = {result["name"]: result["title"] for result in compared["results"]}
    assert titles["best_accuracy"] == "Accuracy, validation (best epoch)"
    assert titles["test_accuracy"] == "Accuracy, test (once, at the end)"
    page = server.http.get(f"/compare?jobs={ids}", headers=PAGE).text
    assert "Accuracy, validation (best epoch)" in page
    assert "succeeded warned" in page
    text = server.http.get(f"/v1/comparison?jobs={ids}&format=csv").text
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [(row["health"], row["findings"]) for row in rows] == [
        ("warning", "at_chance"),
        ("ok", ""),
    ]


def test_the_best_job_of_a_sweep_is_chosen_by_the_validation_samples(server: Server) -> None:
    body = {"job": {"dataset": "digits"}, "over": {"/seed": [0, 1]}}
    sweep = server.http.post("/v1/sweeps", json=body).json()
    claims = []
    for validated, tested in ((0.9, 0.7), (0.8, 0.95)):
        claim = server.run(steps_total=10)
        claims.append(claim.job_id)
        with server.service.database.writing() as session:
            latest = {"test_accuracy": tested}
            progress.trained(
                session, claim, step=10, epoch=1.0, latest=latest, best_accuracy=validated
            )
        server.succeed(claim, **SUMMARY)
    table = server.get(f"/v1/sweeps/{sweep['id']}")
    assert (table["best"], table["best_by"]) == ([claims[0]], "best_accuracy")
    assert [row["health"] for row in table["rows"]] == ["warning", "warning"]
    text = server.http.get(f"/v1/sweeps/{sweep['id']}?format=csv").text
    assert [row["findings"] for row in csv.DictReader(io.StringIO(text))] == ["at_chance"] * 2
    assert "succeeded warned" in server.http.get(sweep["urls"]["page"], headers=PAGE).text


def test_a_validation_says_what_automatic_settings_have_become(server: Server) -> None:
    sent = {"dataset": "digits", "epochs": 3, "automatic": ["/seed", "/nothing/here"]}
    answer = server.http.post("/v1/jobs?validate_only=true", json=sent)
    assert answer.status_code == 200, answer.text
    specification, automatic = answer.json()["specification"], answer.json()["automatic"]
    decided = {one["pointer"]: one["value"] for one in automatic}
    assert decided["/batch_size"] == specification["batch_size"] > 1
    assert decided["/optimizer"]["learning_rate"] > 0
    assert "/epochs" not in decided
    assert "/seed" not in decided


def test_a_retry_keeps_what_was_automatic(server: Server) -> None:
    job = server.submit(epochs=3)
    server.fail(server.run())
    again = server.http.post(f"{job['urls']['self']}/retry").json()
    assert again["specification"]["automatic"] == job["specification"]["automatic"]
    assert "/batch_size" in again["specification"]["automatic"]
