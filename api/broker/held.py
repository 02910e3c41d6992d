"""What the processes of the API hold at once, counted for all of them together in the broker.

Each hold is a member of a sorted set, with the time from which on it counts no longer; while its
process lives a thread puts that time off. So what a killed process held is free a minute later, and
a broker that was started anew knows soon what is held. While the broker is away nothing is counted
here.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar
from urllib.parse import parse_qs, urlsplit

import redis

from api.store.ids import new_id

ANSWER_SECONDS = 0.5  # that a request waits for the broker
AWAY_SECONDS = 10.0  # after which a broker that did not answer is asked again
HOLD_SECONDS = 60  # that a hold counts after it was last put off
RENEW_SECONDS = 15.0
PREFIX = "saf-held"
_TAKE = """
local at = tonumber(redis.call('TIME')[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', at)
if redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[3]) then return 0 end
redis.call('ZADD', KEYS[1], at + ARGV[2], ARGV[1])
redis.call('EXPIRE', KEYS[1], ARGV[2])
return 1
"""
T = TypeVar("T")
log = logging.getLogger(__name__)


def plain_url(broker_url: str) -> str:
    """The address of the broker as clients of Redis write it; kombu writes that of a socket in
    another way."""
    if not broker_url.startswith("redis+socket://"):
        return broker_url
    parts = urlsplit(broker_url)
    database = parse_qs(parts.query).get("virtual_host", ["0"])[0]
    return f"unix://{parts.netloc}{parts.path}?db={database}"


class Holds:
    """Those of this process, and how many there are of all."""

    def __init__(self, broker_url: str) -> None:
        """The broker is not asked yet. Raises ValueError for an address that is none."""
        self._client: Any = None
        if broker_url:
            self._client = redis.Redis.from_url(
                plain_url(broker_url),
                socket_timeout=ANSWER_SECONDS,
                socket_connect_timeout=ANSWER_SECONDS,
            )
        self._held: dict[str, str] = {}  # what each hold is of
        self._gone: list[tuple[str, str]] = []
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._ends = False
        self._thread: threading.Thread | None = None
        self._away_until = 0.0

    def take(self, what: str, most: int) -> str | None:
        """One more hold of that, which is given back by its name; None where all processes together
        have `most`. Without the broker it is always given."""
        hold, key = new_id("hold"), f"{PREFIX}:{what}"
        taken = self._ask(lambda client: client.eval(_TAKE, 1, key, hold, HOLD_SECONDS, most))
        if taken == 0:
            return None
        with self._lock:
            self._held[hold] = key
            if self._client is not None and self._thread is None:
                self._thread = threading.Thread(target=self._run, name="holds", daemon=True)
                self._thread.start()
        return hold

    def give_back(self, hold: str) -> None:
        """Soon, by the thread: this waits for nothing."""
        with self._lock:
            key = self._held.pop(hold, None)
            if key is not None:  # not stopped meanwhile
                self._gone.append((hold, key))
        self._wake.set()

    def count(self, what: str) -> int:
        """How many all processes have; 0 without the broker."""
        key = f"{PREFIX}:{what}"
        found = self._ask(lambda client: client.zcount(key, client.time()[0] + 1, "+inf"))
        return int(found or 0)

    def stop(self) -> None:
        """Give all back."""
        with self._lock:
            self._gone += self._held.items()
            self._held.clear()
            thread = self._thread
        self._ends = True
        self._wake.set()
        if thread is not None:
            thread.join()

    def _run(self) -> None:
        due = 0.0
        ends = False
        while not ends:
            self._wake.wait(RENEW_SECONDS)
            self._wake.clear()
            ends = self._ends
            with self._lock:
                gone, self._gone = self._gone, []
                held = dict(self._held) if time.monotonic() >= due else {}
            if held:
                due = time.monotonic() + RENEW_SECONDS
            self._ask(partial(_tell, gone=gone, held=held))

    def _ask(self, ask: Callable[[Any], T]) -> T | None:
        if self._client is None or time.monotonic() < self._away_until:
            return None
        try:
            return ask(self._client)
        except redis.RedisError as error:
            self._away_until = time.monotonic() + AWAY_SECONDS
            log.warning(
                "the broker does not count uploads and streams, each process does for %g s: %r",
                *(AWAY_SECONDS, error),
            )
            return None


def _tell(client: Any, *, gone: list[tuple[str, str]], held: dict[str, str]) -> None:
    """Tell the broker which holds have gone, and which are still there."""
    if not (gone or held):
        return
    until = client.time()[0] + HOLD_SECONDS
    with client.pipeline(transaction=False) as pipeline:
        for hold, key in held.items():
            pipeline.zadd(key, {hold: until})
            pipeline.expire(key, HOLD_SECONDS)
        for hold, key in gone:
            pipeline.zrem(key, hold)
        pipeline.execute()
