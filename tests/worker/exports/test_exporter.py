"""A worker makes exports in a process of their own, and none is lost or hangs for ever."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from api.settings import Settings
from api.store.blobs.base import ArtifactStore
from api.store.database import Database, clock
from api.store.jobs import exports, lifecycle, retry_delay
from api.store.jobs.leases import Fenced
from api.store.jobs.sweeper import Sweeper
from api.store.runs import artifacts
from api.store.tables.jobs import Status
from api.store.tables.results import Export
from saf.data import digits
from saf.lif.network import LIFNetwork, load_lif
from saf.lif.verifying import verify
from saf.training.batches import identity
from tests.api.jobs.results.test_predict import network
from tests.waiting import join, until
from tests.worker.conftest import Desk
from worker.exports.exporter import Exporter
from worker.exports.process import EXPORTING
from worker.processes.scratch import Scratch

SLEEPER = (sys.executable, "-c", "import time; time.sleep(600)")


class Bench:
    """Jobs that have succeeded, and exporters to make exports of them."""

    def __init__(self, desk: Desk, settings: Settings, directory: Path) -> None:
        self.desk, self.settings, self._directory = desk, settings, directory
        self.database: Database = desk.database
        self.store: ArtifactStore = desk.store
        self._exporters: list[tuple[Exporter, Scratch]] = []

    def job(self, lif: LIFNetwork) -> str:
        job_id = self.desk.submit()
        path = self._directory / "lif.safetensors"
        lif.save(path)
        incoming = self.store.receive(path)
        with self.database.writing() as session:
            claim = lifecycle.claim(session, worker_id="wrk_1", device="cpu", lease_seconds=60)
            assert claim is not None
            artifacts.register(
                session,
                job_id=job_id,
                name="lif.safetensors",
                kind="network",
                sha256=self.store.keep(session, incoming),
            )
            lifecycle.succeed(session, claim)
        assert self.desk.job(job_id).status == Status.succeeded
        return job_id

    def order(self, job_id: str, target: str = "python", **options: Any) -> str:
        with self.database.writing() as session:
            return exports.submit(
                session, job_id=job_id, target=target, options=options, samples=30
            ).id

    def export(self, id_: str) -> Export:
        with self.database.reading() as session:
            return session.get_one(Export, id_)

    def exporter(self, command: tuple[str, ...] = EXPORTING, **changes: Any) -> Exporter:
        name = f"worker_{len(self._exporters)}"
        scratch = Scratch(self.settings.data_dir, name)
        settings = self.settings.model_copy(update=changes)
        exporter = Exporter(self.database, self.store, settings, scratch, name, command)
        self._exporters.append((exporter, scratch))
        return exporter

    def close(self) -> None:
        for exporter, scratch in self._exporters:
            exporter.stop()
            scratch.remove()


@pytest.fixture
def bench(desk: Desk, settings: Settings, tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(desk, settings, tmp_path)
    yield bench
    bench.close()


def test_an_export_is_written_replayed_and_stored_whole(bench: Bench, tmp_path: Path) -> None:
    job_id = bench.job(network())
    made = bench.order(job_id)
    bench.exporter().work()
    export = bench.export(made)
    assert export.error is None
    assert (export.status, export.verdict, export.attempt) == ("succeeded", "identical", 1)
    assert export.certificate is not None
    assert export.certificate["samples"] == 30
    of = digits()
    assert export.certificate["dataset_sha256"] == identity(of.x_train, of.y_train)
    files = bench.desk.artifacts(job_id)
    for name, content in files.items():
        if name.startswith("exports/python/"):
            (tmp_path / name.rpartition("/")[2]).write_bytes(content)
    found = verify(tmp_path / "python-certificate.json")
    assert not found.problems
    assert any(export.certificate["dataset_sha256"] in line for line in found.says)
    assert json.loads(files["exports/python/python-certificate.json"]) == export.certificate
    assert files["lif.safetensors"]
    assert load_lif(tmp_path / "lif.safetensors").timesteps == 4
    assert not list((bench.settings.data_dir / "work").glob("*/exp_*"))


def test_a_target_that_cannot_express_the_network_fails_in_words(bench: Bench) -> None:
    made = bench.order(bench.job(network()), "c")
    bench.exporter().work()
    export = bench.export(made)
    assert export.status == "failed"
    assert export.error is not None
    assert export.error["code"] == "cannot_express"
    assert "its weights are on no grid" in export.error["message"]
    assert "conversion.grid_bits" in export.error["hint"]


def test_a_network_that_is_gone_fails_in_words(bench: Bench) -> None:
    job_id = bench.job(network())
    made = bench.order(job_id)
    for file in (bench.settings.data_dir / "artifacts").rglob("*"):
        if file.is_file():
            file.unlink()
    bench.exporter().work()
    error = bench.export(made).error
    assert error is not None
    assert error["code"] == "gone"
    assert "lif.safetensors is no longer in the store" in error["message"]


def test_an_export_that_takes_too_long_is_ended_with_its_group(bench: Bench) -> None:
    made = bench.order(bench.job(network()))
    command = (sys.executable, "-c", "import subprocess; subprocess.run(['sleep', '600'])")
    bench.exporter(command, export_max_seconds=0.5).work()
    error = bench.export(made).error
    assert error is not None
    assert error["code"] == "time_limit"
    assert "SAF_EXPORT_MAX_SECONDS" in error["hint"]
    until(lambda: not bench.desk.processes(made))


def test_a_process_that_dies_is_tried_again_and_given_up_in_words(bench: Bench) -> None:
    made = bench.order(bench.job(network()))
    bench.exporter((sys.executable, "-c", "import os; os.kill(os.getpid(), 9)")).work()
    export = bench.export(made)
    assert (export.status, export.attempt) == ("failed", exports.MOST_LOSSES)
    assert export.error is not None
    assert "killed by SIGKILL" in export.error["message"]
    assert export.error["code"] == "worker_lost"


def test_an_export_of_a_worker_that_vanished_is_taken_up_again(bench: Bench) -> None:
    made = bench.order(bench.job(network()))
    with bench.database.writing() as session:
        claim = exports.claim(session, worker_id="dead", lease_seconds=0.01)
    assert claim is not None
    bench.exporter().work()  # it waits for the lease
    assert bench.export(made).status == "running"
    sweeper = Sweeper(
        bench.database, bench.settings.model_copy(update={"lease_seconds": 1.0}), print
    )
    until(lambda: sweeper.sweep() or bench.export(made).status == "queued")
    bench.exporter().work()
    export = bench.export(made)
    assert (export.status, export.attempt, export.losses) == ("succeeded", 2, 1)
    with bench.database.writing() as session, pytest.raises(Fenced):
        exports.fail(session, claim, code="internal", message="late", hint="")


def test_a_lease_that_runs_out_again_and_again_fails_in_words(bench: Bench) -> None:
    made = bench.order(bench.job(network()))
    for _ in range(exports.MOST_LOSSES):
        with bench.database.writing() as session:
            assert exports.claim(session, worker_id="dead", lease_seconds=1) is not None
            exports.expire_leases(session, at=clock(session) + 2)
    export = bench.export(made)
    assert export.status == "failed"
    assert export.error is not None
    assert "longer than its lease, 3 times" in export.error["message"]


def test_a_worker_that_ends_hands_its_export_back(bench: Bench) -> None:
    made = bench.order(bench.job(network()))
    exporter = bench.exporter(SLEEPER)
    exporter.start()
    until(lambda: bench.export(made).status == "running")
    exporter.stop()
    export = bench.export(made)
    assert (export.status, export.losses) == ("queued", 0)
    assert not bench.desk.processes(made)


def test_a_deleted_export_ends_its_process(bench: Bench) -> None:
    made = bench.order(bench.job(network()))
    exporter = bench.exporter(SLEEPER)
    thread = threading.Thread(target=exporter.work)
    thread.start()
    until(lambda: bench.desk.processes(made))
    with bench.database.writing() as session:
        exports.remove(session, session.get_one(Export, made))
    join(thread)
    assert not bench.desk.processes(made)


def test_a_killed_process_leaves_the_job_and_its_files_alone(bench: Bench) -> None:
    job_id = bench.job(network())
    made = bench.order(job_id)
    exporter = bench.exporter(SLEEPER)
    thread = threading.Thread(target=exporter.work)
    thread.start()
    for _ in range(exports.MOST_LOSSES):
        (pid,) = until(lambda: bench.desk.processes(made))
        os.kill(pid, signal.SIGKILL)
        until(lambda gone=pid: gone not in bench.desk.processes(made))  # type: ignore[misc]
    join(thread)
    assert bench.export(made).status == "failed"
    assert list(bench.desk.artifacts(job_id)) == ["lif.safetensors"]


def test_the_next_export_replaces_all_files_of_the_one_before(bench: Bench) -> None:
    job_id = bench.job(network())
    bench.order(job_id, "onnx")
    bench.exporter().work()
    with bench.database.writing() as session:
        incoming = bench.store.receive(bench.settings.data_dir / "lif.safetensors")
        artifacts.register(
            session,
            job_id=job_id,
            name="exports/onnx/of-an-older-version.onnx",
            kind="export",
            sha256=bench.store.keep(session, incoming),
        )
    second = bench.order(job_id, "onnx")
    bench.exporter().work()
    assert bench.export(second).verdict in ("identical", "equivalent")
    assert set(bench.desk.artifacts(job_id)) == {
        "lif.safetensors",
        *(
            f"exports/onnx/{name}"
            for name in ("network.onnx", "step.onnx", "onnx-certificate.json")
        ),
    }


def test_an_export_that_was_put_off_is_taken_by_nobody_before_its_wait(bench: Bench) -> None:
    made = bench.order(bench.job(network()))
    waits = []

    def wait(delays: int) -> float:
        waits.append(retry_delay.of_an_error(5.0)(delays))
        return -1.0 if len(waits) < 4 else waits[-1]

    for _ in range(4):
        with bench.database.writing() as session:
            claim = exports.claim(session, worker_id="wrk_1", lease_seconds=60)
            assert claim is not None
            exports.put_off(session, claim, "a disk is full", wait)
    assert waits == [5.0, 10.0, 20.0, 40.0]
    with bench.database.writing() as session:
        assert not exports.waits(session)
        assert exports.claim(session, worker_id="wrk_1", lease_seconds=60) is None
    bench.exporter().work()
    assert bench.export(made).attempt == 4
