"""The pages as the server renders them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.api.conftest import Server

PAGE = {"Accept": "text/html,*/*"}


def test_an_empty_list_tells_how_to_submit(server: Server) -> None:
    page = server.http.get("/", headers=PAGE)
    assert page.status_code == 200
    assert f"curl {server.address}/v1/jobs -H" in page.text


@pytest.mark.slow
def test_older_pages_show_every_job_once(server: Server) -> None:
    submitted = [server.submit(name=f"job {number}")["id"] for number in range(55)]
    first = server.http.get("/?q=job", headers=PAGE).text
    older = re.search(r'href="(/\?[^"]*after=[^"]*)"', first)
    assert older is not None
    second = server.http.get(older[1].replace("&amp;", "&"), headers=PAGE).text
    shown = re.findall(r'<tr role="row" id="(job_\w+)"', first + second)
    assert shown == submitted[::-1]
    assert "after=" not in second


def test_a_browser_gets_a_page_and_a_program_a_problem(shared: Server) -> None:
    for path in ("/nowhere", "/jobs/job_nowhere", "/new?from=job_nowhere"):
        page = shared.http.get(path, headers=PAGE)
        assert page.status_code == 404
        assert page.headers["content-type"].startswith("text/html")
        assert "<h1>Not" in page.text
        assert shared.http.get(path).headers["content-type"] == "application/problem+json"
    problem = shared.http.get("/v1/jobs/job_nowhere", headers=PAGE)
    assert problem.headers["content-type"] == "application/problem+json"


def test_a_status_that_does_not_exist_is_refused_with_those_that_do(shared: Server) -> None:
    page = shared.http.get("/?status=sleeping", headers=PAGE)
    assert page.status_code == 422
    assert "queued, starting, running" in page.text


def test_pages_ask_for_nothing_from_elsewhere_and_hold_no_inline_code(shared: Server) -> None:
    job_id = shared.submit()["id"]
    for path in (
        "/",
        "/new",
        "/datasets",
        "/networks",
        "/system",
        f"/jobs/{job_id}",
        f"/compare?jobs={job_id}",
    ):
        page = shared.http.get(path, headers=PAGE)
        assert page.status_code == 200, path
        # A link that a person follows asks for nothing by itself.
        asked = re.sub(r'<a href="https?://[^"]*" rel="noreferrer">', "", page.text)
        for address in re.findall(r'\s(?:src|href|action)="([^"]*)"', asked):
            assert address.startswith("/") or address == "#content", address
        assert not re.search(r"<script(?![^>]*src=)|<style|\sstyle=|\son\w+=", page.text), path


def test_every_file_that_a_page_names_is_there(shared: Server) -> None:
    job_id = shared.submit()["id"]
    named = set()
    for path in ("/", "/new", "/datasets", "/networks", "/system", f"/jobs/{job_id}"):
        page = shared.http.get(path, headers=PAGE).text
        named |= set(re.findall(r'"(/static/[^"]+)"', page))
    assert len(named) >= 9
    for address in named:
        assert shared.http.get(address).status_code == 200, address
