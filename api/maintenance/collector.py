"""Takes away what may go: in the database, the artifact store, this machine's data directory."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Iterator

from sqlalchemy.exc import SQLAlchemyError

from api.maintenance.leftovers import Leftovers
from api.maintenance.orphans import Garbage
from api.maintenance.retention import Retention
from api.maintenance.space import Space
from api.settings import Settings
from api.store.blobs.base import ArtifactStore, Item, in_short
from api.store.database import Database

FIRST_SECONDS = 60.0  # a service that is started again and again clears up too
HOUR = 3600.0
log = logging.getLogger(__name__)


class Janitor:
    """Garbage collection (`saf gc`), and a thread that runs it every few hours."""

    def __init__(
        self,
        database: Database,
        store: ArtifactStore,
        settings: Settings,
        *,
        whole_database: bool = False,
    ) -> None:
        """`whole_database`: a SQLite file that can only be made smaller as a whole may be, for
        which others wait with their writing."""
        self._database = database
        self._settings = settings
        self._space = Space(database, whole=whole_database)
        grace = settings.gc_grace_hours * HOUR
        self._retention = Retention(database, store, settings)
        self._garbage = Garbage(database, store, grace)
        kept = 3600 * settings.upload_kept_hours
        self._leftovers = Leftovers(database, settings.data_dir.absolute(), grace, kept)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="janitor", daemon=True)

    def find(self) -> Iterator[Item]:
        """Everything that may go, and nothing else is touched. Old rows come first: what they
        alone refer to goes with them. Raises what the database raises, and OSError."""
        yield from self._retention.find()
        yield from self._garbage.find()
        yield from self._leftovers.find()
        yield from self._space.find()

    def collect(self) -> Counter[str]:
        """Remove all of it; the bytes of each kind. Raises as `find`."""
        freed: Counter[str] = Counter()
        for item in self.find():
            if self._stop.is_set():
                break
            if item.remove():
                freed[item.kind] += item.bytes
        return freed

    def start(self) -> None:
        """Begin, unless the settings say that only `saf gc` collects."""
        if self._settings.gc_hours:
            self._thread.start()

    def stop(self) -> None:
        """End the thread, and wait for the removal that is under way."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        pause = self._settings.gc_hours * HOUR
        wait = min(FIRST_SECONDS, pause)
        while not self._stop.wait(wait):
            wait = pause
            try:
                if freed := self.collect():
                    kinds = ", ".join(f"{kind} {size}" for kind, size in sorted(freed.items()))
                    log.info("removed what was no longer kept, in bytes: %s", kinds)
            except (SQLAlchemyError, OSError) as error:
                log.warning("not all could be cleared up: %s", in_short(error))
