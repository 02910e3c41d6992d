"""Whether a server's word that a lease ran out can be believed.

A lease that ran out says that a worker is gone only if the worker could have renewed it. So nothing
is believed before workers had the time of one lease to do so: after the server was away, after it
started, and when its clock went another way than this machine's.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

log = logging.getLogger(__name__)


class Trust:
    """Whether leases that ran out can be believed."""

    def __init__(
        self,
        lease_seconds: float,
        server: str = "the database",
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`server` is its name in the log, `monotonic` a clock that nobody sets."""
        self._lease_seconds = lease_seconds
        self._server = server
        self._monotonic = monotonic
        self._was_away = False
        self._again_at: float | None = None  # by `monotonic`
        self._offset: float | None = None  # of the server's clock to `monotonic`

    def withdraw(self) -> None:
        """The server is away, or another one: workers get the time of a lease once it answers."""
        self._was_away = True

    def in_leases(self, at: float, started_at: float | None) -> bool:
        """Whether to believe them at the time `at` of the server's clock.

        `started_at`, when the server started, is by the same clock, None where there is no server.
        """
        here = self._monotonic()
        before, self._offset = self._offset, at - here
        # A smaller jump ends no lease that is renewed in time.
        jumped = before is not None and abs(self._offset - before) > self._lease_seconds / 4
        if jumped or self._was_away:
            self._was_away = False
            self._again_at = here + self._lease_seconds
            log.warning(
                "%s %s; no job is recovered for %g s, so that workers can renew their leases",
                self._server,
                "had its clock set" if jumped else "was away",
                self._lease_seconds,
            )
        since_start = self._lease_seconds
        if started_at is not None:
            since_start = abs(at - started_at)
        waited = self._again_at is None or here >= self._again_at
        return waited and since_start >= self._lease_seconds
