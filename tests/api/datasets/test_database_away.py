"""Checks whose result cannot be written at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import delete, select
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from api.datasets import checks
from api.datasets.checks import Checks
from api.store.database import Database
from api.store.tables.base import Blob
from api.store.tables.uploads import Dataset
from tests.api.conftest import Server
from tests.api.datasets.uploading import leftovers, upload
from tests.waiting import until


class LostOnce(Database):
    """Loses the connection before the first commit of a file; then something happens."""

    then: Callable[[], None] | None = None

    @contextmanager
    def writing(self, *, patience: float | None = None) -> Iterator[Session]:
        is_lost = False
        try:
            with super().writing(patience=patience) as session:
                yield session
                if is_lost := self.then is not None and session.scalar(select(Blob)) is not None:
                    raise OperationalError("COMMIT", {}, Exception("connection lost"))
        finally:
            if is_lost and self.then is not None:
                self.then()
                self.then = None


@pytest.mark.slow
@pytest.mark.parametrize("end", ["deleted", "ready"])
def test_a_data_set_deleted_while_the_database_was_away_leaves_no_file(
    server: Server, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    database = LostOnce(str(server.service.database.engine.url.render_as_string(False)))

    def delete_it() -> None:
        if end == "deleted":
            with server.service.database.writing() as session:
                session.execute(delete(Dataset))

    database.then = delete_it
    monkeypatch.setattr(checks, "RETRY_SECONDS", 0.01)
    monkeypatch.setattr(server.service.part(Checks), "_database", database)
    answer = upload(server)
    assert answer.status_code == (404 if end == "deleted" else 201), answer.text
    until(lambda: not leftovers(server))
    with server.service.database.reading() as session:
        known = set(session.scalars(select(Blob.sha256)))
    assert len(known) == (0 if end == "deleted" else 2)
    files = {path.name for path in server.files.directory.rglob("*") if path.is_file()}
    assert files == known
    database.dispose()
