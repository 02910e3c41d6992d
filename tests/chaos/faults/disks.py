"""Faults of disks: no room.

Each function begins one and says whether there was something to break.
"""

from __future__ import annotations

from tests.chaos.faults.means import Means


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
