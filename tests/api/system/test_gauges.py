"""The numbers for Prometheus: what they say, that they come soon, and that labels are bounded."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import update

from api.settings import Settings
from api.store import workers
from api.store.jobs import lifecycle
from api.store.tables.workers import Worker
from api.system.gauges import HOSTS, Reading
from tests.api.conftest import NO_BROKER, Server, serving
from tests.postgres import PostgresServer
from tests.waiting import until

GPU = {"index": "0", "use": 0.5, "memory_used_bytes": 2**30, "memory_bytes": 2**36}
MEASURES = {
    "gpus": [GPU],
    "outbox_bytes": 1234,
    "stalls": 2,
    "memory_bytes": 10**8,
    "disk_free_bytes": 10**9,
    "disk_bytes": 10**10,
}


def register(server: Server, worker_id: str, host: str = "here", **measures: Any) -> None:
    with server.service.database.writing() as session:
        workers.register(
            session, worker_id=worker_id, host=host, pid=1, version="1", devices=["cpu"], slots=1
        )
        workers.seen(session, worker_id, busy=1, measures=MEASURES | measures)


def numbers(server: Server) -> dict[str, dict[tuple[tuple[str, str], ...], float]]:
    """Each series by its name and its labels, read by Prometheus' own parser."""
    response = server.http.get("/metrics")
    assert response.status_code == 200
    found: dict[str, dict[tuple[tuple[str, str], ...], float]] = {}
    for family in text_string_to_metric_families(response.text):
        for sample in family.samples:
            labels = tuple(sorted(sample.labels.items()))
            assert labels not in found.setdefault(sample.name, {}), sample
            found[sample.name][labels] = sample.value
    return found


def test_jobs_leases_workers_gpus_and_disks_are_told(server: Server) -> None:
    register(server, "wrk_1")
    register(server, "wrk_2", gpus=None)
    for _ in range(4):
        server.submit()
    server.fail(server.run())
    claim = server.run()
    with server.service.database.writing() as session:
        lifecycle.fail(session, claim, code="made up", message="m", hint="h")
    server.run()
    with server.service.database.writing() as session:
        for worker_id in ("gone", "ended"):
            workers.register(
                session, worker_id=worker_id, host="x", pid=1, version="1", devices=[], slots=1
            )
        session.execute(
            update(Worker).where(Worker.id == "gone").values(seen_at=Worker.seen_at - 3600)
        )
        workers.stopped(session, "ended")

    found = numbers(server)
    here = (("host", "here"),)
    assert found["saf_database_up"][()] == 1
    assert found["saf_broker_up"][()] == 0
    assert found["saf_storage_up"][()] == 1
    assert found["saf_jobs"][(("status", "queued"),)] == 1
    assert found["saf_jobs"][(("status", "failed"),)] == 2
    assert found["saf_jobs_failed"][(("code", "data"),)] == 1
    assert found["saf_jobs_failed"][(("code", "other"),)] == 1
    assert found["saf_jobs_failed"][(("code", "stalled"),)] == 0
    assert found["saf_queue_depth"][()] == 1
    assert found["saf_leases"][()] == 1
    assert found["saf_leases_lapsed"][()] == 0
    assert found["saf_lease_oldest_seconds"][()] >= 0
    assert (found["saf_workers_alive"][()], found["saf_workers_lost"][()]) == (2, 1)
    assert found["saf_worker_slots"][here] == 2
    assert found["saf_worker_outbox_bytes"][here] == 2 * 1234
    assert found["saf_worker_stalls_total"][here] == 4
    assert found["saf_worker_disk_free_bytes"][here] == 10**9
    gpu = (("gpu", "0"), ("host", "here"))
    assert found["saf_gpu_use_ratio"] == {gpu: 0.5}
    assert found["saf_gpu_memory_used_bytes"] == {gpu: 2**30}
    assert found["saf_disk_free_bytes"][(("place", "data"),)] > 0
    assert found["saf_storage_bytes"][(("kind", "database"),)] > 0
    assert found["process_resident_memory_bytes"][()] > 0


