"""The runner of a worker, apart from Celery: its slots, and the loop that claims jobs for them."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

from sqlalchemy.exc import SQLAlchemyError

from api.settings import Settings
from api.store.blobs.damage import DamageRecord
from api.store.blobs.open import open_store
from api.store.database import Database, why_away
from api.store.ids import new_id
from api.store.jobs import lifecycle
from api.store.jobs.leases import Claim
from api.store.jobs.sweeper import Sweeper
from api.store.migrate import NewerDatabaseError, refuse_newer
from api.store.workers import Drain
from api.telemetry.tracing import Tracing, open_tracing
from worker import devices
from worker.attempts.supervisor import Supervisor
from worker.backoff import Backoff
from worker.devices import Slot
from worker.exports.exporter import Exporter
from worker.heartbeat import Presence
from worker.measures import Measures
from worker.processes.process import TRAINING
from worker.processes.reserve import Reserve
from worker.processes.scratch import Scratch

log = logging.getLogger(__name__)


class Runner:
    """Claims and supervises jobs, in as many threads as there are slots."""

    def __init__(
        self,
        settings: Settings,
        send_wakeup: Callable[[str], None],
        *,
        command: Sequence[str] = TRAINING,
        leave: Callable[[], None] | None = None,
        tracing: Tracing | None = None,
    ) -> None:
        """`send_wakeup(job_id)` wakes all workers up; `leave` ends the process of a worker that
        was drained, by default only `close`; `tracing` takes the place of what the settings say.
        Raises OSError, ValueError.
        """
        self._tracing = tracing or open_tracing(settings, "saf-worker")
        self.id = new_id("worker")
        self.slots = devices.slots(
            wanted=settings.worker_slots,
            environment=os.environ,
            threads=settings.worker_threads,
        )
        self._settings = settings
        self._send_wakeup = send_wakeup
        self._database = Database(
            settings.database, connections=settings.worker_database_connections
        )
        self.store = open_store(settings)
        self.store.damaged = DamageRecord(self._database).found
        self._scratch = Scratch(settings.data_dir, self.id)
        self._reserves = {
            slot.number: Reserve(
                command,
                slot.environment,
                self._scratch.directory,
                ahead=settings.warm_processes,
            )
            for slot in self.slots
        }
        self._free = list(self.slots)
        self._training = 0
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._finishing = threading.Event()
        self._leave = leave or self.close
        self._stopped = False
        self._supervisors: list[Supervisor] = []
        self._stalls = 0  # of supervisors that are done
        self._measures = Measures(
            settings.data_dir,
            gpus={
                slot.environment["CUDA_VISIBLE_DEVICES"]
                for slot in self.slots
                if slot.device == "cuda"
            },
            outbox_bytes=self._outbox_bytes,
            stalls=self._count_stalls,
        )
        self._presence = Presence(
            self._database,
            settings,
            worker_id=self.id,
            devices=[slot.label for slot in self.slots],
            busy=self.busy,
            drain=self.drain,
            measures=self._measures.now,
        )
        self._sweeper = Sweeper(self._database, settings, send_wakeup)
        self.exporter = Exporter(self._database, self.store, settings, self._scratch, self.id)

    def start(self) -> None:
        """Clean up after dead workers, register, start the sweeper, and claim queued jobs once."""
        self._scratch.clear_leftovers()
        self._measures.start()
        self._presence.start()
        self._sweeper.start()
        self.exporter.start()
        for reserve in self._reserves.values():
            reserve.start()
        for _ in self.slots:
            self._send_wakeup(self.id)

    def check_database(self) -> None:
        """Raise NewerDatabaseError for tables of a newer version; wait for older ones to be
        migrated."""
        with suppress(SQLAlchemyError):
            refuse_newer(self._database)

    def busy(self) -> int:
        """Number of slots that train."""
        with self._lock:
            return self._training

    def work(self) -> None:
        """Claim and supervise jobs until none is queued: the answer to a wake-up."""
        self.exporter.wake()
        slot = self._take_slot()
        if slot is None:  # all are in this loop already and look again when they are done
            return
        supervisor = Supervisor(
            database=self._database,
            store=self.store,
            settings=self._settings,
            scratch=self._scratch,
            slot=slot,
            closing=self._closing,
            reserve=self._reserves[slot.number],
            tracing=self._tracing,
        )
        with self._lock:
            self._supervisors.append(supervisor)
        try:
            while (claim := self._claim(slot)) is not None:
                log.info("attempt %d of %s on %s", claim.attempt, claim.job_id, slot.label)
                self._count(1)
                try:
                    supervisor.run(claim)
                finally:
                    self._count(-1)
        finally:
            with self._lock:
                self._supervisors.remove(supervisor)
                self._stalls += supervisor.stalls
                self._free.append(slot)

    def close(self) -> None:
        """Claim no more jobs; running ones write a checkpoint and are handed back. Never blocks."""
        self._closing.set()
        self.exporter.close()
        self._close_reserves()

    def drain(self, how: Drain) -> None:
        """Claim no more jobs and end: at once, or when nothing trains any more. Never blocks."""
        if self._closing.is_set():
            return
        if not self._finishing.is_set():
            log.info("drained: takes no more jobs (%s)", how)
            self._finishing.set()
            self.exporter.close()
            self._close_reserves()
        if how is Drain.hand_back or self.busy() == 0:
            self._closing.set()
            self._leave()

    def stop(self) -> None:
        """Wait for every `work` to end, unregister, and clean up."""
        with self._lock:
            if self._stopped:
                return
            self._stopped = True
        self._closing.set()
        self.exporter.stop()
        # Celery does not wait for its threads when it shuts down cold.
        while len(self._free) < len(self.slots):
            time.sleep(0.05)
        for reserve in self._reserves.values():
            reserve.stop()
        self._sweeper.stop()
        self._presence.stop()
        self._measures.stop()
        self._tracing.close()
        self._scratch.remove()
        self._database.dispose()

    def _close_reserves(self) -> None:
        for reserve in self._reserves.values():
            reserve.close()

    def _count(self, more: int) -> None:
        with self._lock:
            self._training += more
        self._presence.changed()

    def _outbox_bytes(self) -> int:
        with self._lock:
            outboxes = [supervisor.outbox for supervisor in self._supervisors]
        return sum(outbox.waiting_bytes() for outbox in outboxes if outbox is not None)

    def _count_stalls(self) -> int:
        with self._lock:
            return self._stalls + sum(supervisor.stalls for supervisor in self._supervisors)

    def _take_slot(self) -> Slot | None:
        with self._lock:
            return self._free.pop(0) if self._free else None

    def _claim(self, slot: Slot) -> Claim | None:
        """Claim the job that is first in the queue; waits for a database that is away."""
        backoff = Backoff()
        away = False
        while not (self._closing.is_set() or self._finishing.is_set()):
            try:
                refuse_newer(self._database)
                with self._database.writing() as session:
                    return lifecycle.claim(
                        session,
                        worker_id=self.id,
                        device=slot.label,
                        lease_seconds=self._settings.lease_seconds,
                    )
            except NewerDatabaseError as error:
                log.error("this worker takes no more jobs: %s", error)
                self.drain(Drain.finish)
            except SQLAlchemyError as error:  # also tables that a migration is about to make
                if not away:
                    log.warning("no job can be claimed: %s", why_away(error))
                away = True
                self._closing.wait(backoff.wait_seconds())
        return None
