"""A job to put into the store, and an artifact store of either kind."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from api.settings import Settings
from api.store.blobs.base import ArtifactStore
from api.store.blobs.open import open_store
from api.store.database import Database
from api.store.ids import new_id
from api.store.jobs import lifecycle
from api.store.tables.jobs import Job, JobLabel


@pytest.fixture(params=["directory", "bucket"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ArtifactStore:
    """An empty one; a test that uses it runs on both."""
    url = str(tmp_path / "artifacts")
    if request.param == "bucket":
        url = request.getfixturevalue("bucket")
    return open_store(Settings(data_dir=tmp_path, artifacts_url=url))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A bucket is beside PostgreSQL; with SQLite it would be tested twice."""
    items[:] = [item for item in items if not {"sqlite", "bucket"} <= _parameters(item)]


def _parameters(item: pytest.Item) -> set[str]:
    return set(item.name.rstrip("]").rpartition("[")[2].split("-"))


def files(store: ArtifactStore) -> set[str]:
    """The hashes of all that lies in a store, with or without a row."""
    return {stored.sha256 for stored in store.old_files(-1e9)}


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
