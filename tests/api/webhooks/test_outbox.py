"""The outbox is filled in the transaction that ends a job, whoever ends it."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from api.store import viewer
from api.store.accounts.tables import User
from api.store.database import Database
from api.store.ids import new_id
from api.store.jobs import lifecycle
from api.store.tables.jobs import Job, Sweep
from api.store.viewer import Viewer
from api.store.webhooks import outbox
from api.store.webhooks.tables import Delivery, Webhook


def stored(database: Database) -> str:
    """A job of mia's in a sweep of hers, and a webhook of hers."""
    with database.writing() as session:
        sweep = Sweep(
            id=new_id("swp"), name="", request={}, request_sha256="x", created_at=1,
            owner_id="usr_mia",
        )  # fmt: skip
        job = Job(
            id=new_id("job"), name="", specification={}, method="saf-f", network="convnet",
            dataset="digits", priority=5, parameters=1, memory_bytes=1, latest={},
            owner_id="usr_mia", project_id="prj_1", sweep_id=sweep.id, sweep_index=0,
        )  # fmt: skip
        hook = Webhook(
            id=new_id("whk"), owner_id="usr_mia", url="http://x", secret="whsec_eA==",
            events=["job.cancelled", "sweep.ended"], created_at=1,
        )  # fmt: skip
        mia = User(id="usr_mia", name="mia", is_admin=False, created_at=1)
        session.add_all([mia, sweep, hook])
        lifecycle.submit(session, job)
        return job.id


def test_the_owner_is_told_by_whoever_it_is_ended(database: Database) -> None:
    job_id = stored(database)
    ada = Viewer(user_id="usr_ada", name="ada", projects={"prj_1": "admin"})
    with viewer.acting(ada), database.writing() as session:
        lifecycle.cancel(session, job_id)
    with database.writing() as session:
        outbox.sweeps_ended(session)
    with database.reading() as session:
        types = session.scalars(select(Delivery.type).order_by(Delivery.id)).all()
    assert types == ["job.cancelled", "sweep.ended"]


def cancel_and_fail(database: Database, job_id: str) -> None:
    with database.writing() as session:
        lifecycle.cancel(session, job_id)
        raise ZeroDivisionError


def test_nothing_is_sent_of_what_was_rolled_back(database: Database) -> None:
    job_id = stored(database)
    with pytest.raises(ZeroDivisionError):
        cancel_and_fail(database, job_id)
    with database.reading() as session:
        assert session.scalars(select(Delivery)).all() == []