def test_latency_is_counted_by_route_and_no_request_makes_a_label(shared: Server) -> None:
    for number in range(30):
        shared.http.get(f"/v1/jobs/job_{number}")
        shared.http.get(f"/nothing/{number}")
        shared.http.get(f"/static/{number}.css")
        shared.http.request(f"MADE{number}", f"/v1/jobs/{number}")
    found = numbers(shared)
    counts = found["saf_http_request_seconds_count"]
    routes = {dict(labels)["route"] for labels in counts}
    assert {dict(labels)["method"] for labels in counts} <= {"GET", "POST", "other"}
    assert counts[(("method", "GET"), ("route", "/v1/jobs/{job_id}"))] == 30
    assert counts[(("method", "GET"), ("route", "other"))] >= 30
    assert counts[(("method", "GET"), ("route", "/static"))] >= 30
    assert not any(re.search(r"\d", route.removeprefix("/v1")) for route in routes), routes


@pytest.mark.slow
def test_a_live_stream_counts_until_it_begins(server: Server) -> None:
    job = server.submit()
    began = time.monotonic()
    with server.stream(job["urls"]["events"]) as stream:
        next(stream.messages())
        to_begin = time.monotonic() - began
        time.sleep(0.5)
    name = "/v1/jobs/{job_id}/events"

    def counted() -> float:
        found = numbers(server)["saf_http_request_seconds_count"]
        return found.get((("method", "GET"), ("route", name)), 0)

    until(lambda: counted() == 1)
    found = numbers(server)["saf_http_request_seconds_sum"]
    assert found[(("method", "GET"), ("route", name))] <= to_begin


@pytest.mark.slow
def test_many_hosts_and_a_strange_measure_are_bounded(server: Server) -> None:
    for number in range(HOSTS + 20):
        register(server, f"wrk_{number}", host=f"pod-{number:04}")
    register(server, "wrk_x", host="a-strange-one", gpus=[{"index": "x" * 99, "use": "full"}])
    found = numbers(server)
    hosts = [dict(labels)["host"] for labels in found["saf_worker_slots"]]
    assert len(hosts) == HOSTS + 1
    assert found["saf_worker_slots"][(("host", "other"),)] == 21
    assert found["saf_workers_alive"][()] == HOSTS + 21
    assert all(len(dict(labels)["gpu"]) <= 16 for labels in found["saf_gpu_use_ratio"])


def test_a_host_may_have_any_name(server: Server) -> None:
    register(server, "wrk_1", host='a"b\\c\nsaf_jobs{status="queued"} 99')
    found = numbers(server)
    assert found["saf_jobs"][(("status", "queued"),)] == 0
    assert len(found["saf_worker_slots"]) == 1


@pytest.fixture
def own_postgres() -> Iterator[PostgresServer]:
    postgres = PostgresServer()
    yield postgres
    postgres.remove()


@pytest.mark.slow
def test_with_the_database_away_what_can_be_told_is_told(
    own_postgres: PostgresServer, tmp_path: Path
) -> None:
    url = own_postgres.create_database("jobs")
    settings = Settings(data_dir=tmp_path, database_url=url, broker_url=NO_BROKER)
    with serving(settings) as server:
        assert numbers(server)["saf_database_up"][()] == 1
        own_postgres.stop()
        until(lambda: numbers(server)["saf_database_up"][()] == 0)
        found = numbers(server)
        assert "saf_jobs" not in found
        assert found["saf_http_requests_total"]
        assert found["process_resident_memory_bytes"]
        own_postgres.start()
        until(lambda: numbers(server)["saf_database_up"][()] == 1)


def test_what_hangs_is_asked_once_and_keeps_nobody_waiting() -> None:
    from threading import Event as Flag

    go, asked = Flag(), []

    def slow() -> int:
        asked.append(1)
        go.wait()
        return 7

    reading = Reading(slow, 60.0)
    assert [reading.get(0.01) for _ in range(5)] == [None] * 5
    assert len(asked) == 1
    go.set()
    until(lambda: reading.get(0.01) == 7)
    assert len(asked) == 1


def test_every_series_of_before_is_still_there(server: Server) -> None:
    register(server, "wrk_1")
    found = numbers(server)
    assert {
        "saf_jobs",
        "saf_queue_depth",
        "saf_queue_oldest_seconds",
        "saf_workers_alive",
        "saf_slots",
        "saf_slots_busy",
        "saf_streams_watched",
    } <= set(found)
    assert numbers(server)["saf_http_requests_total"][(("method", "GET"), ("status", "200"))] == 1
