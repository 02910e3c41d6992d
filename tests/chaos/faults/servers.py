"""Faults of the broker, the database and the network to them; messages and sweeps too often.

Each function begins one and says whether there was something to break.
"""

from __future__ import annotations

import contextlib
import shutil
import threading
import time

from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from api.broker.wakeups import QUEUE, TASK
from api.store.jobs.sweeper import Sweeper
from tests.chaos.cluster import Member
from tests.chaos.faults.means import Means
from tests.chaos.proxy import Proxy

DUPLICATES = 40
DELAY_SECONDS = 0.4


def restart_broker(means: Means) -> bool:
    if not means.is_free("broker"):
        return False
    means.cluster.stop_broker()
    means.cluster.start_broker()
    means.watch("restart the broker", {}, means.ready)
    return True


def empty_broker(means: Means) -> bool:
    """Restart it without all that it held, as one that keeps nothing on disk."""
    if not means.is_free("broker"):
        return False
    means.cluster.stop_broker()
    means.cluster.start_broker(empty=True)
    means.watch("empty the broker", {}, means.ready)
    return True


def remove_socket(means: Means) -> bool:
    """Take away what the broker's clients connect to, as a cleaner of temporary files does; who
    runs the broker notices it and starts it again."""
    if not means.is_free("broker"):
        return False
    socket = means.cluster.broker.socket
    how = means.choose.choice(("socket", "folder", "another file"))
    if how == "folder":
        shutil.rmtree(socket.parent)
    else:
        socket.unlink()
    if how == "another file":
        socket.write_text("no socket")
    means.watch("remove the broker's socket", {}, lambda: socket.is_socket() and means.ready())
    return True


def broker_away(means: Means) -> bool:
    if not means.is_free("broker"):
        return False
    watch = means.watch("keep the broker away", {}, means.ready)
    means.cluster.stop_broker()
    quiet = means.is_free("database", "api") and means.cluster.answers()
    _submit_without_a_broker(means, must_work=quiet)
    seconds = means.choose.uniform(2.0, 6.0)
    return means.last(watch, "broker", seconds, means.cluster.start_broker)


def _submit_without_a_broker(means: Means, *, must_work: bool) -> None:
    """A client submits meanwhile. It is accepted at the first request where only the broker
    is away."""
    means.keys += 1
    key = f"chaos-{means.seed}-without-broker-{means.keys}"

    def submit() -> None:
        status = means.clients.submit(key)
        # 0: the API was killed meanwhile; 503: the database went away meanwhile
        if must_work and status not in (201, 0, 503):
            means.memory.violated("not accepted without a broker", key, f"answer {status}")

    thread = threading.Thread(target=submit, name="submits without a broker", daemon=True)
    thread.start()
    means.clients.also_wait_for(thread)


def repeat_messages(means: Means) -> bool:
    if not means.cluster.broker_wanted:
        return False
    jobs = list(means.observer.looks) or ["job_of_nobody"]
    for _ in range(DUPLICATES):
        means.celery.send_task(TASK, args=(means.choose.choice(jobs),), queue=QUEUE)
    means.watch("repeat messages", {})
    return True


def restart_database(means: Means) -> bool:
    if not means.is_free("database"):
        return False
    jobs = means.observer.active()
    means.cluster.stop_database()
    means.cluster.start_database()
    means.watch("restart the database", jobs, means.ready)
    return True


def database_away(means: Means) -> bool:
    if not means.is_free("database"):
        return False
    watch = means.watch("keep the database away", means.observer.active(), means.ready)
    means.cluster.stop_database()
    seconds = means.cluster.times.lease_seconds * means.choose.uniform(0.5, 2.0)
    return means.last(watch, "database", seconds, means.cluster.start_database)


