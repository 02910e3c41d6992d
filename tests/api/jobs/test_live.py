from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from api.jobs import live as stream
from api.jobs.live import Streams
from api.settings import Settings
from api.store.jobs import lifecycle
from api.store.runs import logs
from api.web import sse
from tests import loops
from tests.answers import answers
from tests.api.conftest import NO_BROKER, Server, serving
from tests.postgres import PostgresServer
from tests.waiting import PATIENCE, until


def test_a_live_stream_shows_the_timeline_progress_and_the_end(server: Server) -> None:
    job = server.submit()
    with server.stream(job["urls"]["events"]) as live:
        assert live.response.headers["content-type"].startswith("text/event-stream")
        assert live.response.headers["cache-control"] == "no-store"
        messages = live.messages()
        id_, event, data = next(messages)
        assert (id_, event, data["type"]) == ("1", "message", "queued")
        id_, event, data = next(messages)
        assert (id_, event, data["status"]) == (None, "progress", "queued")
        assert data["jobs_ahead"] == 0
        claim = server.run(steps_total=10)
        server.progress(claim, 5, loss=0.25)
        seen = [next(messages)]
        while seen[-1][1] != "progress" or seen[-1][2]["progress"]["step"] < 5:
            seen.append(next(messages))
        assert [data["type"] for _, event, data in seen if event == "message"] == [
            "starting",
            "running",
        ]
        assert [id_ for id_, event, _ in seen if event == "message"] == ["2", "3"]
        assert seen[-1][2]["latest_metrics"] == {"loss": 0.25}
        assert seen[-1][2]["progress"]["fraction"] == 0.5
        server.succeed(claim)
        rest = list(messages)
    assert [(id_, event) for id_, event, _ in rest] == [("4", "message"), (None, "done")]
    assert rest[-1][2] == server.get(job["urls"]["self"])
    until(lambda: server.service.part(Streams).watched == 0)


@pytest.mark.parametrize("position", [{"Last-Event-ID": "2"}, {"after": "2"}])
def test_a_stream_goes_on_after_the_last_message_seen(
    server: Server, position: dict[str, str]
) -> None:
    path = server.submit()["urls"]["events"]
    server.succeed(server.run())
    headers = {name: value for name, value in position.items() if name != "after"}
    query = "?after=2" if "after" in position else ""
    with server.stream(path + query, **headers) as live:
        found = list(live.messages())
    assert [(id_, event) for id_, event, _ in found] == [
        ("3", "message"),
        ("4", "message"),
        (None, "done"),
    ]
    refused = server.http.get(path, headers={"Accept": "text/event-stream", "Last-Event-ID": "x"})
    assert refused.status_code == 422


