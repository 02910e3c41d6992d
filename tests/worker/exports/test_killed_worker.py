"""A worker that is killed in the middle of an export loses nothing but time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from api.settings import Settings
from api.store.tables.results import Export
from tests.api.jobs.results.test_predict import network
from tests.waiting import until
from tests.worker.conftest import Desk, WorkerProcess, sweeping
from tests.worker.exports.test_exporter import Bench


def test_another_worker_takes_up_the_export_of_one_that_was_killed(
    desk: Desk,
    service: Settings,
    start_worker: Callable[[Settings], WorkerProcess],
    tmp_path: Path,
) -> None:
    bench = Bench(desk, service, tmp_path)
    job_id = bench.job(network())
    first = start_worker(service)
    first.wait_ready()
    made = bench.order(job_id)
    until(lambda: desk.processes(made))
    first.kill()
    until(lambda: not desk.processes(made))
    assert bench.export(made).status == "running"
    with desk.database.writing() as session:
        session.get_one(Export, made).lease_until = 1.0
    with sweeping(desk.database, service):
        until(lambda: bench.export(made).status == "queued")
    start_worker(service)
    until(lambda: bench.export(made).status == "succeeded")
    export = bench.export(made)
    assert (export.attempt, export.losses, export.verdict) == (2, 1, "identical")
    assert "exports/python/python-certificate.json" in desk.artifacts(job_id)
