from __future__ import annotations

import threading
from typing import Any

import pytest

from api.store.jobs import lifecycle, progress
from api.store.runs import artifacts, metrics
from tests.api.conftest import Server


def test_a_job_needs_nothing_but_an_empty_object(server: Server) -> None:
    response = server.http.post("/v1/jobs", json={})
    assert response.status_code == 201
    job = response.json()
    assert response.headers["location"] == job["urls"]["self"] == f"/v1/jobs/{job['id']}"
    assert job["object"] == "job"
    assert job["status"] == "queued"
    assert job["specification"]["neuron"]["decay"] == 0.5
    assert job["parameters"] == 58_474
    assert job["created_at"].endswith("Z")
    assert job["progress"] == {
        "step": 0,
        "steps_total": None,
        "epoch": 0.0,
        "epochs": 45,
        "fraction": 0.0,
        "checked": None,
        "to_check": None,
    }
    assert server.get(job["urls"]["self"]) == job


def test_validate_only_stores_nothing_and_tells_the_needs(server: Server) -> None:
    response = server.http.post(
        "/v1/jobs", params={"validate_only": True}, json={"batch_size": 2000}
    )
    assert response.status_code == 200
    found = response.json()
    assert found["specification"]["timesteps"] == 6
    assert found["parameters"] == 58_474
    assert found["memory_forecast_bytes"] > 2000 * 6 * 4 * found["neurons"]
    assert found["largest_batch"] > 2000
    (warning,) = found["warnings"]
    assert warning["pointer"] == "/batch_size"
    assert "1437" in warning["detail"]
    assert server.get("/v1/jobs")["data"] == []


@pytest.mark.parametrize(("share", "warned"), [(0, ["/patience"]), ("auto", [])])
def test_patience_that_nothing_can_try_is_told(
    server: Server, share: float | str, warned: list[str]
) -> None:
    response = server.http.post(
        "/v1/jobs",
        params={"validate_only": True},
        json={"patience": 3, "validation_share": share},
    )
    assert [warning["pointer"] for warning in response.json()["warnings"]] == warned


def test_the_same_idempotency_key_returns_the_same_job(server: Server) -> None:
    key = {"Idempotency-Key": "once"}
    first = server.http.post("/v1/jobs", json={"seed": 1}, headers=key)
    again = server.http.post("/v1/jobs", json={"seed": 1, "epochs": "auto"}, headers=key)
    assert (first.status_code, again.status_code) == (201, 200)
    assert again.json()["id"] == first.json()["id"]
    assert again.headers["location"] == first.headers["location"]
    other = server.http.post("/v1/jobs", json={"seed": 2}, headers=key)
    assert other.status_code == 409
    assert first.json()["id"] in other.json()["detail"]
    assert len(server.get("/v1/jobs")["data"]) == 1