def lock_database(means: Means) -> bool:
    if not means.is_free("database"):
        return False
    connection = means.cluster.database.engine.connect()
    connection = connection.execution_options(sqlite_begin="EXCLUSIVE")
    try:
        connection.execute(text("SELECT 1"))
    except SQLAlchemyError:
        connection.close()
        return False

    def unlock() -> None:
        connection.rollback()
        connection.close()

    watch = means.watch("lock the database", means.observer.active())
    seconds = means.cluster.times.lease_seconds * means.choose.uniform(0.5, 1.8)
    return means.last(watch, "database", seconds, unlock)


def cut_database(means: Means) -> bool:
    if (worker := means.victim()) is None:
        return False
    # Beyond the lease too: others then take its jobs, which it trains on until it hears of that.
    seconds = means.cluster.times.lease_seconds * means.choose.uniform(0.3, 2.5)
    return _cut(means, "cut a worker off the database", worker, "database", seconds)


def cut_both(means: Means) -> bool:
    if (worker := means.victim()) is None:
        return False
    seconds = means.cluster.times.lease_seconds * means.choose.uniform(0.3, 2.5)
    return _cut(means, "cut a worker off everything", worker, "database and broker", seconds)


def cut_all(means: Means) -> bool:
    """The database works, and nobody reaches it: an outage, beyond the leases too."""
    members = means.cluster.members
    if not means.is_free("network", *(name for member in members for name in _names(member))):
        return False
    links = [member.links["database"] for member in members]
    how = means.choose.choice((Proxy.stall, Proxy.cut))
    watch = means.watch("cut everybody off the database", means.observer.active(), means.ready)
    for link in links:
        how(link)

    def heal() -> None:
        for link in links:
            link.heal()

    seconds = means.cluster.times.lease_seconds * means.choose.uniform(0.5, 2.0)
    return means.last(watch, "network", seconds, heal)


def cut_api(means: Means) -> bool:
    seconds = means.choose.uniform(1.0, 6.0)
    return _cut(means, "cut the API off the database", means.cluster.api, "database", seconds)


def cut_broker(means: Means) -> bool:
    member = means.choose.choice(means.cluster.members)
    seconds = means.choose.uniform(1.0, 6.0)
    return _cut(means, "cut a process off the broker", member, "broker", seconds)


def _names(member: Member) -> list[str]:
    """The resources that a cut of one process takes."""
    return [f"{member.name} {name}" for name in ("database", "broker", "database and broker")]


def _cut(means: Means, kind: str, member: Member, servers: str, seconds: float) -> bool:
    if not means.is_free("network", *_names(member)):
        return False
    links = [link for name, link in member.links.items() if name in servers]
    how = means.choose.choice(("stall", "cut", "delay"))
    whole = means.ready if member is means.cluster.api else None
    watch = means.watch(kind, means.jobs_of(member), whole)

    def remember() -> None:
        if "database" in servers:
            means.memory.cut_off |= means.held_by(member)

    remember()
    for link in links:
        match how:
            case "stall":
                link.stall()
            case "cut":
                link.cut()
            case _:
                link.delay(DELAY_SECONDS)
    remember()  # what it took at this moment

    def heal() -> None:
        remember()  # what it took over a slow line
        for link in links:
            link.heal()

    return means.last(watch, f"{member.name} {servers}", seconds, heal)


def sweep_twice(means: Means) -> bool:
    """Two more sweepers look at the same moments, long enough to recover jobs."""
    if not means.is_free("sweeps"):
        return False
    times = means.cluster.times
    together = threading.Barrier(2)

    def sweep(sweeper: Sweeper) -> None:
        with contextlib.suppress(threading.BrokenBarrierError):
            while True:
                together.wait()
                with contextlib.suppress(SQLAlchemyError):
                    sweeper.sweep()
                time.sleep(times.sweep_seconds)

    for _ in range(2):
        sweeper = Sweeper(means.cluster.database, means.cluster.settings(), lambda _job_id: None)
        threading.Thread(target=sweep, args=(sweeper,), daemon=True).start()
    watch = means.watch("sweep twice at once", {})
    return means.last(watch, "sweeps", 2.5 * times.lease_seconds, together.abort)
