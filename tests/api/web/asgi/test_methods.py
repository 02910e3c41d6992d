"""Methods of HTTP: HEAD everywhere, and what an address takes."""

from __future__ import annotations

import re

import httpx
import pytest

from api.web.dependencies import Service
from tests.api.conftest import Server
from tests.waiting import PATIENCE

PAGE = {"accept": "text/html"}
VOLATILE = {"x-request-id", "date"}


def addresses(server: Server) -> list[str]:
    job = server.submit()
    sweep = server.http.post(
        "/v1/sweeps", json={"job": {"dataset": "digits"}, "over": {"/seed": [1, 2]}}
    ).json()
    described = server.get("/openapi.json")["paths"]
    found = []
    for path, operations in described.items():
        if "get" not in operations:
            continue
        for name, value in {
            "job_id": job["id"],
            "sweep_id": sweep["id"],
            "dataset": "digits",
        }.items():
            path = path.replace(f"{{{name}}}", value)
        found.append(re.sub(r"\{\w+\}", "nothing", path))
    pages = ["/", "/new", "/sweeps", "/datasets", "/system", "/docs", f"/jobs/{job['id']}"]
    page = server.http.get("/", headers=PAGE).text
    static = re.findall(r'"(/static/[^"]+)"', page)
    return [*found, *pages, *static, "/jobs/nothing", "/nothing", f"/sweeps/{sweep['id']}"]


@pytest.mark.slow
def test_head_is_answered_like_get_at_every_address(shared: Server) -> None:
    paths = addresses(shared)
    assert len(paths) > 30
    for path in paths:
        for headers in ({}, PAGE, {"accept-encoding": "identity"}):
            with shared.http.stream("GET", path, headers=headers) as got:  # some never end
                pass
            head = shared.http.head(path, headers=headers)
            assert head.status_code == got.status_code, path
            assert head.content == b"", path
            same = {k: v for k, v in got.headers.items() if k not in VOLATILE}
            told = {k: v for k, v in head.headers.items() if k not in VOLATILE}
            if "content-encoding" in same or path in (
                "/system",
                "/metrics",
                "/readyz",
            ):  # their numbers change
                same.pop("content-length", None)
                told.pop("content-length", None)
            assert told == same, path


def test_head_of_a_live_stream_ends_and_gives_its_place_back(shared: Server) -> None:
    service: Service = shared.service
    job = shared.submit()
    for _ in range(service.settings.streams_per_user + 5):
        for path in ("/v1/stream", f"/v1/jobs/{job['id']}/events"):
            answer = shared.http.head(path, headers={"accept": "text/event-stream"})
            assert answer.status_code == 200
            assert answer.headers["content-type"].startswith("text/event-stream")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/v1/jobs", "GET, HEAD, POST"),
        ("PUT", "/v1/jobs/job_1", "DELETE, GET, HEAD, PATCH"),
        ("GET", "/v1/jobs/job_1/cancel", "POST"),
        ("HEAD", "/v1/jobs/job_1/cancel", "POST"),
        ("POST", "/", "GET, HEAD"),
        ("DELETE", "/v1/datasets", "GET, HEAD, POST"),
        ("POST", "/metrics", "GET, HEAD"),
        ("POST", "/static/jobs/form.js", "GET, HEAD"),
        ("DELETE", "/openapi.json", "GET, HEAD"),
        ("OPTIONS", "/v1/sweeps", "GET, HEAD, POST"),
        ("TRACE", "/v1/jobs", "GET, HEAD, POST"),
        ("BREW", "/docs", "GET, HEAD"),
    ],
)
def test_a_method_that_an_address_does_not_take_is_told_which_it_takes(
    shared: Server, method: str, path: str, allowed: str
) -> None:
    answer = shared.http.request(method, path)
    assert answer.status_code == 405
    assert set(answer.headers["allow"].split(", ")) >= set(allowed.split(", "))
    if method != "HEAD":
        assert answer.headers["allow"] in answer.json()["detail"]
        assert method in answer.json()["detail"]


def test_every_operation_of_the_document_is_among_what_its_address_takes(shared: Server) -> None:
    for path, operations in shared.get("/openapi.json")["paths"].items():
        answer = shared.http.request("BREW", re.sub(r"\{\w+\}", "x", path))
        assert answer.status_code == 405, path
        allowed = set(answer.headers["allow"].split(", "))
        assert allowed >= {name.upper() for name in operations}, path


def test_heads_are_counted_and_logged_as_heads(
    shared: Server, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO"):
        httpx.head(f"{shared.address}/healthz", timeout=PATIENCE)
    assert any("HEAD /healthz" in record.getMessage() for record in caplog.records)
    assert 'method="HEAD"' in shared.http.get("/metrics").text
