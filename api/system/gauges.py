"""Numbers of the whole service, as the database, the broker and the disks have them.

They are read by a thread, at most once in a while and one at a time, so that whoever asks is
answered soon, whatever is away. Numbers that cannot be had are left out; `saf_database_up` is 0.
"""

from __future__ import annotations

import logging
import shutil
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Generic, NamedTuple, TypeVar, get_args

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy import and_, func, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from api.broker.wakeups import broker_answers
from api.jobs.live import Streams
from api.settings import Settings
from api.store.database import clock, now
from api.store.tables.jobs import ACTIVE, WAITING, Job, Status
from api.store.tables.workers import Worker
from api.store.workers import is_alive
from api.system.disk_usage import Storage
from api.web.dependencies import Service
from api.workers.routes import REMEMBERED_SECONDS
from saf.errors import ErrorCode

WAIT_SECONDS = 2.0  # that a scrape waits for numbers
FRESH_SECONDS = 2.0  # so old numbers of the database are given again
FRESH_SECONDS_OF_SERVERS = 15.0  # and whether broker and store answer
HOSTS = 200  # with a label of their own; the others are added up as `other`
OTHER = "other"
T = TypeVar("T")
log = logging.getLogger(__name__)


class Reading(Generic[T]):
    """Something that is slow to ask: asked by one thread, remembered for a while."""

    def __init__(self, read: Callable[[], T], fresh_seconds: float) -> None:
        self._read = read
        self._fresh_seconds = fresh_seconds
        self._lock = threading.Lock()
        self._done: threading.Event | None = None
        self._value: T | None = None
        self._read_at = -float("inf")

    def get(self, wait_seconds: float = WAIT_SECONDS) -> T | None:
        """The value; None where it cannot be had within a moment."""
        with self._lock:
            if time.monotonic() - self._read_at <= self._fresh_seconds:
                return self._value
            if self._done is None:
                self._done = threading.Event()
                threading.Thread(target=self._run, args=(self._done,), daemon=True).start()
            done = self._done
        if not done.wait(wait_seconds):
            return None
        with self._lock:
            return self._value

    def _run(self, done: threading.Event) -> None:
        value: T | None = None
        try:
            value = self._read()
        except (SQLAlchemyError, OSError):
            pass  # said elsewhere, by what cannot work without
        except Exception:
            log.exception("numbers for Prometheus cannot be read")
        with self._lock:
            self._value, self._read_at, self._done = value, time.monotonic(), None
        done.set()


class Numbers(NamedTuple):
    """Numbers from the database at one moment."""

    jobs: Mapping[str, int]
    failed: Mapping[str, int]
    waited: float
    alive: int
    slots: int
    busy: int
    lost: int
    leases: int
    lapsed: int
    lease_age: float
    hosts: Mapping[str, Mapping[str, float]]
    gpus: Mapping[tuple[str, str], Mapping[str, float]]


