"""The list of jobs: its order, its pages, and what it costs when there are thousands."""

from __future__ import annotations

import re
from html import unescape
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import event, insert

from api.store.ids import new_id
from api.store.tables.jobs import Job, Status

if TYPE_CHECKING:
    from tests.api.conftest import Server

PAGE = {"Accept": "text/html,*/*"}
SORTS = (
    *("status", "name", "method", "network", "dataset", "timesteps"),
    *("best_accuracy", "progress", "device", "created"),
)


def rows_like(document: dict[str, Any], count: int) -> list[dict[str, Any]]:
    """Rows of jobs that ended long ago, in all shapes of a sorted column, ties and gaps too."""
    statuses = (Status.succeeded, Status.failed, Status.cancelled, Status.paused)
    return [
        {
            "id": new_id("job"),
            "name": f"run {number % 40}",
            "specification": {**document["specification"], "timesteps": 2 + number % 7},
            "method": ("saf-e", "bptt")[number % 2],
            "network": "convnet",
            "dataset": "digits",
            "priority": 5,
            "parameters": 1,
            "memory_bytes": 1,
            "status": statuses[number % 4],
            "attempt": 1,
            "losses": 0,
            "created_at": float(number),
            "queued_at": float(number),
            "step": number % 11,
            "steps_total": None if number % 5 == 0 else 10,
            "epoch": 0.0,
            "started_step": 0,
            "latest": {},
            "best_accuracy": None if number % 3 == 0 else number % 17 / 16,
            "device": None if number % 4 == 0 else f"cuda:{number % 3}",
            "events_count": 0,
            "version": 0,
        }
        for number in range(count)
    ]


def fill(server: Server, count: int) -> None:
    rows = rows_like(server.submit(), count)
    for start in range(0, count, 1000):  # a writer may not hold a database for long
        with server.service.database.writing() as session:
            session.execute(insert(Job), rows[start : start + 1000])


@pytest.mark.slow
@pytest.mark.parametrize("direction", ["", "-"])
def test_pages_of_every_order_show_each_job_once_forwards_and_backwards(
    server: Server, direction: str
) -> None:
    fill(server, 44)
    for name in SORTS:
        sort = direction + name
        forwards: list[list[str]] = []
        page = server.get("/v1/jobs", sort=sort, limit=10)
        forwards.append([job["id"] for job in page["data"]])
        while page["has_more"]:
            page = server.get("/v1/jobs", sort=sort, limit=10, after=page["last_id"])
            forwards.append([job["id"] for job in page["data"]])
        assert len({job for ids in forwards for job in ids}) == 45, sort
        assert [len(ids) for ids in forwards] == [10, 10, 10, 10, 5], sort
        backwards: list[Any] = []
        while True:
            page = server.get("/v1/jobs", sort=sort, limit=10, before=page["first_id"])
            backwards.insert(0, [job["id"] for job in page["data"]])
            if not page["has_more"]:
                break
        assert backwards == forwards[:-1], sort


def test_the_largest_stand_first_and_jobs_without_a_value_last(server: Server) -> None:
    fill(server, 30)
    found = server.get("/v1/jobs", sort="-best_accuracy", limit=100)["data"]
    values = [-1 if job["best_accuracy"] is None else job["best_accuracy"] for job in found]
    assert values == sorted(values, reverse=True)
    steps = [
        job["specification"]["timesteps"]
        for job in server.get("/v1/jobs", sort="timesteps")["data"]
    ]
    assert steps == sorted(steps)


def test_a_page_goes_on_where_it_was_though_the_job_there_was_deleted(server: Server) -> None:
    fill(server, 120)
    first = server.http.get("/?sort=-best_accuracy", headers=PAGE).text
    shown = re.findall(r'<tr role="row" id="(job_\w+)"', first)
    older = re.search(r'id="older" rel="next" href="([^"]+)"', first)
    assert older is not None
    terminal = [job for job in shown if server.get(f"/v1/jobs/{job}")["status"] != "paused"]
    server.http.delete(f"/v1/jobs/{terminal[-1]}").raise_for_status()
    second = server.http.get(unescape(older[1]), headers=PAGE).text
    more = re.findall(r'<tr role="row" id="(job_\w+)"', second)
    assert len(more) == 50
    assert not set(more) & set(shown)
    newer = re.search(r'id="newer" rel="prev" href="([^"]+)"', second)
    assert newer is not None
    back = server.http.get(unescape(newer[1]), headers=PAGE).text
    again = re.findall(r'<tr role="row" id="(job_\w+)"', back)
    assert again == [job for job in shown if job != terminal[-1]]


def test_an_order_or_a_place_that_is_none_is_refused_with_what_there_is(shared: Server) -> None:
    for query, says in (
        ("sort=colour", "best_accuracy"),
        ("sort=-best_accuracy&after=much~job_1", "no place"),
        ("sort=timesteps&after=99999999999999999999~job_1", "no place"),
        ("sort=name&after=job_nowhere", "first page"),
        ("after=job_1&before=job_2", "not both"),
    ):
        refused = shared.http.get(f"/v1/jobs?{query}")
        assert refused.status_code == 422, query
        assert says in refused.json()["detail"], query


def test_filters_and_order_stay_in_every_address_of_the_page(shared: Server) -> None:
    shared.submit(name="kept", metadata={"sweep": "a&b"})
    page = shared.http.get("/?q=kept&metadata[sweep]=a%26b&sort=name", headers=PAGE).text
    heading = re.search(r'<a id="sort-name" href="([^"]+)"', page)
    assert heading is not None
    assert unescape(heading[1]) == "/?q=kept&metadata%5Bsweep%5D=a%26b&sort=-name"
    assert 'aria-sort="ascending"><a id="sort-name"' in page
    assert "sweep = a&amp;b" in page
    assert 'href="/?q=kept&amp;sort=name"' in page  # without the label


@pytest.mark.slow
def test_ten_thousand_jobs_cost_as_many_statements_and_rows_as_a_page_has(server: Server) -> None:
    fill(server, 10_000 if server.service.database.is_sqlite else 1_000)  # a slower writer
    statements: list[str] = []
    loaded = 0

    def on_statement(*args: Any) -> None:
        statements.append(args[2])

    def on_load(*args: Any) -> None:
        nonlocal loaded
        loaded += 1

    engine = server.service.database.engine
    event.listen(engine, "before_cursor_execute", on_statement)
    event.listen(Job, "load", on_load)
    try:
        for address in ("/", "/?sort=-best_accuracy", "/?q=run+7&sort=name", "/system"):
            statements.clear()
            loaded = 0
            assert server.http.get(address, headers=PAGE).status_code == 200
            asked = [text for text in statements if "metric_chunks" in text or "events" in text]
            assert not [
                text for text in asked if "FROM metric_chunks" in text or "FROM events" in text
            ]
            about_jobs = [text for text in statements if "FROM jobs" in text]
            assert len(about_jobs) <= 5, address
            assert loaded <= 51, address
    finally:
        event.remove(engine, "before_cursor_execute", on_statement)
        event.remove(Job, "load", on_load)
