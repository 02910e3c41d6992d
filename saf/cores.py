"""Processor cores that this process may use, and the waiting of its threads.

Nothing here loads torch: its threads read the environment once, when they are loaded.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, MutableMapping
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")


def cores() -> int:
    """Cores that this process may use: those that it is bound to, and no more than the quota of its
    control group, a container's say, rounded down; at least one."""
    bound = _bound()
    quota = quota_of(Path("/proc/self/cgroup"), CGROUPS)
    return bound if quota is None else max(1, min(bound, int(quota)))


def prepare_threads(environment: MutableMapping[str, str]) -> None:
    """Let the threads of torch sleep while they wait, and be no more than the cores allowed.

    OpenMP's threads otherwise spin, for the next loop to come soon: two trainings on the same cores
    then take each other's time, tenfold for small networks. Nor do they know of quotas. What is set
    in `environment` stays as it is. In `os.environ` it is without effect once torch is loaded.
    """
    environment.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if (allowed := cores()) < _bound():
        environment.setdefault("OMP_NUM_THREADS", str(allowed))


def quota_of(groups: Path, mounted: Path) -> float | None:
    """The cores that control groups allow; None where nothing is set or known. `groups` names
    those of the process as `/proc/PID/cgroup` does, `mounted` is where their files are."""
    try:
        lines = groups.read_text().splitlines()
    except OSError:
        return None
    allowed = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            allowed += [_second(folder) for folder in _upwards(mounted, path)]
        elif "cpu" in controllers.split(","):
            for name in (controllers, "cpu"):
                allowed += [_first(folder) for folder in _upwards(mounted / name, path)]
    known = [cores for cores in allowed if cores is not None]
    return min(known, default=None)


def _bound() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _upwards(mounted: Path, path: str) -> Iterator[Path]:
    """The group's folder and all above: each may set a quota. In a container the upper ones may
    not be there, and its own is then the mounted one."""
    folder = mounted / path.strip("/")
    while folder != mounted and mounted in folder.parents:
        yield folder
        folder = folder.parent
    yield mounted


def _second(folder: Path) -> float | None:
    """Limit of control groups of version 2: `200000 100000`, or `max 100000`."""
    try:
        quota, period = (folder / "cpu.max").read_text().split()
        return None if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        return None


def _first(folder: Path) -> float | None:
    """Limit of version 1, where -1 means none."""
    try:
        quota = int((folder / "cpu.cfs_quota_us").read_text())
        return quota / int((folder / "cpu.cfs_period_us").read_text()) if quota > 0 else None
    except (OSError, ValueError, ZeroDivisionError):
        return None
