"""Requests that come twice, at one moment or after the answer was lost, and uploads that are tried
again."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from api.datasets import accept
from api.datasets.checks import Checks
from api.errors import NotFoundError
from api.host.lock import DirectoryLock
from api.settings import Settings
from api.uploads import files
from api.uploads.files import Uploads
from tests.api.conftest import NO_BROKER, Server, serving
from tests.api.datasets.uploading import IMAGES, npz
from tests.api.uploads.test_routes import BYTES, TUS
from tests.api.web.test_limits import as_user
from tests.api.web.test_problems import check
from tests.waiting import PATIENCE, until


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that keeps three uploads of a user."""
    settings = Settings(
        data_dir=tmp_path_factory.mktemp("again"),
        broker_url=NO_BROKER,
        trusted_proxies=("127.0.0.1",),
        uploads_kept_per_user=3,
        uploads_kept=5,
    )
    with serving(settings) as server:
        yield server


def begin(server: Server, length: int, **headers: str) -> Any:
    return server.http.post("/v1/uploads", headers={**TUS, "Upload-Length": str(length), **headers})


def arrive(server: Server, content: bytes = IMAGES) -> str:
    """The id of an upload all of which has arrived."""
    length = {"Upload-Length": str(len(content))}
    answer = server.http.post("/v1/uploads", content=content, headers={**BYTES, **length})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def make(server: Server, upload: str, **fields: Any) -> Any:
    return server.http.post("/v1/datasets", json={"upload": upload, **fields})


def folder(server: Server, upload: str) -> Path:
    return server.service.part(Uploads).directory / upload


def test_an_upload_that_is_begun_with_one_key_at_one_moment_is_one(shared: Server) -> None:
    before = list(shared.service.part(Uploads).directory.glob("up_*"))
    barrier = threading.Barrier(5)

    def one(_: int) -> Any:
        barrier.wait()
        return begin(shared, 10, **{"Idempotency-Key": "at one moment"})

    with ThreadPoolExecutor(5) as threads:
        answers = list(threads.map(one, range(5)))
    assert [answer.status_code for answer in answers] == [201] * 5, answers[-1].text
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert len(list(shared.service.part(Uploads).directory.glob("up_*"))) == len(before) + 1