def test_many_viewers_of_a_job_share_one_poller(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: set[stream.JobWatch] = set()
    look = stream.JobWatch.look

    def counted(watch: stream.JobWatch) -> bool:
        looked.add(watch)
        return look(watch)

    monkeypatch.setattr(stream.JobWatch, "look", counted)
    job = server.submit()
    lives = [server.stream(job["urls"]["events"]) for _ in range(10)]
    readers = [live.__enter__().messages() for live in lives]
    for messages in readers:
        assert next(messages)[2]["type"] == "queued"
    assert server.service.part(Streams).watched == 1
    server.http.post(f"{job['urls']['self']}/cancel").raise_for_status()
    for messages in readers:
        assert [event for _, event, _ in messages][-2:] == ["message", "done"]
    assert len(looked) == 1
    for live in lives:
        live.__exit__(None, None, None)
    until(lambda: server.service.part(Streams).watched == 0)


def test_the_stream_of_the_list_tells_deletions_and_can_begin_without_the_list(
    server: Server,
) -> None:
    job = server.submit()
    server.fail(server.run())
    with server.stream("/v1/stream?snapshot=false") as live:
        messages = live.messages()
        assert next(messages)[1] == "begin"
        server.http.delete(job["urls"]["self"]).raise_for_status()
        assert next(messages)[1:] == ("deleted", {"id": job["id"]})


def test_the_last_change_of_an_old_job_is_told_though_newer_ones_crowd_it_out(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "LISTED_JOBS", 1)
    old = server.submit()
    claim = server.run()
    server.submit()
    with server.stream("/v1/stream?snapshot=false") as live:
        messages = live.messages()
        assert next(messages)[1] == "begin"
        server.succeed(claim)
        _, event, data = next(messages)
        assert (event, data["id"], data["status"]) == ("job", old["id"], "succeeded")


def test_a_viewer_that_leaves_is_forgotten(server: Server) -> None:
    job = server.submit()
    with server.stream(job["urls"]["events"]) as live:
        next(live.messages())
        assert server.service.part(Streams).watched == 1
    until(lambda: server.service.part(Streams).watched == 0)


def test_a_quiet_stream_is_kept_alive_by_comments(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "COMMENT_SECONDS", 0.05)
    job = server.submit()
    with server.stream(job["urls"]["events"]) as live:
        assert live.comment() == ": still here"


def test_a_quiet_stream_repeats_where_the_job_stands(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "COMMENT_SECONDS", 0.05)
    job = server.submit()
    with server.stream(job["urls"]["events"]) as live:
        messages = live.messages()
        assert next(messages)[1] == "message"  # the first line of its timeline
        first, again = next(messages), next(messages)
        assert first[1] == "progress"
        assert first == again


def test_the_stream_of_a_deleted_job_ends(server: Server) -> None:
    job = server.submit()
    with server.stream(job["urls"]["events"]) as live:
        messages = live.messages()
        next(messages)
        with server.service.database.writing() as session:
            lifecycle.cancel(session, job["id"])
            lifecycle.delete(session, job["id"])
        assert list(messages)[-1][1:] == ("done", {"id": job["id"], "deleted": True})


def test_the_stream_of_the_list_shows_each_job_and_each_change(server: Server) -> None:
    first, second = server.submit(name="first"), server.submit(name="second")
    with server.stream("/v1/stream") as live:
        messages = live.messages()
        listed = [next(messages), next(messages)]
        assert [(event, data["id"]) for _, event, data in listed] == [
            ("job", first["id"]),
            ("job", second["id"]),
        ]
        server.http.post(f"{second['urls']['self']}/cancel").raise_for_status()
        _, event, data = next(messages)
        assert (event, data["id"], data["status"]) == ("job", second["id"], "cancelled")
        third = server.submit(name="third")
        _, _, data = next(messages)
        assert (data["id"], data["name"], data["status"]) == (third["id"], "third", "queued")


@pytest.mark.slow
def test_the_log_is_followed_to_its_end(server: Server) -> None:
    job = server.submit()
    claim = server.run()
    with server.service.database.writing() as session:
        logs.append(session, job["id"], 1, "one\r50 %\n")
    with server.stream(job["urls"]["logs"]) as live:
        messages = live.messages()
        id_, event, data = next(messages)
        assert (event, data["text"]) == ("message", "one\n50 %\n")
        with server.service.database.writing() as session:
            logs.append(session, job["id"], 1, "two\n")
        server.succeed(claim)
        rest = list(messages)
    assert "".join(data["text"] for _, event, data in rest if event == "message") == "two\n"
    assert rest[-1][1] == "done"
    with server.stream(job["urls"]["logs"], **{"Last-Event-ID": id_ or ""}) as live:
        again = list(live.messages())
    assert [data.get("text") for _, _, data in again] == ["two\n", None]


@pytest.fixture
def own_postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL server that a test may stop."""
    postgres = PostgresServer()
    yield postgres
    postgres.remove()


@pytest.mark.slow
def test_a_database_that_is_away_ends_no_stream_and_is_said_in_one_line(
    own_postgres: PostgresServer, tmp_path: Path
) -> None:
    url = own_postgres.create_database("jobs")
    settings = Settings(data_dir=tmp_path, database_url=url, broker_url=NO_BROKER)
    with serving(settings) as server:
        job = server.submit()
        with server.stream(job["urls"]["events"]) as live:
            next(live.messages())
            own_postgres.stop()
            while "does not answer" not in live.comment():
                pass
            for path in ("/v1/jobs", job["urls"]["self"], "/v1/workers"):
                response = server.http.get(path)
                assert response.status_code == 503
                assert response.json()["code"] == "unavailable"
                assert "database" in response.json()["detail"]
                assert "\n" not in response.json()["detail"]
            assert server.http.post("/v1/jobs", json={}).status_code == 503
            ready = server.http.get("/readyz")
            assert ready.status_code == 503
            assert {error["pointer"] for error in ready.json()["errors"]} == {"database", "broker"}
            assert server.http.get("/healthz").status_code == 200
            own_postgres.start()
            until(lambda: server.http.get("/v1/jobs").status_code == 200)
            server.http.post(f"{job['urls']['self']}/cancel").raise_for_status()
            assert [event for _, event, _ in live.messages()][-1] == "done"


def test_streams_end_when_the_server_is_asked_to_stop(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {
        **os.environ,
        "SAF_DATA_DIR": str(tmp_path),
        "BROKER_URL": NO_BROKER,
        "SAF_SWEEP_SECONDS": "60",
    }
    command = [sys.executable, "-m", "uvicorn", "--factory", "api.main:create_app"]
    process = subprocess.Popen(
        [*command, "--port", str(port)], env=environment, stderr=subprocess.DEVNULL
    )
    try:
        address = f"http://127.0.0.1:{port}"
        until(lambda: process.poll() is not None or answers(f"{address}/healthz"))
        job = httpx.post(f"{address}/v1/jobs", json={}, timeout=PATIENCE).json()
        events = httpx.Client(base_url=address, timeout=PATIENCE)
        with events.stream(
            "GET", job["urls"]["events"], headers={"Accept": "text/event-stream"}
        ) as response:
            lines = response.iter_lines()
            assert next(lines) == "retry: 1000"
            process.send_signal(signal.SIGTERM)
            # No limit is set on how long uvicorn waits: only the stream's own end lets it stop.
            assert all(not line.startswith("event: done") for line in lines)
        events.close()
        assert process.wait(timeout=PATIENCE) in (0, -signal.SIGTERM)
    finally:
        process.kill()
        process.wait()


def test_a_message_is_an_id_an_event_and_one_line_of_data() -> None:
    assert sse.message("{}", event="progress") == "event: progress\ndata: {}\n\n"
    assert sse.message("{}", id_=3) == "id: 3\ndata: {}\n\n"


@pytest.mark.slow
def test_a_hundred_viewers_all_get_the_same_timeline_also_after_a_cut(server: Server) -> None:
    job = server.submit()
    events = f"{job['urls']['events']}"

    async def watch(client: httpx.AsyncClient, *, cut_after: int) -> list[int]:
        """The timeline as one viewer sees it who is cut off once and comes back."""
        seen: list[int] = []
        ways = [{}, {"Last-Event-ID": str(cut_after)}]
        while ways:
            accept = {"Accept": "text/event-stream", **ways[0]}
            async with client.stream("GET", events, headers=accept) as response:
                if response.status_code == 429:  # the place that it had is not free again yet
                    await asyncio.sleep(0.1)
                    continue
                headers = ways.pop(0)
                async for line in response.aiter_lines():
                    if line.startswith("id: "):
                        seen.append(int(line[4:]))
                    if line == "event: done":
                        return seen
                    if not headers and len(seen) == cut_after:
                        break
        return seen

    async def all_of_them() -> list[list[int]]:
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(
            base_url=server.address, timeout=PATIENCE, limits=limits
        ) as client:
            viewers = [asyncio.create_task(watch(client, cut_after=1 + n % 3)) for n in range(100)]
            claim = await asyncio.to_thread(server.run)
            for step in (10, 20, 30):
                await asyncio.to_thread(server.progress, claim, step)
            await asyncio.to_thread(server.succeed, claim)
            return list(await asyncio.gather(*viewers))

    seen = loops.run(all_of_them())
    timeline = [event["sequence"] for event in server.get(events)["data"]]
    assert len(timeline) >= 4
    assert seen == [timeline] * 100
    until(lambda: server.service.part(Streams).watched == 0)