@pytest.mark.slow
def test_the_same_idempotency_key_at_the_same_moment_makes_one_job(server: Server) -> None:
    barrier = threading.Barrier(6)
    answers: list[tuple[int, str]] = []

    def send() -> None:
        barrier.wait()
        response = server.http.post("/v1/jobs", json={}, headers={"Idempotency-Key": "race"})
        answers.append((response.status_code, response.json()["id"]))

    threads = [threading.Thread(target=send) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(status for status, _ in answers) == [200] * 5 + [201]
    assert len({job_id for _, job_id in answers}) == 1


def test_a_running_job_shows_progress_time_left_and_latest_metrics(server: Server) -> None:
    job = server.submit(epochs=10)
    claim = server.run(step=20, steps_total=100)
    server.progress(claim, 60, loss=0.5, accuracy=0.9)
    found = server.get(f"/v1/jobs/{job['id']}")
    assert found["status"] == "running"
    assert found["progress"]["fraction"] == 0.6
    assert (found["attempt"], found["worker"], found["device"]) == (1, "wrk_1", "cpu")
    assert found["latest_metrics"] == {"loss": 0.5, "accuracy": 0.9}
    assert 0 <= found["eta_seconds"] < 60
    assert found["started_at"] >= found["created_at"]
    server.succeed(claim)
    found = server.get(f"/v1/jobs/{job['id']}")
    assert (found["status"], found["progress"]["fraction"]) == ("succeeded", 1.0)
    assert found["eta_seconds"] is None


def test_the_document_of_a_job_says_how_its_network_came_out(server: Server) -> None:
    job = server.submit()
    claim = server.run(steps_total=10)
    server.progress(claim, 10, test_accuracy=0.975)
    found = server.get(f"/v1/jobs/{job['id']}")
    assert (found["progress"]["checked"], found["progress"]["to_check"]) == (None, None)
    with server.service.database.writing() as session:
        lifecycle.converting(session, claim)
        progress.checked(session, claim, done=3200, total=10_500)
    found = server.get(f"/v1/jobs/{job['id']}")
    assert (found["progress"]["checked"], found["progress"]["to_check"]) == (3200, 10_500)
    assert (found["lif_accuracy"], found["verdict"]) == (None, None)
    page = {"Accept": "text/html,*/*"}
    assert (
        "checking 3,200 of 10,500 samples"
        in server.http.get(job["urls"]["page"], headers=page).text
    )
    assert "checking 30 %" in server.http.get("/", headers=page).text
    server.succeed(claim, lif_accuracy=0.175, verdict="differs", rounding_cost_points=80.0)
    for found in (server.get(f"/v1/jobs/{job['id']}"), server.get("/v1/jobs")["data"][0]):
        assert (found["lif_accuracy"], found["verdict"]) == (0.175, "differs")
        assert found["rounding_cost_points"] == 80.0
        assert found["progress"]["to_check"] is None
    shown = server.http.get(job["urls"]["page"], headers=page).text
    assert "<strong>17.50 %</strong> as LIF network" in shown
    assert "rounding cost 80.00 points" in shown
    assert "97.50 % as trained" in shown
    listed = server.http.get("/", headers=page).text
    assert '<span class="figure">17.50 %</span> <span class="verdict-differs"' in listed


def test_a_check_under_way_can_be_paused_and_begins_anew(server: Server) -> None:
    job = server.submit()
    claim = server.run(steps_total=10)
    with server.service.database.writing() as session:
        lifecycle.converting(session, claim)
        progress.checked(session, claim, done=3200, total=10_500)
    assert server.http.post(f"/v1/jobs/{job['id']}/pause").json()["status"] == "pausing"
    with server.service.database.writing() as session:
        lifecycle.stopped(session, claim)
    assert server.http.post(f"/v1/jobs/{job['id']}/resume").json()["status"] == "queued"
    again = server.run(step=10, steps_total=10)
    with server.service.database.writing() as session:
        lifecycle.converting(session, again)
    assert server.get(f"/v1/jobs/{job['id']}")["progress"]["to_check"] is None


def test_waiting_jobs_say_how_many_are_ahead(server: Server) -> None:
    late, urgent = server.submit(priority=5), server.submit(priority=0)
    listed = {job["id"]: job["jobs_ahead"] for job in server.get("/v1/jobs")["data"]}
    assert listed == {urgent["id"]: 0, late["id"]: 1}


def test_a_list_is_newest_first_and_goes_on_after_an_id(server: Server) -> None:
    ids = [server.submit()["id"] for _ in range(5)]
    seen: list[str] = []
    after, more = "", True
    while more:
        page = server.get("/v1/jobs", limit=2, after=after)
        assert page["object"] == "list"
        assert page["first_id"] == page["data"][0]["id"]
        seen += [job["id"] for job in page["data"]]
        after, more = page["last_id"], page["has_more"]
    assert seen == sorted(ids, reverse=True)
    empty = server.get("/v1/jobs", after=seen[-1])
    assert (empty["data"], empty["first_id"], empty["has_more"]) == ([], None, False)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"status": "cancelled"}, {"c"}),
        ({"status": ["cancelled", "queued"]}, {"a", "b", "c"}),
        ({"method": "saf-e"}, {"b"}),
        ({"network": "vgg11"}, set()),
        ({"dataset": "digits"}, {"a", "b", "c"}),
        ({"metadata[team]": "vision"}, {"a", "b"}),
        ({"metadata[team]": "vision", "metadata[run]": "2"}, {"b"}),
        ({"metadata[team]": "audio"}, set()),
        ({"q": "100% Sure"}, {"a"}),
        ({"q": "%"}, {"a"}),
        ({"q": "job_"}, {"a", "b", "c"}),
    ],
)
def test_a_list_is_filtered(listing: Server, query: dict[str, Any], expected: set[str]) -> None:
    found = listing.get("/v1/jobs", **query)["data"]
    assert {job["name"][0] for job in found} == expected


