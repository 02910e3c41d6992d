from __future__ import annotations

import logging
from typing import Any

import httpx
import pytest

from api.store.jobs import lifecycle
from tests.api.conftest import Server


def check(response: httpx.Response, status: int) -> dict[str, Any]:
    """The problem of a response that should be one."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = response.json()
    assert set(body) == {"type", "title", "status", "detail", "code", "request_id", "errors"}
    assert body["status"] == status
    assert body["request_id"] == response.headers["x-request-id"]
    assert body["detail"]
    return body


CONV = {"kind": "conv", "channels": 4}


def layers(*listed: dict[str, Any]) -> dict[str, Any]:
    return {"network": {"name": "layers", "layers": listed}}


@pytest.mark.parametrize(
    ("change", "pointer", "remedy"),
    [
        ({"epoch": 3}, "/epoch", "did you mean 'epochs'"),
        ({"neuron": {"decay": 2}}, "/neuron/decay", "less than or equal to 1"),
        ({"neuron": {"surrogate": {"slope": "a"}}}, "/neuron/surrogate/slope", "number"),
        ({"neuron": {"surrogate": {"name": "step"}}}, "/neuron/surrogate/name", "'triangle'"),
        ({"method": {"name": "saf-x"}}, "/method", "'saf-f'"),
        ({"method": {"name": "saf-e", "trace": True}}, "/method/trace", "trace_bias_and_input"),
        ({"method": {"name": "saf-e", "saf-e": 1}}, "/method/saf-e", "trace_bias_and_input"),
        ({"method": {}}, "/method", "'ottt-a'"),
        ({"method": "saf-e"}, "/method", "dictionary"),
        ({"network": {"channels": [8]}}, "/network", "'convnet'"),
        ({"network": {"name": "convnet", "channels": [8, 0]}}, "/network/channels/1", "1"),
        ({"network": {"name": "convnet", "pooling": "max"}}, "/network/pooling", "average"),
        ({"network": {"name": "vgg11"}}, "/network", "16 to 512 pixels"),
        ({"optimizer": {"name": "sgd", "beta1": 0.5}}, "/optimizer/beta1", "momentum"),
        (layers(CONV, {"kind": "conv"}), "/network/layers/1/channels", "required"),
        (
            layers(CONV, {"kind": "average_pool", "size": 2}),
            "/network/layers/1/size",
            "kernel",
        ),
        (layers(CONV, {"kind": "dropout"}), "/network/layers/1", "'linear'"),
        (layers(CONV, {"channels": 4}), "/network/layers/1", "'max_pool'"),
        (layers({"kind": "max_pool"}), "/network/layers/0/kind", "average"),
        ({"dataset": "imagenet"}, "/dataset", "digits"),
        ({"timesteps": 0}, "/timesteps", "greater than or equal to 1"),
        ({"batch_size": 5_000_000}, "/batch_size", "use a batch of"),
        ({"augment": ["crop", "blur"]}, "/augment/1", "'cutout'"),
        ({"augment": ["crop", "crop"]}, "", "twice"),
        ({"metadata": {"a": 1}}, "/metadata/a", "string"),
        ({"metadata": {"a/b": 1}}, "/metadata/a~1b", "string"),
        ({"metadata": {"a b": "c"}}, "/metadata/a b", "pattern"),
        ({"conversion": {"grid_bits": "many"}}, "/conversion/grid_bits", '"auto"'),
        (
            {"conversion": {"grid_bits": 8}, "neuron": {"decay": 0.9}},
            "/conversion",
            "0.5, 0.25",
        ),
        ({"max_runtime_seconds": -1}, "/max_runtime_seconds", "greater than 0"),
    ],
)
def test_a_wrong_field_is_named_with_what_is_allowed(
    shared: Server, change: dict[str, Any], pointer: str, remedy: str
) -> None:
    body = check(shared.http.post("/v1/jobs", json=change), 422)
    assert [error["pointer"] for error in body["errors"]] == [pointer]
    assert remedy in body["errors"][0]["detail"]
    assert remedy in body["detail"]


def test_every_wrong_field_is_named_at_once(shared: Server) -> None:
    body = check(shared.http.post("/v1/jobs", json={"seed": -1, "timesteps": 0}), 422)
    assert {error["pointer"] for error in body["errors"]} == {"/seed", "/timesteps"}


@pytest.mark.parametrize(
    ("content", "status", "code"),
    [
        (b"", 422, "invalid_request"),
        (b"{", 400, "invalid_json"),
        (b"nonsense", 400, "invalid_json"),
        (b"[]", 422, "invalid_request"),
        (b"null", 422, "invalid_request"),
        (b"\xff\xfe\x00", 400, None),
        (b'{"seed": NaN}', 422, "invalid_request"),
        (b'{"neuron": {"decay": 1e999}}', 422, "invalid_request"),
        (b'{"a":' * 20_000, 400, None),
        (b" " * (2**20 + 1), 413, "too_large"),
    ],
)
def test_a_body_that_is_no_specification_is_refused(
    shared: Server, content: bytes, status: int, code: str | None
) -> None:
    response = shared.http.post(
        "/v1/jobs", content=content, headers={"content-type": "application/json"}
    )
    body = check(response, status)
    assert code in (None, body["code"])


def test_a_body_without_a_stated_length_is_bounded_as_well(shared: Server) -> None:
    response = shared.http.post(
        "/v1/jobs",
        content=(b" " * 2**16 for _ in range(20)),
        headers={"content-type": "application/json"},
    )
    assert check(response, 413)["code"] == "too_large"


@pytest.mark.parametrize("given", ["text/plain", "application/x-www-form-urlencoded"])
def test_another_content_type_is_refused(shared: Server, given: str) -> None:
    response = shared.http.post("/v1/jobs", content=b"{}", headers={"content-type": given})
    assert given in check(response, 415)["detail"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/nothing", 404),
        ("GET", "/v1/jobs/job_nothing", 404),
        ("PUT", "/v1/jobs", 405),
        ("GET", "/v1/jobs?limit=0", 422),
        ("GET", "/v1/jobs?limit=201", 422),
        ("GET", "/v1/jobs?status=asleep", 422),
        ("POST", "/v1/jobs/job_nothing/cancel", 404),
        ("POST", "/v1/jobs/job_nothing/retry", 404),
        ("DELETE", "/v1/jobs/job_nothing", 404),
        ("GET", "/v1/jobs/job_nothing/events", 404),
        ("GET", "/v1/jobs/job_nothing/metrics", 404),
        ("GET", "/v1/jobs/job_nothing/logs", 404),
        ("GET", "/v1/jobs/job_nothing/artifacts", 404),
        ("GET", "/v1/artifacts/art_nothing", 404),
        ("GET", "/v1/datasets/ds_nothing", 404),
        ("GET", "/v1/jobs/%00", 400),
        ("GET", "/v1/jobs?q=%00", 400),
        ("GET", "/v1/jobs?after=%F0", 200),
        ("GET", "/v1/datasets/%ED%A0%80", 404),
    ],
)
def test_what_is_not_there_or_not_allowed_is_a_problem(
    shared: Server, method: str, path: str, status: int
) -> None:
    response = shared.http.request(method, path)
    if status == 200:
        assert response.status_code == 200
    else:
        check(response, status)


@pytest.mark.parametrize("text", [r"\u0000", r"\ud800"])
def test_characters_that_a_database_refuses_are_refused_before(server: Server, text: str) -> None:
    for body in ('{"name": "%s"}', '{"dataset": "%s"}', '{"metadata": {"a": "%s"}}'):
        response = server.http.post(
            "/v1/jobs", content=body % text, headers={"content-type": "application/json"}
        )
        check(response, 422)


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1:9", "[::1]:8000"])
def test_the_own_host_names_are_taken_with_any_port(shared: Server, host: str) -> None:
    assert shared.http.get("/healthz", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "http://localhost", "http://[", "http://127.0.0.1:1"]
)
def test_a_page_of_another_origin_changes_nothing(shared: Server, origin: str) -> None:
    for method, path in (("POST", "/v1/jobs"), ("DELETE", "/v1/jobs/x"), ("POST", "/v1/datasets")):
        response = shared.http.request(method, path, json={}, headers={"Origin": origin})
        assert check(response, 403)["code"] == "other_origin"


def test_the_own_pages_may_change_things(shared: Server) -> None:
    response = shared.http.post(
        "/v1/jobs", json={}, headers={"Origin": shared.address}, params={"validate_only": True}
    )
    assert response.status_code == 200
    assert "access-control-allow-origin" not in response.headers


def test_a_request_id_is_taken_or_made(shared: Server) -> None:
    given = shared.http.get("/v1/nothing", headers={"X-Request-ID": "mine-1"})
    assert check(given, 404)["request_id"] == "mine-1"
    made = check(shared.http.get("/v1/nothing", headers={"X-Request-ID": "no\tgood"}), 404)
    assert made["request_id"].startswith("req_")


def test_a_defect_is_a_500_whose_traceback_is_only_in_the_log(
    shared: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    job = shared.submit()

    def broken(*_: object) -> None:
        raise RuntimeError("the secret")

    monkeypatch.setattr(lifecycle, "cancel", broken)
    with caplog.at_level(logging.ERROR, "api"):
        response = shared.http.post(f"{job['urls']['self']}/cancel")
    body = check(response, 500)
    assert "secret" not in response.text
    assert body["request_id"] in body["detail"]
    assert response.headers["x-content-type-options"] == "nosniff"
    assert "RuntimeError: the secret" in caplog.text


def test_the_headers_of_safety_are_on_everything(shared: Server) -> None:
    for path in ("/v1/jobs", "/v1/nothing", "/docs", "/static/web/docs.js", "/healthz"):
        headers = shared.http.get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "same-origin"
        assert "default-src 'self'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
