"""Exports wait for a disk that is full and for the artifact store, and are made then."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from api.settings import Settings
from api.store.blobs.base import Incoming, StoreError
from api.store.blobs.directory import DirectoryStore
from api.store.database import Database
from api.store.jobs import exports
from saf.processes.export import answered
from tests.api.jobs.results.test_predict import network
from tests.disks import SmallDisk, mounted
from tests.waiting import until
from tests.worker.conftest import Desk
from tests.worker.exports.test_exporter import Bench
from worker.exports.exporter import Exporter

Maker = Callable[..., Bench]


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """What is tested here does not depend on the database."""
    return sqlite_url


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    path = tmp_path / "disk"
    path.mkdir()
    with mounted(path) as disk:
        yield disk


@pytest.fixture
def bench_with(settings: Settings, database: Database, tmp_path: Path) -> Iterator[Maker]:
    """Makes benches whose store and whose settings are given."""
    benches = []

    def make(store: DirectoryStore, **changes: Any) -> Bench:
        changed = settings.model_copy(update={"retry_seconds": 0.05, **changes})
        benches.append(Bench(Desk(database, store), changed, tmp_path))
        return benches[-1]

    yield make
    for bench in benches:
        bench.close()


def is_put_off(bench: Bench, made: str, exporter: Exporter) -> bool:
    """Whether it was put off as often as it may be lost, and never lost."""
    exporter.work()
    export = bench.export(made)
    assert (export.status, export.losses, export.error) == ("queued", 0, None)
    return export.delays >= exports.MOST_LOSSES


def is_made(bench: Bench, made: str, exporter: Exporter) -> bool:
    exporter.work()
    return bench.export(made).status == "succeeded"


def test_an_export_waits_for_room_in_the_artifact_store(disk: SmallDisk, bench_with: Maker) -> None:
    bench = bench_with(DirectoryStore(str(disk.path / "artifacts")))
    made, exporter = bench.order(bench.job(network())), bench.exporter()
    disk.fill()
    until(lambda: is_put_off(bench, made, exporter))
    export = bench.export(made)
    assert "No space left on device" in str(export.waits_for)
    assert str(disk.path) not in str(export.waits_for)
    assert export.retry_at is not None
    disk.make_room()
    until(lambda: is_made(bench, made, exporter))
    export = bench.export(made)
    assert (export.verdict, export.waits_for, export.retry_at) == ("identical", None, None)


def test_an_export_waits_for_room_on_the_disk_of_the_worker(
    disk: SmallDisk, settings: Settings, bench_with: Maker
) -> None:
    store = DirectoryStore(str(settings.data_dir / "artifacts"))
    bench = bench_with(store, data_dir=disk.path / "data")
    made = bench.order(bench.job(network()))
    exporter = bench.exporter()
    disk.fill()
    until(lambda: is_put_off(bench, made, exporter))
    assert "No space left on device" in str(bench.export(made).waits_for)
    disk.make_room()
    until(lambda: is_made(bench, made, exporter))


class Away(DirectoryStore):
    """A store that does not answer now and then."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.failing = ""

    def local(self, *arguments: Any, **more: Any) -> Path:
        self._answer("local")
        return super().local(*arguments, **more)

    def receive(self, source: Path) -> Incoming:
        self._answer("receive")
        return super().receive(source)

    def keep(self, *arguments: Any, **more: Any) -> str:
        self._answer("keep")
        return super().keep(*arguments, **more)

    def _answer(self, asked: str) -> None:
        if asked == self.failing:
            raise StoreError("the bucket does not answer")


@pytest.mark.parametrize("failing", ["local", "receive", "keep"])
def test_an_export_waits_for_a_store_that_does_not_answer(
    settings: Settings, bench_with: Maker, failing: str
) -> None:
    store = Away(str(settings.data_dir / "artifacts"))
    bench = bench_with(store)
    made, exporter = bench.order(bench.job(network())), bench.exporter()
    store.failing = failing
    until(lambda: is_put_off(bench, made, exporter))
    assert bench.export(made).waits_for == "the bucket does not answer"
    store.failing = ""
    until(lambda: is_made(bench, made, exporter))


def test_a_process_that_meets_a_full_disk_says_the_number(disk: SmallDisk, tmp_path: Path) -> None:
    network().save(tmp_path / "lif.safetensors")
    order = {"network": str(tmp_path / "lif.safetensors"), "directory": str(disk.path)}
    disk.fill()
    said = list(answered(order | {"target": "onnx", "options": {}, "dataset": None, "samples": 1}))
    assert said[-1]["failed"]["errno"] == errno.ENOSPC
