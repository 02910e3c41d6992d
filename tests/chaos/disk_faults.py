"""Faults of disks and of what lies on them.

Each function begins one and says whether there was something to break.
"""

from __future__ import annotations

import os
import signal

from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from api.store.directory import DirectoryStore
from api.store.tables import Checkpoint
from tests.chaos.means import Means, send


def fill_worker(means: Means) -> bool:
    names = sorted({machine.name for machine in means.cluster.machines.values()})
    return _fill(means, "fill a worker's disk", means.choose.choice(names))


def fill_store(means: Means) -> bool:
    return _fill(means, "fill the artifact store", means.cluster.artifacts.name)


def _fill(means: Means, kind: str, name: str) -> bool:
    if not means.is_free(f"disk {name}"):
        return False
    disk = means.cluster.disks[name]
    means.memory.disk_was_full = True
    jobs = means.jobs_of(
        *(
            worker
            for worker in means.cluster.workers
            if disk.directory in (worker.machine, means.cluster.artifacts)
        )
    )
    watch = means.watch(kind, jobs)
    disk.fill()
    return means.last(watch, f"disk {name}", means.choose.uniform(1.0, 4.0), disk.empty)


def damage_checkpoint(means: Means) -> bool:
    """Change a byte of the newest checkpoint of a job that trains, and kill its training."""
    if (training := means.a_training()) is None:
        return False
    try:
        with means.cluster.database.reading() as session:
            sha256 = session.scalars(
                select(Checkpoint.sha256)
                .where(Checkpoint.job_id == training.job_id)
                .order_by(Checkpoint.step.desc())
                .limit(1)
            ).one_or_none()
    except SQLAlchemyError:
        return False
    if sha256 is None:
        return False
    with means.memory.lock:
        means.memory.damaged.add(sha256)
    try:
        with DirectoryStore(str(means.cluster.artifacts)).path(sha256).open("r+b") as file:
            file.seek(-1, os.SEEK_END)
            byte = file.read(1)[0]
            file.seek(-1, os.SEEK_END)
            file.write(bytes([byte ^ 1]))
    except FileNotFoundError:  # a newer one has come
        return False
    means.watch("damage a checkpoint", means.jobs_named(training.job_id))
    return send(training.pid, signal.SIGKILL)
