"""Requests that come twice under one key, because the first answer was lost, on both databases."""

from __future__ import annotations

import threading
from typing import Any

import httpx
import pytest

from tests.api.conftest import Server
from tests.api.datasets.uploading import IMAGES, leftovers
from tests.waiting import PATIENCE

KEY = {"idempotency-key": "a key of the client"}


def failed(server: Server) -> str:
    job = server.submit()["id"]
    server.fail(server.run())
    return str(job)


def at_once(requests: int, ask: Any) -> list[httpx.Response]:
    answers: list[httpx.Response] = []
    threads = [threading.Thread(target=lambda: answers.append(ask())) for _ in range(requests)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


def test_a_retry_that_comes_four_times_makes_one_job(server: Server) -> None:
    job = failed(server)
    path = f"/v1/jobs/{job}/retry"
    first = server.http.post(path, headers=KEY)
    again = [server.http.post(path, headers=KEY) for _ in range(3)]
    assert first.status_code == 201
    assert {answer.status_code for answer in again} == {200}
    assert {answer.json()["id"] for answer in again} == {first.json()["id"]}
    assert {answer.headers["location"] for answer in again} == {first.headers["location"]}
    assert len(server.get("/v1/jobs")["data"]) == 2
    assert server.http.post(path).json()["id"] != first.json()["id"]


def test_retries_of_one_key_at_the_same_moment_make_one_job(server: Server) -> None:
    job = failed(server)
    with httpx.Client(base_url=server.address, timeout=PATIENCE) as http:
        answers = at_once(6, lambda: http.post(f"/v1/jobs/{job}/retry", headers=KEY))
    assert sorted(answer.status_code for answer in answers) == [200] * 5 + [201]
    assert len({answer.json()["id"] for answer in answers}) == 1


def test_a_key_of_another_request_is_refused(server: Server) -> None:
    one, other = failed(server), failed(server)
    assert server.http.post(f"/v1/jobs/{one}/retry", headers=KEY).status_code == 201
    for path in (
        f"/v1/jobs/{other}/retry",
        f"/v1/jobs/{one}/retry?from_start=true",
        f"/v1/jobs/{other}/cancel",
    ):
        answer = server.http.post(path, headers=KEY)
        assert answer.status_code == 409, path
        assert "use a new key" in answer.json()["detail"]


def test_a_retry_whose_job_was_deleted_makes_a_new_one(server: Server) -> None:
    job = failed(server)
    first = server.http.post(f"/v1/jobs/{job}/retry", headers=KEY).json()["id"]
    server.http.post(f"/v1/jobs/{first}/cancel")
    assert server.http.delete(f"/v1/jobs/{first}").status_code == 204
    second = server.http.post(f"/v1/jobs/{job}/retry", headers=KEY)
    assert second.status_code == 201
    assert second.json()["id"] != first


@pytest.mark.parametrize("asked", ["cancel", "pause", "resume"])
def test_a_change_that_comes_again_is_answered_like_the_first_time(
    server: Server, asked: str
) -> None:
    job = server.submit()["id"]
    if asked == "resume":
        server.http.post(f"/v1/jobs/{job}/pause")
    first = server.http.post(f"/v1/jobs/{job}/{asked}", headers=KEY)
    again = server.http.post(f"/v1/jobs/{job}/{asked}", headers=KEY)
    assert first.status_code == again.status_code == 200
    assert first.json()["status"] == again.json()["status"]
    # What came after the first one is not undone by the second.
    if asked == "pause":
        server.http.post(f"/v1/jobs/{job}/resume")
        late = server.http.post(f"/v1/jobs/{job}/pause", headers=KEY)
        assert (late.status_code, late.json()["status"]) == (200, "queued")
    if asked == "cancel":
        assert server.http.post(f"/v1/jobs/{job}/cancel").status_code == 409


def test_a_sweep_is_cancelled_once(server: Server) -> None:
    body = {"job": {"dataset": "digits"}, "over": {"/seed": [1, 2]}}
    sweep = server.http.post("/v1/sweeps", json=body, headers=KEY).json()["id"]
    assert server.http.post("/v1/sweeps", json=body, headers=KEY).json()["id"] == sweep
    cancels = [
        server.http.post(f"/v1/sweeps/{sweep}/cancel", headers={"idempotency-key": "another"})
        for _ in range(2)
    ]
    assert [answer.json()["counts"] for answer in cancels] == [{"cancelled": 2}] * 2


def upload(server: Server, content: bytes, name: str = "mine", **headers: str) -> httpx.Response:
    return server.http.post(
        "/v1/datasets",
        files={"file": ("a.npz", content)},
        data={"name": name},
        headers=KEY | headers,
    )


def test_an_upload_that_comes_again_makes_one_data_set(server: Server) -> None:
    content = IMAGES
    first, again = upload(server, content), upload(server, content)
    assert (first.status_code, again.status_code) == (201, 200)
    assert again.json()["id"] == first.json()["id"]
    assert again.headers["location"] == first.headers["location"]
    assert upload(server, content, name="other").status_code == 409
    assert upload(server, IMAGES + b" ").status_code == 409
    uploads = [one for one in server.get("/v1/datasets")["data"] if not one["builtin"]]
    assert [one["id"] for one in uploads] == [first.json()["id"]]
    assert leftovers(server) == []


@pytest.mark.slow
def test_an_upload_that_cannot_be_used_is_refused_each_time_and_a_deleted_one_made_anew(
    server: Server,
) -> None:
    assert [upload(server, b"nothing").status_code for _ in range(2)] == [422, 422]
    content = IMAGES
    other = {"idempotency-key": "another"}
    first = upload(server, content, **other).json()["id"]
    assert server.http.delete(f"/v1/datasets/{first}").status_code == 204
    second = upload(server, content, **other)
    assert second.status_code == 201
    assert second.json()["id"] != first


def test_every_post_that_makes_or_changes_something_documents_its_key(shared: Server) -> None:
    missing = []
    for path, operations in shared.get("/openapi.json")["paths"].items():
        parameters = operations.get("post", {}).get("parameters", [])
        named = "idempotency-key" in {one["name"].lower() for one in parameters}
        if "post" in operations and not named and not path.endswith("/predict"):
            missing.append(path)
    assert missing == []
