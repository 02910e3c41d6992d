"""The state of the service, and errors as pages."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from api.jobs.pages import list_page
from api.store import workers
from api.system.disk_usage import Storage

if TYPE_CHECKING:
    from tests.api.conftest import Server

PAGE = {"Accept": "text/html,*/*"}


@pytest.mark.slow
def test_the_queue_shows_who_is_served_first_not_who_came_last(server: Server) -> None:
    for number in range(55):
        server.submit(name=f"job {number:02}", priority=0 if number == 53 else 5)
    page = server.http.get("/system", headers=PAGE).text
    shown = re.findall(r'<a href="/jobs/job_\w+">(job \d+)</a>', page)
    assert shown == ["job 53", *(f"job {number:02}" for number in range(49))]
    assert "The first 50 of 55" in page


def test_what_is_degraded_is_said_with_what_to_do(server: Server) -> None:
    server.submit()
    page = server.http.get("/system", headers=PAGE).text
    assert "The broker does not answer" in page
    assert "No worker is alive. 1 job waits. Start one with saf serve or python -m worker." in page
    with server.service.database.writing() as session:
        workers.register(
            session,
            worker_id="wrk_1",
            host="machine",
            pid=1,
            version="0",
            devices=["cpu"],
            slots=1,
        )
    assert "No worker is alive" not in server.http.get("/system", headers=PAGE).text


def test_storage_tells_what_is_kept_and_asks_once_in_a_while(
    server: Server, tmp_path: Path
) -> None:
    storage = server.service.part(Storage)
    first = storage.use()
    assert first.database is not None
    assert first.database > 10_000
    assert (first.artifacts, first.files) == (0, 0)
    assert first.free is None or first.free > 0
    assert storage.use() is first


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nowhere", 404),
        ("POST", "/system", 405),
        ("GET", "/?sort=colour", 422),
        ("GET", f"/?q={'x' * 300}", 422),
        ("GET", "/jobs/%00", 400),
    ],
)
def test_a_person_gets_an_error_as_a_page_with_its_request_id(
    shared: Server, method: str, path: str, status: int
) -> None:
    page = shared.http.request(method, path, headers=PAGE)
    assert page.status_code == status
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert f"<code>{page.headers['x-request-id']}</code>" in page.text
    assert "To the list of jobs" in page.text
    problem = shared.http.request(method, path)
    assert problem.status_code == status
    assert problem.headers["content-type"] == "application/problem+json"


def test_a_defect_is_a_page_too_and_tells_its_number_but_not_its_cause(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("secret")

    monkeypatch.setattr(list_page, "find_jobs", broken)
    page = server.http.get("/", headers=PAGE)
    assert page.status_code == 500
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert page.headers["x-request-id"] in page.text
    assert "default-src 'self'" in page.headers["content-security-policy"]
    assert "secret" not in page.text
    assert server.http.get("/").json()["code"] == "internal"
