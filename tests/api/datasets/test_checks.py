"""Checks of uploads: long ones, failed ones, those that a restart cut off."""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import update

from api.datasets import accept, checks
from api.datasets.checks import Checks
from api.settings import Settings
from api.store.tables.uploads import Dataset
from tests.api.conftest import NO_BROKER, Server, serving
from tests.api.datasets.uploading import IMAGES, leftovers, npz, row, upload
from tests.api.web.test_problems import check
from tests.waiting import PATIENCE, until


@pytest.mark.slow
def test_what_cannot_be_used_is_refused_with_the_reason_and_leaves_nothing(server: Server) -> None:
    body = check(upload(server, npz(1, 8, 8, labels=1)), 422)
    (error,) = body["errors"]
    assert error["pointer"] == "/file"
    assert "class" in error["detail"]
    assert [entry["name"] for entry in server.get("/v1/datasets")["data"]] == ["digits"]
    assert leftovers(server) == []


@pytest.mark.slow
def test_a_long_check_goes_on_after_the_answer(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accept, "CHECK_WAIT_SECONDS", 0.0)
    good, bad = upload(server, name="good"), upload(server, b"\0", name="bad")
    assert (good.status_code, bad.status_code) == (201, 201)
    assert good.json()["status"] == "checking"
    early = server.http.post("/v1/jobs", json={"dataset": "good"})
    if early.status_code != 201:  # the check may be quicker
        assert check(early, 409)["errors"][0]["pointer"] == "/dataset"

    def ended(response: httpx.Response) -> Any:
        found = server.get(response.json()["urls"]["self"])
        return found if found["status"] != "checking" else None

    assert until(lambda: ended(good))["shape"] == [3, 9, 10]
    refused = until(lambda: ended(bad))
    assert refused["status"] == "invalid"
    assert refused["problems"][0]["message"]
    assert refused["problems"][0]["hint"]
    body = check(server.http.post("/v1/jobs", json={"dataset": "bad"}), 422)
    assert refused["problems"][0]["message"] in body["errors"][0]["detail"]
    again = upload(server, name="bad")
    assert again.status_code == 201, "an invalid upload keeps no name"


@pytest.mark.parametrize(
    ("broken", "status"), [("interpreter", 503), ("storage", 503), ("verdict", 500)]
)
def test_a_check_that_fails_on_our_side_is_not_blamed_on_the_file(
    server: Server, monkeypatch: pytest.MonkeyPatch, broken: str, status: int
) -> None:
    if broken == "interpreter":
        monkeypatch.setattr(sys, "executable", "/nowhere/python")
    elif broken == "storage":
        server.files.directory.write_text("no directory")
    else:
        monkeypatch.setattr(checks, "GRACE_SECONDS", None)
    check(upload(server), status)
    monkeypatch.undo()
    assert [entry["name"] for entry in server.get("/v1/datasets")["data"]] == ["digits"]
    assert leftovers(server) == []


def test_more_uploads_than_may_wait_are_answered_at_once(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server.service.part(Checks), "_waiting", threading.BoundedSemaphore(1))
    with server.service.part(Checks)._waiting:
        response = upload(server)
    assert response.status_code == 201
    until(lambda: server.get("/v1/datasets/mine")["status"] == "ready")


def test_a_check_that_was_cut_off_goes_on_when_the_server_starts(
    database_url: str, tmp_path: Path
) -> None:
    settings = Settings(data_dir=tmp_path, database_url=database_url, broker_url=NO_BROKER)
    with serving(settings) as server:
        row(server, id="ds_here", name="here", status="checking", summary={}, created_at=4e9)
        row(server, id="ds_lost", name="lost", status="checking", summary={}, created_at=1.0)
        row(server, id="ds_else", name="else", status="checking", summary={}, created_at=4e9)
        uploads = server.service.part(Checks).directory
    for name in ("ds_here", "ds_stale"):
        (uploads / name / "file").mkdir(parents=True)
        (uploads / name / "file" / "mine.npz").write_bytes(IMAGES)
    with serving(settings) as server:
        until(lambda: server.get("/v1/datasets/here")["status"] != "checking")
        assert server.get("/v1/datasets/here")["shape"] == [3, 9, 10]
        lost = server.get("/v1/datasets/lost")
        assert lost["status"] == "invalid"
        assert "Upload the file again" in lost["problems"][0]["hint"]
        assert server.get("/v1/datasets/else")["status"] == "checking", "another machine's"
        until(lambda: leftovers(server) == [])


def test_a_check_that_has_waited_for_long_on_this_machine_is_not_given_up(
    shared: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    let_go, run, service = threading.Event(), Checks._run, shared.service.part(Checks)

    def waits(self: Checks, *arguments: Any) -> Any:
        assert let_go.wait(PATIENCE)
        return run(self, *arguments)

    monkeypatch.setattr(Checks, "_run", waits)
    row(shared, id="ds_waits", name="waits", status="checking", created_at=1.0)
    (service.directory / "ds_waits" / "file").mkdir(parents=True)
    (service.directory / "ds_waits" / "file" / "mine.npz").write_bytes(IMAGES)
    service.resume()
    assert shared.get("/v1/datasets/waits")["status"] == "checking"
    let_go.set()
    until(lambda: shared.get("/v1/datasets/waits")["status"] == "ready")


def test_an_upload_that_begins_to_wait_for_an_answer_while_a_server_starts_stays(
    shared: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = shared.service.part(Checks)
    folder = service.directory / "ds_asks" / "file"

    def meanwhile(self: Checks) -> None:
        row(shared, id="ds_asks", name="asks", status="needs_choice")
        folder.mkdir(parents=True)

    monkeypatch.setattr(Checks, "expire", meanwhile)
    service.resume()
    assert folder.is_dir()
    assert shared.http.delete("/v1/datasets/ds_asks").status_code == 204
    assert not folder.exists()


def test_the_row_of_a_data_set_deleted_during_its_check_leaves_no_file(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accept, "CHECK_WAIT_SECONDS", 0.0)
    found = upload(server).json()
    with server.service.database.writing() as session:
        session.execute(update(Dataset).values(status="checking"))
    assert server.http.delete(found["urls"]["self"]).status_code == 204
    until(lambda: leftovers(server) == [])
    files = server.files.directory.rglob("*")
    assert [path for path in files if path.is_file()] == []
