"""Data sets are bounded by what they unpack to, for a user and for all."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import text

from api.datasets.accept import make_place
from api.datasets.room import lacking
from api.errors import ConflictError
from api.settings import Settings
from api.store.database import Database
from api.store.datasets import count_alone
from api.store.migrate import migrate
from api.store.tables.base import Blob
from api.store.tables.uploads import Dataset
from tests.api.conftest import NO_BROKER, Server, serving
from tests.api.datasets.uploading import row, upload
from tests.api.web.test_limits import as_user
from tests.api.web.test_problems import check
from tests.waiting import until


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    settings = Settings(
        data_dir=tmp_path_factory.mktemp("room"),
        broker_url=NO_BROKER,
        trusted_proxies=("127.0.0.1",),
        datasets_max_bytes_per_user=1_500_000,
        datasets_max_bytes=2_500_000,
    )
    with serving(settings) as server:
        yield server


def light(samples: int, shade: int) -> bytes:
    """An upload of some kilobytes, of samples that take 10,000 bytes each."""
    x = np.full((samples, 1, 100, 100), shade, np.uint8)
    x[:, 0, 0, 0] = np.arange(samples)
    x[:, 0, 1, 1] = 255
    buffer = io.BytesIO()
    y = np.arange(samples) % 2
    np.savez_compressed(buffer, x_train=x, y_train=y, x_test=x[:2], y_test=y[:2])
    return buffer.getvalue()


def send(server: Server, user: str, name: str, samples: int, shade: int) -> Any:
    file = {"file": ("light.npz", light(samples, shade))}
    return server.http.post("/v1/datasets", files=file, data={"name": name}, headers=as_user(user))


@pytest.mark.slow
def test_what_unpacks_to_more_than_a_user_or_all_may_have_is_refused(small: Server) -> None:
    one, two, three = (f"192.0.2.{n}" for n in (40, 41, 42))
    first = send(small, one, "first", 100, 1)
    assert first.status_code == 201, first.text
    refused = check(send(small, one, "second", 100, 2), 422)
    assert "files of jobs of 192.0.2.40 take" in refused["detail"]
    assert "SAF_DATASETS_MAX_BYTES_PER_USER" in refused["detail"]
    assert small.http.get("/v1/datasets/second").status_code == 404
    assert send(small, two, "second", 120, 3).status_code == 201
    refused = check(send(small, three, "third", 100, 4), 422)
    assert "all data sets take" in refused["detail"]
    assert send(small, three, "third", 20, 5).status_code == 201
    assert small.http.delete("/v1/datasets/second").status_code == 204
    assert send(small, one, "fourth", 40, 6).status_code == 201
    again = send(small, one, "the same as the first", 100, 1)
    assert again.status_code == 201, "what is kept already takes no room"


def test_uploads_that_wait_for_a_check_or_an_answer_take_room(small: Server) -> None:
    """They lie on the disk as they were sent, however many."""
    user = "192.0.2.43"
    waiting: dict[str, Any] = {
        "uploaded_by": user,
        "summary": {},
        "upload_bytes": 800_000,
        "created_at": 4e9,
    }
    row(small, id="ds_w1", name="waits", status="needs_choice", **waiting)
    row(small, id="ds_w2", name="is being checked", status="checking", **waiting)
    refused = check(send(small, user, "one more", 20, 7), 413)
    assert "1.5 MiB wait for a check or for the answer" in refused["detail"]
    again = send(small, user, "waits", 20, 7)
    assert again.status_code == 201, "it makes place for the same one with an answer"
    assert small.http.delete("/v1/datasets/is being checked").status_code == 204


def test_an_upload_that_is_being_answered_makes_no_place_for_another_of_its_name(
    postgres_url: str,
) -> None:
    database = Database(postgres_url)
    migrate(database)
    asked: dict[str, Any] = {"format": "npz", "problems": [], "upload_bytes": 1, "created_at": 1.0}
    with database.writing() as session:
        session.add(Dataset(id="ds_a", name="asked", status="needs_choice", **asked))
    found: list[Any] = []

    def other() -> None:
        try:
            with database.writing() as session:
                found.append(make_place(session, "asked"))
        except ConflictError as error:
            found.append(error)

    def is_waiting() -> bool:
        with database.reading() as session:
            locks = text("SELECT count(*) FROM pg_locks WHERE NOT granted")
            return bool(session.scalar(locks))

    thread = threading.Thread(target=other)
    with database.writing() as session:
        session.get_one(Dataset, "ds_a").status = "checking"
        session.flush()
        thread.start()
        until(lambda: found or is_waiting())
    thread.join()
    database.dispose()
    assert isinstance(found[0], ConflictError), found


def test_two_checks_that_end_at_one_moment_do_not_both_take_the_last_room(
    postgres_url: str, tmp_path: Path
) -> None:
    database = Database(postgres_url)
    migrate(database)
    settings = Settings(data_dir=tmp_path, datasets_max_bytes=100)
    found: list[str] = []

    def other() -> None:
        with database.writing() as session:
            count_alone(session)
            found.append(lacking(session, settings, Dataset(), "b" * 64, 80))

    def is_waiting() -> bool:
        with database.reading() as session:
            locks = text(
                "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
            )
            return bool(session.scalar(locks))

    thread = threading.Thread(target=other)
    with database.writing() as session:
        count_alone(session)
        assert lacking(session, settings, Dataset(), "a" * 64, 80) == ""
        thread.start()
        until(lambda: found or is_waiting())
        session.add(Blob(sha256="a" * 64, bytes=80, created_at=1.0))
        session.flush()
        kept: dict[str, Any] = {
            "format": "npz",
            "status": "ready",
            "problems": [],
            "upload_bytes": 1,
        }
        session.add(Dataset(id="ds_a", name="a", sha256="a" * 64, created_at=1.0, **kept))
    thread.join()
    database.dispose()
    assert "all data sets take 80 bytes" in found[0]


@pytest.mark.slow
def test_sparse_event_frames_that_compress_a_thousandfold_are_no_bomb(shared: Server) -> None:
    x = np.zeros((400, 10, 2, 128, 128), np.uint8)  # 125 MiB
    x[:, :, 0, 5, 5] = 1
    x[::2, 3, 1, 9, 9] = 2
    buffer = io.BytesIO()
    y = np.arange(400) % 2
    np.savez_compressed(buffer, x_train=x, y_train=y, x_test=x[:4], y_test=y[:4])
    content = buffer.getvalue()
    assert x.nbytes > 300 * len(content)
    response = upload(shared, content, "sparse.npz", layout="N T C H W")
    assert response.status_code == 201, response.text
