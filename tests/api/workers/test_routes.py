from __future__ import annotations

from sqlalchemy import update

from api.store import workers
from api.store.tables.workers import Worker
from tests.api.conftest import Server


def register(server: Server, worker_id: str) -> None:
    with server.service.database.writing() as session:
        workers.register(
            session,
            worker_id=worker_id,
            host="here",
            pid=7,
            version="0.1.0",
            devices=["cpu", "cpu"],
            slots=2,
        )


def test_workers_say_whether_they_live_and_what_they_run(server: Server) -> None:
    for worker_id in ("wrk_1", "wrk_dead", "wrk_ended", "wrk_ancient"):
        register(server, worker_id)
    with server.service.database.writing() as session:
        workers.seen(session, "wrk_1", busy=1)
        workers.stopped(session, "wrk_ended")
        silent = 4 * server.service.settings.heartbeat_seconds
        for worker_id, seconds in (("wrk_dead", silent), ("wrk_ancient", 1e6)):
            session.execute(
                update(Worker)
                .where(Worker.id == worker_id)
                .values(seen_at=Worker.seen_at - seconds)
            )
    job = server.submit(name="mine")
    server.run()
    listed = server.get("/v1/workers")["data"]
    assert {worker["id"]: worker["alive"] for worker in listed} == {
        "wrk_1": True,
        "wrk_dead": False,
        "wrk_ended": False,
    }
    first = listed[0]
    assert (first["id"], first["host"], first["pid"]) == ("wrk_1", "here", 7)
    assert (first["devices"], first["slots"], first["busy"]) == (["cpu", "cpu"], 2, 1)
    assert first["jobs"] == [
        {
            "id": job["id"],
            "name": "mine",
            "status": "running",
            "device": "cpu",
            "url": job["urls"]["self"],
        }
    ]
    assert all(worker["jobs"] == [] for worker in listed[1:])


def test_numbers_for_prometheus(server: Server) -> None:
    register(server, "wrk_1")
    server.submit()
    server.submit()
    server.succeed(server.run())
    server.http.get("/v1/nothing")
    response = server.http.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
    lines = response.text.splitlines()
    for line in (
        'saf_jobs{status="queued"} 1.0',
        'saf_jobs{status="succeeded"} 1.0',
        "saf_queue_depth 1.0",
        "saf_workers_alive 1.0",
        "saf_slots 2.0",
        'saf_http_requests_total{method="POST",status="201"} 2.0',
        'saf_http_requests_total{method="GET",status="404"} 1.0',
    ):
        assert line in lines
    (waited,) = (line for line in lines if line.startswith("saf_queue_oldest_seconds "))
    assert 0 <= float(waited.split()[1]) < 60
