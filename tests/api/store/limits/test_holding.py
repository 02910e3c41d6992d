"""Limits of running jobs and device hours hold jobs back, and nobody else's; on both databases."""

from __future__ import annotations

import threading
from collections.abc import Mapping

from sqlalchemy import select, update

from api.store.accounts import projects, users
from api.store.accounts.tables import Project, User
from api.store.database import Database, now
from api.store.jobs import leases, lifecycle, queue
from api.store.limits import full, hours, numbers
from api.store.limits.kinds import Name
from api.store.limits.tables import Attempt
from api.store.tables.jobs import ACTIVE, Job
from api.store.tables.workers import Worker
from tests.api.store.jobs.test_fairness import add_jobs


def people(database: Database) -> tuple[User, User, Project]:
    with database.writing() as session:
        anna, otto = users.add(session, "anna"), users.add(session, "otto")
        return anna, otto, projects.add(session, "vision", admin=anna)


def submit(
    database: Database, owner: User, count: int, project: Project | None = None
) -> list[str]:
    with database.writing() as session:
        ids = add_jobs(session, owner, count)
        if project is not None:
            session.execute(update(Job).where(Job.id.in_(ids)).values(project_id=project.id))
    return ids


def limit(database: Database, subject_id: str, most: Mapping[Name, float | None]) -> None:
    with database.writing() as session:
        numbers.change(session, subject_id, most)


def claim(database: Database) -> leases.Claim | None:
    with database.writing() as session:
        return lifecycle.claim(session, worker_id="w", device="cpu", lease_seconds=60)


def taken(database: Database, count: int) -> list[str | None]:
    """The owners of the jobs that a worker takes one after the other."""
    found = [claim(database) for _ in range(count)]
    with database.reading() as session:
        return [None if one is None else session.get_one(Job, one.job_id).owner_id for one in found]


def end(database: Database, held: leases.Claim) -> None:
    with database.writing() as session:
        lifecycle.fail(session, held, code="data", message="x", hint="y")


def test_who_is_at_the_limit_waits_and_the_others_go_on(database: Database) -> None:
    anna, otto, _ = people(database)
    limit(database, anna.id, {"jobs_running": 2})
    waiting = submit(database, anna, 4)
    submit(database, otto, 3)
    assert taken(database, 6) == [anna.id, otto.id, anna.id, otto.id, otto.id, None]
    with database.reading() as session:
        rows = [session.get_one(Job, id_) for id_ in waiting[2:]]
        assert queue.jobs_ahead(session, rows) == {}  # in no line
        side, reached = full.full(session).of(rows[0]) or ("", None)
        assert reached is not None
        assert (side, reached.said("anna").partition(";")[0]) == (
            "users", "2 jobs run of anna, and 2 at once are the limit",
        )  # fmt: skip
        held = leases.Claim(job_id=waiting[0], attempt=1, specification={}, dataset_id=None)
    end(database, held)
    assert taken(database, 2) == [anna.id, None]
    limit(database, anna.id, {"jobs_running": None})
    assert taken(database, 1) == [anna.id]


def test_the_limit_of_a_project_is_of_all_its_members_together(database: Database) -> None:
    anna, otto, vision = people(database)
    limit(database, vision.id, {"jobs_running": 1})
    submit(database, anna, 2, vision)
    submit(database, otto, 2, vision)
    alone = submit(database, anna, 1)
    assert taken(database, 3) == [anna.id, anna.id, None]
    with database.reading() as session:
        assert session.get_one(Job, alone[0]).status == "starting"


def test_the_default_is_of_all_but_those_with_a_number_of_their_own(database: Database) -> None:
    anna, otto, _ = people(database)
    limit(database, "users", {"jobs_running": 1})
    limit(database, anna.id, {"jobs_running": 0})  # any number
    submit(database, anna, 3)
    submit(database, otto, 3)
    assert sorted(map(str, taken(database, 5))) == sorted(["None", *3 * [anna.id], otto.id])


