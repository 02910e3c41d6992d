"""A job to put into the store."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest

from api.store import lifecycle
from api.store.database import Database
from api.store.tables import Job, JobLabel, new_id


def _submit(database: Database, *, priority: int = 5, name: str = "a job") -> str:
    job = Job(
        id=new_id("job"),
        name=name,
        specification={"dataset": "digits"},
        method="saf-f",
        network="convnet",
        dataset="digits",
        priority=priority,
        parameters=10,
        memory_bytes=1000,
        latest={},
        labels=[JobLabel(key="team", value="vision")],
    )
    with database.writing() as session:
        lifecycle.submit(session, job)
    return job.id


@pytest.fixture
def submit(database: Database) -> Callable[..., str]:
    """Submit a job and return its id."""
    return partial(_submit, database)


@pytest.fixture
def submit_to() -> Callable[[Database], str]:
    """The same, to a database of the test's own."""
    return _submit
