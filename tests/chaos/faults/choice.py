"""The faults that a run chooses from, by its seed.

All of it happens in the main thread: processes die with the thread that started them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from tests.chaos.cluster import Kind
from tests.chaos.faults import database as database_faults
from tests.chaos.faults import disks as disk_faults
from tests.chaos.faults import files as file_faults
from tests.chaos.faults import processes as process_faults
from tests.chaos.faults import servers as server_faults
from tests.chaos.faults.means import Means

OUTAGES = frozenset(
    {
        "restart the database",
        "keep the database away",
        "lock the database",
        "cut everybody off the database",
        "cut the API off the database",
        "restart the broker",
        "keep the broker away",
        "empty the broker",
        "remove the broker's socket",
        "cut a process off the broker",
        "repeat messages",
        "sweep twice at once",
    }
)
"""While nothing else is broken, every worker keeps its jobs."""

AT_REST = frozenset(
    {
        "damage a checkpoint",
        "damage an artifact",
        "damage a copy",
        "damage a data set",
        "remove the broker's socket",
        "remove the database",
        "replace the database",
        "hang a training",
    }
)
"""What is damaged, removed or stands still without a process that ends."""


@dataclass(frozen=True, kw_only=True)
class Fault:
    """A kind of fault."""

    weight: float
    begin: Callable[[Means], bool]  # False: there was nothing to break
    only: Kind | None = None
    needs_bucket: bool = False


KNOWN = {
    "kill a training": Fault(weight=5, begin=process_faults.kill_training),
    "kill a worker": Fault(weight=5, begin=process_faults.kill_worker),
    "kill a machine": Fault(weight=3, begin=process_faults.kill_machine),
    "kill the API": Fault(weight=3, begin=process_faults.kill_api),
    "stop a worker beyond its lease": Fault(weight=4, begin=process_faults.zombie),
    "stop a worker for a moment": Fault(weight=2, begin=process_faults.nap),
    "stop a training for a moment": Fault(weight=2, begin=process_faults.stop_training),
    "terminate a worker": Fault(weight=4, begin=process_faults.terminate),
    "restart the broker": Fault(weight=3, begin=server_faults.restart_broker),
    "keep the broker away": Fault(weight=2.5, begin=server_faults.broker_away),
    "empty the broker": Fault(weight=2, begin=server_faults.empty_broker),
    "restart the database": Fault(
        weight=3, begin=server_faults.restart_database, only="postgresql"
    ),
    "keep the database away": Fault(
        weight=2.5, begin=server_faults.database_away, only="postgresql"
    ),
    "lock the database": Fault(weight=3, begin=server_faults.lock_database, only="sqlite"),
    "cut a worker off the database": Fault(
        weight=4, begin=server_faults.cut_database, only="postgresql"
    ),
    "cut a worker off everything": Fault(weight=3, begin=server_faults.cut_both, only="postgresql"),
    "cut everybody off the database": Fault(
        weight=2.5, begin=server_faults.cut_all, only="postgresql"
    ),
    "cut the API off the database": Fault(weight=2, begin=server_faults.cut_api, only="postgresql"),
    "cut a process off the broker": Fault(weight=3, begin=server_faults.cut_broker),
    "fill a worker's disk": Fault(weight=2.5, begin=disk_faults.fill_worker),
    "fill the artifact store": Fault(weight=2, begin=disk_faults.fill_store),
    "damage a checkpoint": Fault(weight=3, begin=file_faults.damage_checkpoint),
    "damage an artifact": Fault(weight=3, begin=file_faults.damage_artifact),
    "damage a copy": Fault(weight=4, begin=file_faults.damage_copy, needs_bucket=True),
    "damage a data set": Fault(weight=3, begin=file_faults.damage_dataset),
    "remove the broker's socket": Fault(weight=3, begin=server_faults.remove_socket),
    "remove the database": Fault(weight=3, begin=database_faults.remove_database),
    "replace the database": Fault(weight=2, begin=database_faults.replace_database),
    "hang a training": Fault(weight=4, begin=process_faults.hang_training),
    "repeat messages": Fault(weight=2.5, begin=server_faults.repeat_messages),
    "sweep twice at once": Fault(weight=2, begin=server_faults.sweep_twice),
}


class Faults:
    """Chooses, breaks, counts."""

    def __init__(self, means: Means, only: tuple[str, ...] = ()) -> None:
        """Take the list, or `only` some of it, without what this machine does not permit."""
        self._means = means
        self._are_named = bool(only)
        self.injected: Counter[str] = Counter()
        self.left_out: dict[str, str] = {}  # kind → why it cannot be done here
        self._faults = {
            name: fault
            for name, fault in KNOWN.items()
            if fault.only in (None, means.cluster.kind) and (not only or name in only)
        }
        if means.cluster.s3 is None:
            self._faults = {n: fault for n, fault in self._faults.items() if not fault.needs_bucket}
        elif self._faults.pop("fill the artifact store", None) is not None:
            self.left_out["fill the artifact store"] = "it is a bucket"
        if not means.cluster.disks:
            for name in ("fill a worker's disk", "fill the artifact store"):
                self._faults.pop(name, None)
                self.left_out[name] = "no small disk can be mounted here"

    @property
    def kinds(self) -> list[str]:
        """All that may be chosen."""
        return list(self._faults)

    def inject(self, kind: str | None = None) -> bool:
        """Break something; whether there was something to break."""
        if kind is None:
            rarest = [name for name in self._faults if not self.injected[name]]
            # A short run sees many kinds, one of kinds that are named all of them.
            if rarest and (self._are_named or self._means.choose.random() < 0.5):
                kind = self._means.choose.choice(rarest)
            else:
                weights = [fault.weight for fault in self._faults.values()]
                (kind,) = self._means.choose.choices(list(self._faults), weights=weights)
        if not self._faults[kind].begin(self._means):
            return False
        self.injected[kind] += 1
        if kind not in OUTAGES:
            self._means.memory.workers_could_vanish = True
        return True

    def jitter(self) -> float:
        """A factor around 1 for the time to the next fault."""
        return self._means.choose.uniform(0.4, 1.6)