def test_nobody_is_woken_for_a_job_that_is_held_back(database: Database) -> None:
    anna, _, _ = people(database)
    limit(database, anna.id, {"jobs_running": 1})
    submit(database, anna, 2)
    assert claim(database) is not None
    with database.writing() as session:
        session.add(
            Worker(
                id="w", host="h", pid=1, version="1", devices=[], slots=2, busy=1, started_at=1.0,
                seen_at=9e9,
            )
        )  # fmt: skip
        session.execute(update(Job).values(announced_at=1.0))
        assert queue.announce(session, after_seconds=1.0) == []
        numbers.change(session, anna.id, {"jobs_running": 2})
        assert len(queue.announce(session, after_seconds=1.0)) == 1


def test_workers_that_claim_at_one_moment_do_not_exceed_the_limit(database: Database) -> None:
    anna, otto, vision = people(database)
    limit(database, anna.id, {"jobs_running": 3})
    limit(database, vision.id, {"jobs_running": 2})
    for owner in (anna, otto):
        submit(database, owner, 6, vision)
    submit(database, anna, 6)
    barrier = threading.Barrier(8)

    def worker() -> None:
        barrier.wait()
        for _ in range(2):
            claim(database)

    threads = [threading.Thread(target=worker) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with database.reading() as session:
        active = session.scalars(select(Job).where(Job.status.in_(ACTIVE))).all()
    assert sum(job.project_id == vision.id for job in active) == 2
    assert sum(job.owner_id == anna.id for job in active) == 3


def test_device_hours_count_what_runs_and_what_was_deleted_and_not_what_is_long_ago(
    database: Database,
) -> None:
    anna, _, vision = people(database)
    submit(database, anna, 4, vision)
    claims = [claim(database) for _ in range(3)]
    assert all(claims)
    past, deleted, runs = (one for one in claims if one is not None)
    for held in (past, deleted):
        end(database, held)
    with database.writing() as session:
        at = session.execute(select(now())).scalar_one()
        for held, began, ended in (
            (past, at - 10 * 86400 - 3600, at - 10 * 86400 + 7200),  # 2 of its 3 hours count
            (deleted, at - 7200, at - 3600),
            (runs, at - 1800, None),
        ):
            row = session.get_one(Attempt, (held.job_id, held.attempt))
            row.began_at, row.ended_at = began, ended
        lifecycle.delete(session, deleted.job_id)
    with database.reading() as session:
        found = hours.used(session, Attempt.owner_id, 10)
        assert list(found) == [anna.id]
        assert abs(found[anna.id] - 3.5) < 0.01
        assert abs(hours.used(session, Attempt.project_id, 1, vision.id)[vision.id] - 1.5) < 0.01
    limit(database, "users", {"device_hours": 3})  # within 30 days
    assert claim(database) is None
    with database.reading() as session:
        waits = session.scalars(select(Job).where(Job.status == "queued")).one()
        _, reached = full.full(session).of(waits) or ("", None)
        assert reached is not None
        assert "anna has used 4.5 of 3 device hours within 30 days" in reached.said("anna")
    limit(database, anna.id, {"device_hours": 5})
    assert claim(database) is not None


def test_an_attempt_ends_with_its_job_and_a_lost_one_when_it_was_last_heard_of(
    database: Database,
) -> None:
    anna, _, _ = people(database)
    submit(database, anna, 2)
    paused, lost = claim(database), claim(database)
    assert paused is not None
    assert lost is not None
    with database.writing() as session:
        lifecycle.pause(session, paused.job_id)
        lifecycle.stopped(session, paused)
        row = session.get_one(Attempt, (lost.job_id, 1))
        row.began_at -= 100
        job = session.get_one(Job, lost.job_id)
        job.lease_until, job.heartbeat_at = 1.0, row.began_at + 40
    with database.writing() as session:
        lifecycle.expire_leases(session, max_losses=5)
    with database.reading() as session:
        assert session.get_one(Attempt, (paused.job_id, 1)).ended_at is not None
        row = session.get_one(Attempt, (lost.job_id, 1))
        assert row.ended_at is not None
        assert abs(row.ended_at - row.began_at - 40) < 0.001
    again = claim(database)
    assert again is not None
    with database.reading() as session:
        assert session.get_one(Attempt, (again.job_id, again.attempt)).ended_at is None