@pytest.fixture(scope="module")
def listing(shared: Server) -> Server:
    shared.submit(name="a, 100% sure", metadata={"team": "vision"})
    shared.submit(name="b", method={"name": "saf-e"}, metadata={"team": "vision", "run": "2"})
    job = shared.submit(name="c")
    shared.http.post(f"{job['urls']['self']}/cancel").raise_for_status()
    return shared


def test_people_steer_a_job(server: Server) -> None:
    path = server.submit()["urls"]["self"]

    def ask(verb: str) -> Any:
        response = server.http.post(f"{path}/{verb}")
        return response.json()["status"] if response.status_code == 200 else response.status_code

    assert ask("resume") == 409
    assert ask("pause") == "paused"
    assert ask("resume") == "queued"
    claim = server.run()
    assert ask("cancel") == "cancelling"
    assert ask("pause") == 409
    assert claim.attempt == 1
    refused = server.http.post(f"{path}/resume").json()
    assert refused["code"] == "conflict"
    assert "cancelling" in refused["detail"]


def test_a_failed_job_tells_why_and_is_retried_as_a_new_one(server: Server) -> None:
    old = server.submit(seed=7, metadata={"team": "vision"})
    path = old["urls"]["self"]
    assert server.http.post(f"{path}/retry").status_code == 409
    server.fail(server.run())
    failed = server.get(path)
    assert failed["error"] == {"code": "data", "message": "no images", "hint": "send some"}
    response = server.http.post(f"{path}/retry")
    assert response.status_code == 201
    new = response.json()
    assert response.headers["location"] == new["urls"]["self"] != path
    assert new["retry_of"] == old["id"]
    assert new["specification"] == old["specification"]
    assert (new["status"], new["error"]) == ("queued", None)
    assert server.get(path) == failed
    found = server.get("/v1/jobs", **{"metadata[team]": "vision"})["data"]
    assert len(found) == 2


def test_a_deleted_job_takes_its_files_with_it(server: Server, tmp_path: Any) -> None:
    kept, gone = server.submit(), server.submit()
    assert server.http.delete(gone["urls"]["self"]).status_code == 409
    store, database = server.service.store, server.service.database
    hashes = {}
    for job, name, content in [(kept, "a", b"both"), (gone, "a", b"both"), (gone, "b", b"one")]:
        (tmp_path / "file").write_bytes(content)
        incoming = store.receive(tmp_path / "file")
        with database.writing() as session:
            hashes[name] = store.keep(session, incoming)
            artifacts.register(
                session, job_id=job["id"], name=name, kind="report", sha256=hashes[name]
            )
            metrics.append(session, job["id"], 1, {"loss": [(1, 0.5)]})
    server.http.post(f"{gone['urls']['self']}/cancel").raise_for_status()
    assert server.http.delete(gone["urls"]["self"]).status_code == 204
    assert server.files.path(hashes["a"]).exists()
    assert not server.files.path(hashes["b"]).exists()
    for path in gone["urls"].values():
        if path.startswith("/v1"):
            assert server.http.get(path).status_code == 404
    assert server.http.delete(gone["urls"]["self"]).status_code == 404