class Gauges(Collector):
    """Asked whenever Prometheus asks."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._numbers = Reading(self._read, FRESH_SECONDS)
        self._broker = Reading(lambda: broker_answers(service.celery), FRESH_SECONDS_OF_SERVERS)
        self._store = Reading(self._store_answers, FRESH_SECONDS_OF_SERVERS)
        self._storage = Reading(service.part(Storage).use, FRESH_SECONDS)

    def describe(self) -> Iterable[Metric]:
        """Nothing: what there is depends on what answers."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """All of them, within some seconds."""
        deadline = time.monotonic() + WAIT_SECONDS

        def left() -> float:
            return max(0.0, deadline - time.monotonic())

        is_open = not self._service.opening.reason
        numbers = self._numbers.get(left()) if is_open else None
        yield _gauge("saf_database_up", "Whether the database answers.", numbers is not None)
        yield _gauge("saf_broker_up", "Whether the broker answers.", bool(self._broker.get(left())))
        yield _gauge(
            "saf_storage_up", "Whether artifacts can be written.", bool(self._store.get(left()))
        )
        yield _gauge(
            "saf_streams_watched",
            "Things that live streams of this process watch.",
            self._service.part(Streams).watched,
        )
        yield from self._disks(left() if is_open else None)
        if numbers is not None:
            yield from _of_jobs(numbers)
            yield from _of_workers(numbers)

    def _read(self) -> Numbers:
        with self._service.database.reading() as session:
            return read(session, self._service.settings)

    def _store_answers(self) -> bool:
        self._service.store.check()
        return True

    def _disks(self, wait_seconds: float | None) -> Iterator[Metric]:
        free = GaugeMetricFamily("saf_disk_free_bytes", "Room left on a disk.", labels=["place"])
        total = GaugeMetricFamily("saf_disk_bytes", "Size of that disk.", labels=["place"])
        kept = GaugeMetricFamily("saf_storage_bytes", "What the service keeps.", labels=["kind"])
        use = self._storage.get(wait_seconds) if wait_seconds is not None else None
        if use is not None:
            if use.free is not None and use.total is not None:
                free.add_metric(["artifacts"], use.free)
                total.add_metric(["artifacts"], use.total)
            for kind in ("database", "artifacts", "work", "copies"):
                if (size := getattr(use, kind)) is not None:
                    kept.add_metric([kind], size)
        try:
            data = shutil.disk_usage(self._service.settings.data_dir)
        except OSError:
            pass
        else:
            free.add_metric(["data"], data.free)
            total.add_metric(["data"], data.total)
        yield from (free, total, kept)


def read(session: Session, settings: Settings) -> Numbers:
    """A few queries, whatever the number of jobs that run."""
    counted = select(Job.status, func.count().label("number")).group_by(Job.status)
    jobs = {row.status: int(row.number) for row in session.execute(counted)}
    code = Job.error["code"].as_string()
    failures = select(code, func.count()).where(Job.status == Status.failed).group_by(code)
    failed = dict.fromkeys([*get_args(ErrorCode), OTHER], 0)
    for name, number in session.execute(failures):
        failed[name if name in failed else OTHER] += int(number)
    oldest = session.scalar(select(func.min(Job.queued_at)).where(Job.status.in_(WAITING)))
    at = clock(session)
    leases, heard = session.execute(
        select(func.count(), func.min(Job.heartbeat_at)).where(Job.status.in_(ACTIVE))
    ).one()
    lapsed = session.scalar(
        select(func.count()).where(Job.status.in_(ACTIVE), Job.lease_until < now())
    )
    alive = is_alive(settings)
    lost = session.scalar(
        select(func.count()).where(
            and_(Worker.stopped_at.is_(None), Worker.seen_at > now() - REMEMBERED_SECONDS), ~alive
        )
    )
    rows = session.execute(
        select(Worker.host, Worker.slots, Worker.busy, Worker.seen_at, Worker.measures)
        .where(alive)
        .order_by(Worker.host)
    ).all()
    hosts, gpus = _by_host(rows, at)
    return Numbers(
        jobs=jobs,
        failed=failed,
        waited=0.0 if oldest is None else max(0.0, at - oldest),
        alive=len(rows),
        slots=sum(row.slots for row in rows),
        busy=sum(row.busy for row in rows),
        lost=int(lost or 0),
        leases=int(leases),
        lapsed=int(lapsed or 0),
        lease_age=max(0.0, at - heard) if heard is not None else 0.0,
        hosts=hosts,
        gpus=gpus,
    )


def _by_host(
    rows: Iterable[Any], at: float
) -> tuple[dict[str, dict[str, float]], dict[tuple[str, str], dict[str, float]]]:
    """Numbers of workers, added up for each host, and of each host's GPUs."""
    hosts: dict[str, dict[str, float]] = {}
    gpus: dict[tuple[str, str], dict[str, float]] = {}
    for row in rows:
        host = row.host if row.host in hosts or len(hosts) < HOSTS else OTHER
        found = hosts.setdefault(host, defaultdict(float))
        measures = row.measures or {}
        found["slots"] += row.slots
        found["busy"] += row.busy
        found["silent"] = max(found["silent"], at - row.seen_at)
        for name in ("outbox_bytes", "stalls", "memory_bytes"):
            found[name] += _number(measures.get(name)) or 0.0
        for name in ("disk_free_bytes", "disk_bytes"):  # one disk for all workers of a host
            if (value := _number(measures.get(name))) is not None:
                found[name] = value
        for gpu in (measures.get("gpus") or [])[:64] if host != OTHER else ():
            values = {name: _number(value) for name, value in gpu.items() if name != "index"}
            gpus[host, str(gpu.get("index", ""))[:16]] = {
                name: value for name, value in values.items() if value is not None
            }
    return hosts, gpus


