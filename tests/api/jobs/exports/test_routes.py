"""Exports over HTTP: ordered once, refused with the reason, and taken back with their files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from api.store.jobs import exports
from api.store.jobs.exports import ExportClaim
from api.store.jobs.leases import Fenced
from api.store.runs import artifacts
from saf.lif.network import LIFNetwork
from tests.api.conftest import Server
from tests.api.jobs.results.test_predict import network, succeeded


@pytest.fixture
def job(server: Server, tmp_path: Path) -> str:
    return job_of(server, tmp_path, network())


def job_of(server: Server, directory: Path, lif: LIFNetwork) -> str:
    return succeeded(server, directory, lif).removesuffix("/predict").rpartition("/")[2]


def order(server: Server, job: str, target: str = "python", **body: Any) -> dict[str, Any]:
    response = server.http.post(f"/v1/jobs/{job}/exports", json={"target": target, **body})
    assert response.status_code == 201, response.text
    found: dict[str, Any] = response.json()
    assert response.headers["location"] == found["url"]
    return found


def claimed(server: Server) -> ExportClaim:
    with server.service.database.writing() as session:
        claim = exports.claim(session, worker_id="wrk_1", lease_seconds=600)
    assert claim is not None
    return claim


def finished(server: Server, directory: Path, **names: str) -> ExportClaim:
    """What a worker does: files with contents, by their names with _ for a dot."""
    claim, store = claimed(server), server.service.store
    incoming = {}
    for name, content in names.items():
        path = directory / name.replace("_", ".")
        path.write_text(content)
        incoming[path.name] = store.receive(path)
    with server.service.database.writing() as session:
        for name, file in incoming.items():
            artifacts.register(
                session,
                job_id=claim.job_id,
                name=exports.folder(claim.target) + name,
                kind="export",
                sha256=store.keep(session, file),
            )
        certificate = {"statement": "the same", "load": "load it"}
        exports.succeed(session, claim, verdict="identical", certificate=certificate)
    return claim


def test_an_export_is_ordered_made_and_taken_home(server: Server, job: str, tmp_path: Path) -> None:
    made = order(server, job, samples=20)
    assert (made["status"], made["samples"], made["artifacts"]) == ("queued", 20, [])
    assert made["verdict"] is None
    assert made["certificate"] is None
    claim = finished(server, tmp_path, net_txt="0.5", python_certificate_json="{}")
    assert (claim.id, claim.target, claim.samples) == (made["id"], "python", 20)

    found = server.get(made["url"])
    assert (found["status"], found["verdict"]) == ("succeeded", "identical")
    assert found["certificate"]["statement"] == "the same"
    assert found["finished_at"] is not None
    names = [file["name"] for file in found["artifacts"]]
    assert names == ["exports/python/net.txt", "exports/python/python.certificate.json"]
    assert server.http.get(found["artifacts"][0]["url"]).text == "0.5"
    listed = server.get(f"/v1/jobs/{job}/artifacts")["data"]
    assert set(names) < {file["name"] for file in listed}
    assert server.get(f"/v1/jobs/{job}/exports/python") == found
    assert server.get(f"/v1/jobs/{job}/exports")["data"] == [found]


def test_one_order_is_enough(server: Server, job: str, tmp_path: Path) -> None:
    path = f"/v1/jobs/{job}/exports"
    body, key = {"target": "python"}, {"Idempotency-Key": "one"}
    first = server.http.post(path, json=body, headers=key)
    assert first.status_code == 201
    for headers in (key, {}, {"Idempotency-Key": "two"}):
        again = server.http.post(path, json=body, headers=headers)
        assert (again.status_code, again.json()["id"]) == (200, first.json()["id"])
    other = server.http.post(path, json={"target": "python", "samples": 3})
    assert other.status_code == 409
    assert "with other options" in other.json()["detail"]
    assert server.http.post(path, json={"target": "onnx"}, headers=key).status_code == 409
    finished(server, tmp_path, net_txt="1")
    assert server.http.post(path, json=body, headers=key).json()["id"] == first.json()["id"]
    assert server.http.post(path, json=body).json()["id"] != first.json()["id"]


def test_a_new_export_replaces_the_one_before_when_it_has_succeeded(
    server: Server, job: str, tmp_path: Path
) -> None:
    first = order(server, job)
    finished(server, tmp_path, net_txt="1")
    second = order(server, job, samples=7)
    assert server.get(first["url"])["status"] == "succeeded"
    finished(server, tmp_path, net_txt="2")
    assert server.http.get(first["url"]).status_code == 404
    (file,) = server.get(second["url"])["artifacts"]
    assert server.http.get(file["url"]).text == "2"


def test_what_cannot_be_expressed_is_refused_before_anything_runs(
    server: Server, tmp_path: Path
) -> None:
    job = job_of(server, tmp_path, network())
    response = server.http.post(f"/v1/jobs/{job}/exports", json={"target": "c"})
    problem = response.json()
    assert response.status_code == 422
    assert "its weights are on no grid" in problem["detail"]
    assert "conversion.grid_bits" in problem["detail"]
    assert problem["errors"][0]["pointer"] == "/target"
    own = {"layer1": {"name": "lif", "decay": 0.25, "threshold": 2.0}}
    job = job_of(server, tmp_path, odd(own))
    response = server.http.post(f"/v1/jobs/{job}/exports", json={"target": "nir-rockpool"})
    assert response.status_code == 422
    assert "layer layer1: its neurons (lif) are others" in response.json()["errors"][0]["detail"]
    assert server.get(f"/v1/jobs/{job}/exports")["data"] == []


def odd(neurons: dict[str, Any]) -> LIFNetwork:
    plain = network()
    description = plain.description.model_copy(update={"neurons": neurons})
    return LIFNetwork(description, plain.tensors)


@pytest.mark.parametrize(
    ("body", "pointer", "says"),
    [
        ({}, "/target", "is required"),
        ({"target": "pdf"}, "/target", "there is no target 'pdf'; take c, wasm, python"),
        (
            {"target": "c", "options": {"ints": 4}},
            "/options/ints",
            "there is no such option; c has none",
        ),
        ({"target": "c", "options": {"name": "c"}}, "/options/name", "leave it out"),
        ({"target": "c", "samples": 0}, "/samples", "greater than or equal to 1"),
        ({"target": "c", "format": "zip"}, "/format", "there is no such key"),
    ],
)
def test_a_wrong_order_is_refused_with_what_to_change(
    server: Server, job: str, body: dict[str, Any], pointer: str, says: str
) -> None:
    response = server.http.post(f"/v1/jobs/{job}/exports", json=body)
    assert response.status_code == 422, response.text
    (error,) = response.json()["errors"]
    assert error["pointer"] == pointer
    assert says in error["detail"]


def test_an_export_is_refused_where_its_owner_has_stored_as_much_as_they_may(
    server: Server, job: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(vars(server.service.settings), "datasets_max_bytes_per_user", 1)
    refused = server.http.post(f"/v1/jobs/{job}/exports", json={"target": "python"})
    assert refused.status_code == 429, refused.text
    assert "SAF_DATASETS_MAX_BYTES_PER_USER" in refused.json()["detail"]


def test_only_a_job_that_has_succeeded_is_exported(server: Server) -> None:
    job = server.submit()["id"]
    response = server.http.post(f"/v1/jobs/{job}/exports", json={"target": "python"})
    assert response.status_code == 409
    assert "is queued" in response.json()["detail"]
    for method, path in (("POST", "job_0/exports"), ("GET", "job_0/exports")):
        assert server.http.request(method, f"/v1/jobs/{path}", json={"target": "c"}).is_error
    assert server.http.get(f"/v1/jobs/{job}/exports/c").status_code == 404


def test_a_network_that_retention_has_removed_is_gone(
    server: Server, job: str, tmp_path: Path
) -> None:
    made = order(server, job)
    finished(server, tmp_path, net_txt="1")
    for file in server.get(f"/v1/jobs/{job}/artifacts")["data"]:
        if file["name"] == "lif.safetensors":
            server.files.path(file["sha256"]).unlink()
    response = server.http.post(f"/v1/jobs/{job}/exports", json={"target": "python"})
    assert response.status_code == 410
    assert server.get(made["url"])["status"] == "succeeded"


def test_a_deleted_export_takes_its_files_along_and_stops_its_worker(
    server: Server, job: str, tmp_path: Path
) -> None:
    made = order(server, job)
    finished(server, tmp_path, net_txt="only of this export")
    (file,) = server.get(made["url"])["artifacts"]
    assert server.http.delete(made["url"]).status_code == 204
    assert server.http.get(made["url"]).status_code == 404
    assert server.http.get(file["url"]).status_code == 404
    assert not server.files.path(file["sha256"]).exists()
    running = order(server, job)
    claim = claimed(server)
    assert server.get(running["url"])["status"] == "running"
    assert server.http.delete(running["url"]).status_code == 204
    with server.service.database.writing() as session, pytest.raises(Fenced):
        exports.renew(session, claim, lease_seconds=60)


def test_a_failed_export_says_why_and_gives_way_to_the_next(server: Server, job: str) -> None:
    made = order(server, job)
    claim = claimed(server)
    with server.service.database.writing() as session:
        exports.fail(session, claim, code="reader", message="it broke", hint="mend it")
    found = server.get(made["url"])
    assert found["status"] == "failed"
    assert found["error"] == {"code": "reader", "message": "it broke", "hint": "mend it"}
    again = order(server, job)
    assert [each["id"] for each in server.get(f"/v1/jobs/{job}/exports")["data"]] == [again["id"]]


def test_exports_go_with_their_job(server: Server, job: str, tmp_path: Path) -> None:
    order(server, job)
    finished(server, tmp_path, net_txt="of a job")
    (file,) = server.get(f"/v1/jobs/{job}/exports/python")["artifacts"]
    assert server.http.delete(f"/v1/jobs/{job}").status_code == 204
    assert server.http.get(f"/v1/jobs/{job}/exports").status_code == 404
    assert not server.files.path(file["sha256"]).exists()


def test_as_many_exports_wait_as_jobs_may(
    server: Server, job: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(vars(server.service.settings), "jobs_queued_per_user", 2)
    first = order(server, job)
    order(server, job, "onnx")
    more = server.http.post(f"/v1/jobs/{job}/exports", json={"target": "torch-export"})
    assert more.status_code == 429, more.text
    assert "2 exports of 127.0.0.1 wait already, and 2 are the most" in more.json()["detail"]
    assert "delete some" in more.json()["detail"]
    again = server.http.post(f"/v1/jobs/{job}/exports", json={"target": "python"})
    assert (again.status_code, again.json()["id"]) == (200, first["id"])
    assert server.http.delete(first["url"]).status_code == 204
    order(server, job, "torch-export")