@pytest.fixture
def let_go(shared: Server, monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Checks wait for it."""
    event, run = threading.Event(), Checks._run

    def waits(self: Checks, *arguments: Any) -> Any:
        assert event.wait(PATIENCE)
        return run(self, *arguments)

    monkeypatch.setattr(Checks, "_run", waits)
    return event


@pytest.mark.slow
@pytest.mark.parametrize(("labels", "statuses"), [(2, [200, 201]), (1, [422, 422])])
def test_a_request_that_is_repeated_during_the_check_gets_the_answer_of_the_first(
    shared: Server, let_go: threading.Event, labels: int, statuses: list[int]
) -> None:
    upload = arrive(shared, npz(1, 5, 5, labels=labels))
    name = f"repeated {labels}"
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(make, shared, upload, name=name)
        until((folder(shared, upload) / "became").exists)
        second = threads.submit(make, shared, upload, name=name)
        let_go.set()
        answers = [first.result(), second.result()]
    assert sorted(answer.status_code for answer in answers) == statuses, answers[1].text
    if labels == 2:
        assert answers[0].json() == answers[1].json()
        assert answers[0].json()["status"] == "ready"
    else:
        assert shared.get(f"/v1/uploads/{upload}")["dataset"] is None, "it is an upload as before"


@pytest.mark.slow
def test_an_upload_whose_check_ends_badly_after_the_answer_may_be_tried_again(
    shared: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accept, "CHECK_WAIT_SECONDS", 0.0)
    upload = arrive(shared, npz(2, 5, 5))
    wrong = make(shared, upload, name="late", layout="N Q")
    assert (wrong.status_code, wrong.json()["status"]) == (201, "checking"), wrong.text
    until(lambda: shared.get("/v1/datasets/late")["status"] == "invalid")
    until(lambda: shared.get(f"/v1/uploads/{upload}")["dataset"] is None)
    assert (folder(shared, upload) / "data").stat().st_size == len(npz(2, 5, 5))
    again = make(shared, upload, name="late", layout="N C H W")
    assert again.status_code == 201, again.text
    until(lambda: shared.get("/v1/datasets/late")["status"] == "ready")
    until(lambda: not (folder(shared, upload) / "data").exists())
    same = make(shared, upload, name="late", layout="N C H W")
    assert (same.status_code, same.json()["id"]) == (200, again.json()["id"])


def test_what_an_upload_has_become_is_known_also_where_the_disk_did_not_take_it_at_first(
    shared: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep = Uploads.keep_became
    fails = [True]

    def refuses_once(self: Uploads, *arguments: Any) -> None:
        if fails.pop() if fails else False:
            raise OSError(28, "No space left on device")
        keep(self, *arguments)

    monkeypatch.setattr(Uploads, "keep_became", refuses_once)
    upload = arrive(shared)
    made = make(shared, upload, name="full disk")
    assert made.status_code == 201, made.text
    assert not fails
    assert make(shared, upload, name="full disk").json() == made.json()


def test_uploads_that_are_too_old_take_no_room_and_can_be_deleted(few: Server) -> None:
    user = as_user("192.0.2.50")
    kept = [begin(few, 10, **user).json()["id"] for _ in range(3)]
    refused = check(begin(few, 10, **user), 429)
    assert "there are 3 uploads of 192.0.2.50" in refused["detail"]
    assert "SAF_UPLOADS_KEPT_PER_USER" in refused["detail"]
    other = as_user("192.0.2.51")
    kept += [begin(few, 10, **other).json()["id"] for _ in range(2)]
    assert "SAF_UPLOADS_KEPT on" in check(begin(few, 10, **other), 429)["detail"]
    long_ago = time.time() - 25 * 3600
    for upload in kept[:2]:
        os.utime(folder(few, upload) / "data", (long_ago, long_ago))
    assert few.http.delete(f"/v1/uploads/{kept[0]}", headers=TUS).status_code == 204
    assert few.http.head(f"/v1/uploads/{kept[1]}", headers=TUS).status_code == 410
    new = begin(few, 10, **user)
    assert new.status_code == 201, new.text
    assert not folder(few, kept[1]).exists(), "it made room"
    for upload in (*kept[2:], new.json()["id"]):
        assert few.http.delete(f"/v1/uploads/{upload}", headers=TUS).status_code == 204


def test_a_request_that_meets_the_end_of_an_upload_makes_no_new_folder(
    shared: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    uploads = shared.service.part(Uploads)
    upload, find = arrive(shared), Uploads.find

    def then_goes(self: Uploads, id_: str) -> files.Upload:
        found = find(self, id_)
        shutil.rmtree(found.directory)
        return found

    monkeypatch.setattr(Uploads, "find", then_goes)
    with pytest.raises(NotFoundError), uploads.held(upload):
        pass
    assert not folder(shared, upload).exists()


def test_another_process_that_makes_room_for_long_is_told_in_words(
    shared: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "CREATION_SECONDS", 0.0)
    lock = DirectoryLock(shared.service.part(Uploads).directory / files.CREATION)
    try:
        assert "try again in a moment" in check(begin(shared, 10), 503)["detail"]
    finally:
        lock.release()


LONG = "x" * 1001
NOWHERE = '{"upload": "up_x", %s}'


@pytest.mark.parametrize(
    ("body", "status", "pointer"),
    [
        (r'{"upload": "up_\u0000"}', 422, "/upload"),
        (r'{"upload": "up_\ud800"}', 422, "/upload"),
        ('{"upload": "up_%s"}' % ("a" * 300), 404, None),
        ('{"upload": "up_../x"}', 404, None),
        ('{"upload": 5}', 422, "/upload"),
        ('{"upload": null}', 422, "/upload"),
        ('{"folder": 5}', 422, "/folder"),
        ('{"folder": null}', 422, "/upload"),
        (NOWHERE % '"folder": null', 404, None),
        (NOWHERE % '"folder": 5', 422, "/folder"),
        (NOWHERE % '"folder": "x"', 422, "/folder"),
        (NOWHERE % '"upload": "up_y"', 422, "/upload"),
        (NOWHERE % '"name": "a", "name": "b"', 422, "/name"),
        (NOWHERE % '"severity": NaN', 422, "/severity"),
        (NOWHERE % '"severity": 1e999', 422, "/severity"),
        (NOWHERE % f'"severity": {10**400}', 422, "/severity"),
        (NOWHERE % f'"layout": "{LONG}"', 422, "/layout"),
        (NOWHERE % r'"layout": "\u0000"', 422, "/layout"),
        (NOWHERE % '"layout": ["N"]', 422, "/layout"),
        (NOWHERE % r'"\ud800": []', 422, "/?"),
    ],
)
def test_what_cannot_be_meant_is_refused_where_it_stands(
    shared: Server, body: str, status: int, pointer: str | None
) -> None:
    answer = shared.http.post(
        "/v1/datasets", content=body.encode(), headers={"Content-Type": "application/json"}
    )
    problem = check(answer, status)
    assert [error["pointer"] for error in problem["errors"]] == ([pointer] if pointer else [])


def test_no_id_is_looked_for_that_none_can_be(shared: Server) -> None:
    for id_ in ("up_" + "a" * 300, "up_..", "up_é", "ds_x", "up_"):
        for method in ("HEAD", "GET", "PATCH", "DELETE"):
            headers = {**BYTES, "Upload-Offset": "0"}
            answer = shared.http.request(method, f"/v1/uploads/{id_}", headers=headers)
            assert answer.status_code == 404, (method, id_)
