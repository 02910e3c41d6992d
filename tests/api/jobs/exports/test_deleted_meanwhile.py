"""An export that is deleted at the moment at which a worker stores it, on both databases."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select, text

from api.store.blobs.base import Incoming
from api.store.jobs import exports
from api.store.jobs.exports import ExportClaim
from api.store.runs import artifacts
from api.store.tables.results import Artifact, Export
from tests.api.conftest import Server
from tests.api.jobs.exports.test_routes import claimed, finished, job_of, order
from tests.api.jobs.results.test_predict import network
from tests.waiting import until

FILE = "exports/python/net.txt"


@pytest.fixture
def job(server: Server, tmp_path: Path) -> str:
    return job_of(server, tmp_path, network())


def somebody_waits(server: Server) -> bool:
    """Whether a transaction waits for a lock of another one."""
    database = server.service.database
    if database.is_sqlite:
        return database._turns.waiting > 0
    waiting = text("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
    with database.engine.connect() as connection:
        return bool(connection.execute(waiting).scalar_one())


def stored(server: Server, session: Any, claim: ExportClaim, file: Incoming) -> None:
    """The first half of what a worker does at the end, which holds its export."""
    exports.renew(session, claim, lease_seconds=600)
    sha256 = server.service.store.keep(session, file)
    artifacts.register(session, job_id=claim.job_id, name=FILE, kind="export", sha256=sha256)


@pytest.mark.parametrize("which", ["its own", "the one before"])
def test_an_export_that_is_deleted_while_it_is_stored_leaves_no_file(
    server: Server, job: str, tmp_path: Path, which: str
) -> None:
    url = order(server, job)["url"]
    if which == "the one before":
        finished(server, tmp_path, net_txt="0.5")
        order(server, job)
    claim = claimed(server)
    path = tmp_path / "net.txt"
    path.write_text("0.25")
    file = server.service.store.receive(path)
    with ThreadPoolExecutor(1) as other:
        with server.service.database.writing() as session:
            stored(server, session, claim, file)
            deleting = other.submit(server.http.delete, url)
            until(lambda: somebody_waits(server))
            exports.succeed(session, claim, verdict="identical", certificate={})
        answer = deleting.result()
    server.service.store.discard(file)
    is_its_own = which == "its own"
    # The one before was replaced, and what has replaced it stays.
    assert answer.status_code == (204 if is_its_own else 404)
    with server.service.database.reading() as session:
        files = select(Artifact.sha256).where(Artifact.job_id == job, Artifact.name == FILE)
        left = session.scalars(files).all()
        rows = session.scalar(select(func.count()).select_from(Export))
    kept = [] if is_its_own else [file.sha256]
    assert (left, rows) == (kept, len(kept))
    assert (server.service.store.find(file.sha256) is None) == is_its_own


def test_an_export_that_is_deleted_twice_at_one_moment_is_deleted_once(
    server: Server, job: str, tmp_path: Path
) -> None:
    url = order(server, job)["url"]
    finished(server, tmp_path, net_txt="0.5")
    with ThreadPoolExecutor(4) as threads:
        asked = [threads.submit(server.http.delete, url) for _ in range(4)]
        statuses = sorted(each.result().status_code for each in asked)
    assert statuses == [204, 404, 404, 404]
