from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import api
from api.local.valkey import EmbeddedBroker
from api.main import create_app
from api.settings import Settings
from api.store.jobs import lifecycle
from api.web.assets import RUNS_NETWORKS
from saf.config import JobSpecification
from tests.api.conftest import NO_BROKER, Server, serving
from tests.waiting import until


def test_the_api_loads_neither_torch_nor_scikit_learn_nor_the_worker() -> None:
    program = (
        "import api.main, sys; api.main.create_app();"
        "print([m for m in ('torch', 'sklearn', 'worker') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert found.stdout.decode().strip() == "[]"


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return create_app(Settings()).openapi()


OPEN_PATHS = {"/healthz", "/readyz", "/metrics"}


@pytest.mark.slow
def test_who_takes_a_key_says_that_it_may_be_taken(document: dict[str, Any]) -> None:
    keyed = [
        operation
        for operations in document["paths"].values()
        for operation in operations.values()
        if any(
            each["name"].lower() == "idempotency-key" for each in operation.get("parameters", ())
        )
    ]
    assert len(keyed) > 15
    assert [each["summary"] for each in keyed if "409" not in each["responses"]] == []


def test_every_operation_is_described_and_documents_its_problems(document: dict[str, Any]) -> None:
    for path, operations in document["paths"].items():
        assert path.startswith("/v1/") or path in OPEN_PATHS
        for verb, operation in operations.items():
            where = f"{verb} {path}"
            assert operation["summary"], where
            assert operation["description"], where
            assert operation["tags"], where
            for status, response in operation["responses"].items():
                if int(status) >= 400:
                    assert list(response["content"]) == ["application/problem+json"], where
            if "{" in path:
                assert "404" in operation["responses"], where
            if verb != "get":
                assert "403" in operation["responses"], where


def test_every_reference_of_the_document_leads_somewhere(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    names = set(re.findall(r"#/components/schemas/([\w.\-]+)", str(document)))
    assert names <= set(schemas)
    assert "Problem" in names
    assert "HTTPValidationError" not in schemas


def test_the_examples_of_the_document_can_be_sent(document: dict[str, Any]) -> None:
    examples = document["components"]["schemas"]["JobSpecification"]["examples"]
    assert examples
    for example in examples:
        JobSpecification.model_validate(example)


def test_the_documentation_page_loads_everything_from_here(shared: Server) -> None:
    page = shared.http.get("/docs").text
    for address in re.findall(r'<(?:link|script)[^>]* (?:src|href)="([^"]+)"', page):
        assert address.startswith("/static/")
        assert shared.http.get(address).status_code == 200
    assert re.search(r"<script(?![^>]*src=)", page) is None
    folder = Path(api.__file__).parent / "static" / "vendor" / "swagger-ui"
    assert {"LICENSE", "VERSION.txt"} <= {path.name for path in folder.iterdir()}


def test_web_assembly_is_allowed_to_the_worker_that_runs_networks_and_to_no_page(
    shared: Server,
) -> None:
    page = f"/jobs/{shared.submit()['id']}"
    paths = ("/", page, "/static/jobs/snn.js", f"/static/{RUNS_NETWORKS}")
    policies = {path: shared.http.get(path).headers["Content-Security-Policy"] for path in paths}
    allowed = [path for path, policy in policies.items() if "wasm-unsafe-eval" in policy]
    assert allowed == [f"/static/{RUNS_NETWORKS}"]
    assert all("default-src 'self'" in policy for policy in policies.values())


def test_readiness_tells_each_thing_that_is_missing(tmp_path: Path) -> None:
    with EmbeddedBroker(tmp_path / "broker") as broker:
        settings = Settings(data_dir=tmp_path, broker_url=broker.url)
        with serving(settings) as server:
            ready = server.get("/readyz")
            assert ready["status"] == "ready"
            assert [(check["name"], check["ok"]) for check in ready["checks"]] == [
                ("database", True),
                ("broker", True),
                ("storage", True),
            ]
            (tmp_path / "artifacts").rmdir()
            (tmp_path / "artifacts").write_text("no directory")
            response = server.http.get("/readyz")
            assert response.status_code == 503
            (error,) = response.json()["errors"]
            assert error["pointer"] == "storage"
            assert "ARTIFACTS_URL" in error["detail"]


def test_a_wake_up_is_sent_after_the_job_is_committed(tmp_path: Path) -> None:
    from redis import Redis

    with EmbeddedBroker(tmp_path / "broker") as broker:
        settings = Settings(data_dir=tmp_path, broker_url=broker.url)
        with serving(settings) as server:
            job = server.submit()
            path = broker.url.removeprefix("redis+socket://").partition("?")[0]
            with Redis(unix_socket_path=path) as redis:
                message = until(lambda: redis.lindex("saf", 0))
            assert job["id"].encode() in message


def test_an_api_without_a_broker_recovers_the_jobs_of_dead_workers(
    tmp_path: Path, database_url: str
) -> None:
    settings = Settings(
        data_dir=tmp_path,
        database_url=database_url,
        lease_seconds=1.0,
        heartbeat_seconds=0.2,
        sweep_seconds=0.1,
    )
    with serving(settings) as server:
        job_id = server.submit()["id"]
        with server.service.database.writing() as session:
            lifecycle.claim(session, worker_id="w", device="cpu", lease_seconds=0.001)
        until(lambda: server.get(f"/v1/jobs/{job_id}")["status"] == "recovering")


def test_services_of_one_process_share_endpoints_and_nothing_else(tmp_path: Path) -> None:
    addresses = [f"sqlite:///{tmp_path / name}.sqlite3" for name in ("one", "two")]
    settings = [
        Settings(data_dir=tmp_path / str(n), database_url=url, broker_url=NO_BROKER)
        for n, url in enumerate(addresses)
    ]
    with serving(settings[0]) as one, serving(settings[1]) as two:
        job = one.submit()["id"]
        assert one.get(f"/v1/jobs/{job}")["id"] == job
        assert two.http.get(f"/v1/jobs/{job}").status_code == 404
        assert two.get("/v1/jobs")["data"] == []