def _of_jobs(numbers: Numbers) -> Iterator[Metric]:
    jobs = {str(status): numbers.jobs.get(status, 0) for status in Status}
    yield _labelled("saf_jobs", "Jobs by status.", "status", jobs)
    yield _labelled("saf_jobs_failed", "Jobs that failed, by code.", "code", numbers.failed)
    waiting = sum(numbers.jobs.get(status, 0) for status in WAITING)
    yield _gauge("saf_queue_depth", "Jobs that wait for a worker.", waiting)
    yield _gauge(
        "saf_queue_oldest_seconds",
        "How long the first of them has waited.",
        round(numbers.waited, 3),
    )
    yield _gauge("saf_leases", "Jobs that workers hold.", numbers.leases)
    yield _gauge(
        "saf_leases_lapsed",
        "Those of them whose lease has run out in the database.",
        numbers.lapsed,
    )
    yield _gauge(
        "saf_lease_oldest_seconds",
        "The longest time since a held job's worker renewed its lease.",
        round(numbers.lease_age, 3),
    )


def _of_workers(numbers: Numbers) -> Iterator[Metric]:
    yield _gauge("saf_workers_alive", "Workers that were seen lately.", numbers.alive)
    yield _gauge(
        "saf_workers_lost", "Workers of the last day that vanished without a word.", numbers.lost
    )
    yield _gauge("saf_slots", "Slots of the workers that live.", numbers.slots)
    yield _gauge("saf_slots_busy", "Slots that train a job.", numbers.busy)
    for name, measure, text in (
        ("saf_worker_slots", "slots", "Slots of a host's workers."),
        ("saf_worker_slots_busy", "busy", "Those of them that train."),
        ("saf_worker_silent_seconds", "silent", "Time since the last heartbeat."),
        ("saf_worker_outbox_bytes", "outbox_bytes", "Reports that the database does not have yet."),
        ("saf_worker_memory_bytes", "memory_bytes", "Resident memory without the trainings."),
        ("saf_worker_disk_free_bytes", "disk_free_bytes", "Room left for trainings' files."),
        ("saf_worker_disk_bytes", "disk_bytes", "Size of that disk."),
    ):
        values = {host: of[measure] for host, of in numbers.hosts.items() if measure in of}
        yield _labelled(name, text, "host", values)
    stalls = CounterMetricFamily(
        "saf_worker_stalls", "Trainings that made no progress and were ended.", labels=["host"]
    )
    for host, of in numbers.hosts.items():
        stalls.add_metric([host], of["stalls"])
    yield stalls
    for name, measure, text in (
        ("saf_gpu_use_ratio", "use", "Share of the time in which a GPU computed, 0 to 1."),
        ("saf_gpu_memory_used_bytes", "memory_used_bytes", "Memory in use on a GPU."),
        ("saf_gpu_memory_bytes", "memory_bytes", "Memory of a GPU."),
    ):
        family = GaugeMetricFamily(name, text, labels=["host", "gpu"])
        for labels, of in numbers.gpus.items():
            if measure in of:
                family.add_metric(list(labels), of[measure])
        yield family


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=float(value))


def _labelled(name: str, text: str, label: str, values: Mapping[str, float]) -> Metric:
    family = GaugeMetricFamily(name, text, labels=[label])
    for each, value in values.items():
        family.add_metric([each], float(value))
    return family


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None
