"""Leases in the broker, beside those in the database: the second sign that a job's worker lives.

A worker that cannot reach the database still reaches the broker, as a rule, and shows there that it
has its job: by a key of its attempt that ends by itself. A job is taken from its worker only once
both leases are gone (docs/decisions/011-a-lease-in-the-broker.md).

Why nobody trains beside another: a worker counts a lease from before it sent the renewal, by a
clock that nobody sets, and renews the one in the broker only while it holds one of the two. So a
sweeper that finds the lease in the database run out, and then no key, finds none that comes back.
Keys that were lost are no sign: after a start of the broker, after its clock was set and when
another server answers, it is believed only once every lease from before must have run out.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from typing import Any

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from api.settings import Settings
from api.store.leases import Lapsed
from api.store.trust import Trust

BROKER_AWAY = (RedisError, OSError)
"""What is raised while the broker does not answer, or refuses."""
TIMEOUT_SECONDS = 2.0
HELD, CALLED_OFF = b"held", b"called off"
log = logging.getLogger(__name__)


class BrokerLeases:
    """The leases of all attempts, each a key that ends by itself. For any thread."""

    def __init__(self, url: str, lease_seconds: float) -> None:
        """`url` as Celery has it. Nothing is sent yet. Raises ValueError."""
        self._redis = _client(url, timeout=min(TIMEOUT_SECONDS, lease_seconds / 4))
        self._milliseconds = round(1000 * lease_seconds)
        self._trust = Trust(lease_seconds, "the broker")
        self._run_id = ""
        self._doubted = ""

    def renew(self, job_id: str, attempt: int) -> bool:
        """Take or renew the lease; False when it does not count: the job is to end, or the broker
        may drop keys. The key lasts all the same, so that the training stands still before it
        goes. Raises BROKER_AWAY."""
        pipeline = self._redis.pipeline(transaction=False)
        pipeline.set(_key(job_id, attempt), HELD, px=self._milliseconds, get=True)
        pipeline.info("memory")
        before, memory = pipeline.execute()
        return before != CALLED_OFF and not _may_evict(memory)

    def release(self, job_id: str, attempt: int) -> None:
        """Give the lease back; nothing of the attempt runs. Raises BROKER_AWAY."""
        self._redis.delete(_key(job_id, attempt))

    def unheld(self, lapsed: Sequence[Lapsed]) -> list[Lapsed]:
        """Those of the attempts that hold no lease here either; none while that cannot be known.

        An attempt that holds one, and is asked to end by somebody whom its worker cannot hear, is
        told to give it up.
        """
        keys = [_key(job.job_id, job.attempt) for job in lapsed]
        try:
            pipeline = self._redis.pipeline(transaction=True)  # of one moment of one server
            pipeline.time()
            pipeline.info("server")
            if keys:
                pipeline.mget(keys)
            time, server, *values = pipeline.execute()
            held = dict(zip(lapsed, values[0], strict=True)) if keys else {}
            for job, value in held.items():
                if job.is_to_end and value is not None:
                    key = _key(job.job_id, job.attempt)
                    self._redis.set(key, CALLED_OFF, xx=True, keepttl=True)
        except BROKER_AWAY as error:
            self._doubt(lapsed, f"the broker does not answer ({type(error).__name__})")
            return []
        if not self._is_believed(time, server):
            self._doubt(lapsed, "leases in the broker may have been lost a moment ago")
            return []
        self._doubt([], "")
        return [job for job, value in held.items() if value is None]

    def close(self) -> None:
        """Close all connections."""
        self._redis.close()

    def _is_believed(self, time: tuple[int, int], server: Mapping[str, Any]) -> bool:
        at = time[0] + time[1] / 1e6
        if self._run_id not in ("", server["run_id"]):
            self._trust.withdraw()
        self._run_id = server["run_id"]
        # Whole seconds of a clock that ticks by the second: up to one more than it was.
        return self._trust.in_leases(at, at - max(0, server["uptime_in_seconds"] - 1))

    def _doubt(self, lapsed: Sequence[Lapsed], why: str) -> None:
        """One line when jobs begin to wait."""
        if not lapsed:
            self._doubted = ""
        elif why != self._doubted:
            self._doubted = why
            jobs = "1 job" if len(lapsed) == 1 else f"{len(lapsed)} jobs"
            log.warning("%s whose lease ran out cannot be recovered yet: %s", jobs, why)


def broker_leases(settings: Settings) -> BrokerLeases | None:
    """None where there is no second lease: without a broker, and with SQLite, as nothing is cut off
    from a file alone. Raises ValueError."""
    if settings.database.startswith("sqlite") or not settings.broker_url:
        return None
    return BrokerLeases(settings.broker_url, settings.lease_seconds)


def _key(job_id: str, attempt: int) -> str:
    return f"saf:lease:{job_id}:{attempt}"


def _may_evict(memory: Mapping[str, Any]) -> bool:
    """Whether the server drops keys when it is full, by its `INFO memory`."""
    return memory.get("maxmemory", 1) > 0 and memory.get("maxmemory_policy") != "noeviction"


def _client(url: str, *, timeout: float) -> Redis:
    # Celery's spelling to that of redis-py.
    url = re.sub(r"^redis\+socket://", "unix://", url).replace("virtual_host=", "db=")
    url = re.sub(r"ssl_cert_reqs=(CERT_)?(\w+)", lambda found: found[0].lower(), url)
    url = url.replace("ssl_cert_reqs=cert_", "ssl_cert_reqs=")
    return Redis.from_url(
        url,
        socket_timeout=timeout,
        socket_connect_timeout=timeout,
        retry=Retry(NoBackoff(), 0),  # who asks asks again
    )
