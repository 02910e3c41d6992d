"""Turns of users: the order that comes, beside the order that is due."""

from __future__ import annotations

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from api.store.accounts import users
from api.store.accounts.tables import User
from api.store.database import Database
from api.store.ids import new_id
from api.store.jobs import exports, lifecycle, queue
from api.store.tables.jobs import Job


def add_jobs(session: Session, owner: User | None, count: int, *, priority: int = 5) -> list[str]:
    ids = []
    for _ in range(count):
        job = Job(
            id=new_id("job"), name="", specification={}, method="saf-f", network="convnet",
            dataset="digits", priority=priority, parameters=1, memory_bytes=1, latest={},
            owner_id=None if owner is None else owner.id,
        )  # fmt: skip
        lifecycle.submit(session, job)
        ids.append(job.id)
    return ids


def serve(database: Database, count: int, *, end: bool) -> list[str | None]:
    """The owners of the jobs that a worker takes, one after the other; each ends before the next
    is taken, or none does."""
    owners = []
    for _ in range(count):
        with database.writing() as session:
            claim = lifecycle.claim(session, worker_id="w", device="cpu", lease_seconds=60)
            assert claim is not None
            owners.append(session.scalar(select(Job.owner_id).where(Job.id == claim.job_id)))
            if end:
                lifecycle.fail(session, claim, code="data", message="x", hint="y")
    return owners


@pytest.mark.slow
def test_two_users_with_a_hundred_jobs_each_take_turns(database: Database) -> None:
    with database.writing() as session:
        anna, otto = users.add(session, "anna"), users.add(session, "otto")
        add_jobs(session, anna, 100)  # all of them came first
        add_jobs(session, otto, 100)
    with database.reading() as session:
        waiting = session.scalars(select(Job)).all()
        ahead = queue.jobs_ahead(session, waiting)
        told = {ahead[job.id]: job.owner_id for job in waiting}
        shown = [job.owner_id for job in queue.first(session, limit=3)]
    due = 100 * [anna.id, otto.id]
    assert [told[place] for place in range(200)] == due
    assert shown[0] == anna.id
    came = serve(database, 200, end=True)
    assert came == due


def test_who_holds_fewer_workers_goes_first(database: Database) -> None:
    with database.writing() as session:
        anna, otto, lena = (users.add(session, name) for name in ("anna", "otto", "lena"))
        add_jobs(session, anna, 4)
    assert serve(database, 2, end=False) == [anna.id, anna.id]
    with database.writing() as session:
        add_jobs(session, otto, 3)
        add_jobs(session, lena, 1)
    # Anna has two; then all have what they may.
    assert serve(database, 6, end=False) == [
        otto.id, lena.id, otto.id, anna.id, otto.id, anna.id,
    ]  # fmt: skip


def test_turns_are_inside_of_a_priority_and_jobs_of_nobody_go_first(
    database: Database,
) -> None:
    with database.writing() as session:
        anna = users.add(session, "anna")
        add_jobs(session, None, 3)
        add_jobs(session, anna, 1)
        add_jobs(session, anna, 2, priority=1)
    assert serve(database, 6, end=True) == [anna.id, anna.id, None, None, None, anna.id]


def test_without_users_the_oldest_is_first(database: Database) -> None:
    with database.writing() as session:
        ids = add_jobs(session, None, 3)
    with database.reading() as session:
        rows = session.scalars(select(Job)).all()
        assert queue.jobs_ahead(session, rows) == {id_: at for at, id_ in enumerate(ids)}
        assert [job.id for job in queue.first(session, limit=9)] == ids


def test_exports_are_made_in_turns_of_whose_jobs_they_are_of(database: Database) -> None:
    with database.writing() as session:
        anna, otto = users.add(session, "anna"), users.add(session, "otto")
        of: dict[str | None, list[str]] = {}
        of |= {anna.id: add_jobs(session, anna, 4), otto.id: add_jobs(session, otto, 2)}
        of[None] = add_jobs(session, None, 1)
        owners = {job: owner for owner, ids in of.items() for job in ids}
        for job in owners:
            exports.submit(session, job_id=job, target="python", options={}, samples=1)
    came = []
    for number in range(7):
        with database.writing() as session:
            claim = exports.claim(session, worker_id="w", lease_seconds=60)
            assert claim is not None
            came.append(claim.job_id)
            if number < 3:  # the later ones stay under way
                exports.fail(session, claim, code="export", message="x", hint="y")
    assert [owners[job] for job in came] == [
        anna.id, otto.id, None, anna.id, otto.id, anna.id, anna.id,
    ]  # fmt: skip
    for owner, ids in of.items():
        assert [job for job in came if owners[job] == owner] == ids, "of one user the oldest first"
