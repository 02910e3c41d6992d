"""One run: a cluster, its clients and its faults, until everything has ended and was checked."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from sqlalchemy import select

from api.maintenance.orphans import Garbage
from api.store.blobs.open import open_store
from api.store.tables.jobs import TERMINAL, Job
from api.store.tables.results import Artifact, Event
from tests.chaos import undisturbed
from tests.chaos.checks import invariants
from tests.chaos.checks.invariants import Remains
from tests.chaos.clients import Clients
from tests.chaos.cluster import ROOT, Cluster, Kind, Times
from tests.chaos.faults.choice import Faults
from tests.chaos.faults.means import Means
from tests.chaos.memory import Memory
from tests.chaos.observer import Observer
from tests.chaos.recipes import SLOTS
from tests.chaos.report import Report, recovery

TICK_SECONDS = 0.03
MOST_AT_ONCE = 2  # faults that are not overcome yet
LONGEST_WAIT = 12.0  # between two faults
PATIENCE_SECONDS = 600.0  # for everything to end once nothing is broken any more


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How much of what."""

    jobs: int
    faults: int
    seed: int
    database: Kind
    workers: int = 2
    epochs: int = 10
    pace_ms: int = 40
    fault_seconds: float = 4.0  # between two faults
    disks: bool = True
    bucket: bool = False  # artifacts lie in one
    kinds: tuple[str, ...] = ()  # only faults of these; none: of all
    times: Times = field(default_factory=Times)


def run(plan: Plan, directory: Path, *, say: bool = False) -> Report:
    """Do it below `directory`, and check what is left."""
    report = Report(
        database=plan.database + (", bucket" if plan.bucket else ""),
        seed=plan.seed,
        workers=plan.workers,
        lease_seconds=plan.times.lease_seconds,
    )
    directory.mkdir(parents=True)
    reference = _undisturbed(plan.epochs, plan.pace_ms)
    cluster = Cluster(
        directory,
        plan.database,
        workers=plan.workers,
        times=plan.times,
        disks=plan.disks,
        bucket=plan.bucket,
    )
    memory = Memory()
    began = time.monotonic()
    try:
        cluster.start()
        observer = Observer(
            database=cluster.database, memory=memory, machines=directory / "machines"
        )
        _storm(plan, cluster, memory, observer, report, say=say)
        for problem in cluster.stop():
            memory.violated("does not end", problem, "")
        report.seconds = time.monotonic() - began
        remains = Remains(
            database=cluster.database,
            artifacts=cluster.artifacts,
            machines=directory / "machines",
            evidence=cluster.evidence,
            memory=memory,
            undisturbed=reference,
        )
        report.swept = _collect_garbage(cluster)
        report.violations = sorted(memory.violations) + invariants.check(remains)
        _count(cluster, memory, report)
        if report.violations:
            _keep(cluster)
    finally:
        cluster.close()
        cluster.unmount()
    return report


def _storm(
    plan: Plan,
    cluster: Cluster,
    memory: Memory,
    observer: Observer,
    report: Report,
    *,
    say: bool,
) -> None:
    def wants_more() -> bool:
        return len(memory.accepted) < plan.jobs or sum(faults.injected.values()) < plan.faults

    clients = Clients(
        cluster.url,
        memory,
        observer,
        seed=plan.seed,
        epochs=plan.epochs,
        pace_ms=plan.pace_ms,
        waiting=SLOTS * plan.workers + 1,
        wants_more=wants_more,
    )
    means = Means(
        cluster=cluster, observer=observer, memory=memory, clients=clients, seed=plan.seed
    )
    faults = Faults(means, plan.kinds)
    clients.start()
    next_fault = time.monotonic() + plan.fault_seconds
    at_last = time.monotonic() + LONGEST_WAIT
    said = time.monotonic()
    while wants_more():
        cluster.tend()
        means.heal()
        observer.look()
        is_time = time.monotonic() >= next_fault
        # On a slow machine faults wait for each other, or no job would ever get anywhere.
        is_able = observer.not_overcome() < MOST_AT_ONCE or time.monotonic() >= at_last
        if is_time and is_able and sum(faults.injected.values()) < plan.faults:
            next_fault = time.monotonic() + plan.fault_seconds * faults.jitter()
            at_last = time.monotonic() + LONGEST_WAIT
            faults.inject()
        if say and time.monotonic() > said + 10:
            said = time.monotonic()
            injected = sum(faults.injected.values())
            counted = Counter(look.status for look in observer.looks.values())
            print(
                f"{plan.database}: {injected} faults, jobs {dict(counted)}, "
                f"{len(memory.violations)} violations",
                flush=True,
            )
        time.sleep(TICK_SECONDS)
    means.heal(all_=True)
    deadline = time.monotonic() + PATIENCE_SECONDS
    clients.stop()
    while time.monotonic() < deadline and (clients.are_busy() or observer.not_ended()):
        cluster.tend()
        observer.look()
        clients.resume_all()
        time.sleep(TICK_SECONDS)
    observer.look()
    means.close()
    clients.close()
    report.left_out = faults.left_out
    for kind in faults.kinds:
        watches = [watch for watch in observer.watches if watch.kind == kind]
        seconds = [watch.seconds for watch in watches if watch.seconds is not None]
        missed = faults.injected[kind] - len(seconds)
        report.faults.append(recovery(kind, faults.injected[kind], seconds, max(0, missed)))


def _count(cluster: Cluster, memory: Memory, report: Report) -> None:
    with cluster.database.reading() as session:
        jobs = session.execute(select(Job.status, Job.attempt)).all()
        events = session.scalars(select(Event.type).where(Event.type == "stalled")).all()
    report.stalled = len(events)
    report.jobs = dict(Counter(str(job.status) for job in jobs))
    report.attempts = sum(job.attempt for job in jobs)
    report.most_attempts = max((job.attempt for job in jobs), default=0)
    report.deleted = len(memory.jobs()) - len([job for job in jobs if job.status in TERMINAL])
    report.requests = dict(memory.requests)
    report.answers = {str(status): count for status, count in memory.answers.items()}
    report.unanswered = memory.unanswered


def _collect_garbage(cluster: Cluster) -> int:
    """What `saf gc` does: processes that were killed left files behind. Returns how many."""
    garbage = Garbage(cluster.database, open_store(cluster.settings()), grace_seconds=0.0)
    count = sum(item.remove() for item in garbage.find())
    cluster.fetch_artifacts()
    return count


def _keep(cluster: Cluster) -> None:
    """Save what goes with the servers and the small disks: the rows, and the files of the jobs."""
    with cluster.database.reading() as session:
        for table in (Job, Event, Artifact):
            rows = [
                {column.name: getattr(row, column.name) for column in table.__table__.columns}
                for row in session.scalars(select(table))
            ]
            kept = cluster.directory / f"{table.__tablename__}.json"
            kept.write_text(json.dumps(rows, indent=1))
    shutil.copytree(cluster.artifacts, cluster.directory / "kept artifacts")


@cache
def _undisturbed(epochs: int, pace_ms: int) -> dict[str, undisturbed.Undisturbed]:
    with tempfile.TemporaryDirectory() as directory:
        out = Path(directory) / "undisturbed.json"
        subprocess.run(
            [
                *(sys.executable, "-P", "-m", "tests.chaos.undisturbed"),
                *(str(epochs), str(pace_ms), str(out)),
            ],
            check=True,
            cwd=ROOT,
            env=undisturbed.environment(),
        )
        return undisturbed.read(out)
