"""Requests within a minute: of a user, whatever their keys; of an address where nobody is known.

They are counted in the broker, for all processes of the API together, and in this process alone
while the broker is away: it closes nothing.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from typing import TypeVar

from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage, RedisStorage
from limits.strategies import SlidingWindowCounterRateLimiter

from api.broker.held import plain_url
from api.errors import Met, TooManyError
from api.settings import Settings
from api.web.caller import Caller

ANSWER_SECONDS = 0.5  # that a request waits for the broker
AWAY_SECONDS = 10.0  # after which a broker that did not answer is asked again
PREFIX = "saf-requests"  # of the keys in the broker
T = TypeVar("T")
log = logging.getLogger(__name__)


class RequestLimits:
    """Those of this process, and of the others through the broker."""

    def __init__(self, settings: Settings) -> None:
        """The broker is not asked yet."""
        self._of_unknown = settings.requests_per_minute_unknown
        self._own = SlidingWindowCounterRateLimiter(MemoryStorage())
        self._shared = _shared(settings.broker_url)
        self._away_until = 0.0

    def check_user(self, caller: Caller) -> None:
        """Count a request of a user, or raise TooManyError."""
        most = int(caller.viewer.limits.get("requests", 0))
        if most and not self._hit(most, caller.viewer.user_id):
            name = caller.name
            raise self._too_many(
                most,
                caller.viewer.user_id,
                f"{most} requests within a minute are the most for {name}; wait, or set saf users "
                f"limit {name} --requests, by an admin of the service",
                name,
            )

    def check_unknown(self, address: str) -> None:
        """The same of an address from which somebody sends no key, or one that opens nothing, or
        tries to sign in."""
        most = self._of_unknown
        if most and not self._hit(most, address):
            raise self._too_many(
                most,
                address,
                f"{most} requests of somebody unknown within a minute are the most for one "
                "address; wait, send a key that opens, or set SAF_REQUESTS_PER_MINUTE_UNKNOWN on "
                "the server",
            )

    def used(self, caller_id: str, most: float) -> int:
        """Requests of a user within the last minute, where they are counted."""
        item = RateLimitItemPerMinute(int(most)) if most else None
        if item is None:
            return 0
        left = self._ask(lambda limiter: limiter.get_window_stats(item, caller_id).remaining)
        return int(most) - left

    def _hit(self, most: int, who: str) -> bool:
        item = RateLimitItemPerMinute(most)
        return self._ask(lambda limiter: limiter.hit(item, who))

    def _too_many(self, most: int, who: str, detail: str, name: str = "") -> TooManyError:
        item = RateLimitItemPerMinute(most)
        stats = self._ask(lambda limiter: limiter.get_window_stats(item, who))
        seconds = min(60, max(1, math.ceil(stats.reset_time - time.time())))
        return TooManyError(
            detail,
            retry_after=seconds,
            limit=Met("requests", name, most, most - stats.remaining) if name else None,
            headers={
                "RateLimit-Policy": f'"requests";q={most};w=60',
                "RateLimit": f'"requests";r={stats.remaining};t={seconds}',
            },
        )

    def _ask(self, ask: Callable[[SlidingWindowCounterRateLimiter], T]) -> T:
        if self._shared is not None and time.monotonic() >= self._away_until:
            try:
                return ask(self._shared)
            except Exception as error:  # whatever it is, nobody is shut out for it
                self._away_until = time.monotonic() + AWAY_SECONDS
                log.warning(
                    "the broker does not count requests, this process does for %g s: %r",
                    *(AWAY_SECONDS, getattr(error, "storage_error", error)),
                )
        return ask(self._own)


def _shared(broker_url: str) -> SlidingWindowCounterRateLimiter | None:
    if not broker_url:
        return None
    url = plain_url(broker_url)
    storage = RedisStorage(
        f"redis+{url}" if url.startswith("unix:") else url,
        key_prefix=PREFIX,
        wrap_exceptions=True,
        socket_timeout=ANSWER_SECONDS,
        socket_connect_timeout=ANSWER_SECONDS,
    )
    return SlidingWindowCounterRateLimiter(storage)
