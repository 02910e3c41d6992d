"""Whatever is asked for, an answer costs no more than it may."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from sqlalchemy import text

from api.jobs.results import metrics as history
from api.settings import Settings
from api.store import pagesize
from api.store.runs import logs, metrics
from api.store.runs.logs import MAX_CHUNK
from tests.acceptance.hostile import integers
from tests.api.conftest import NO_BROKER, Server, serving
from tests.api.web.test_problems import check
from tests.postgres import PostgresServer
from tests.waiting import PATIENCE, until

LARGEST = 2**63 - 1


def points(server: Server, **count: int) -> str:
    """A job with so many points of each metric; the address of its metrics."""
    job = server.submit()
    with server.service.database.writing() as session:
        for name, number in count.items():
            metrics.append(
                session, job["id"], 1, {name: [(step, step / 3) for step in range(number)]}
            )
    path: str = job["urls"]["metrics"]
    return path


def test_every_number_in_an_address_fits_its_column(shared: Server) -> None:
    found = 0
    for path, name, info in integers(shared.app.routes):
        kinds = str(info.annotation)
        if not re.search(r"\bint\b", kinds) or "Listing" in kinds:
            continue
        found += 1
        bounds = {
            key: getattr(limit, key)
            for limit in info.metadata
            for key in ("ge", "gt", "le", "lt")
            if hasattr(limit, key)
        }
        assert {"ge", "gt"} & bounds.keys(), (path, name)
        assert bounds.get("le", bounds.get("lt", 2**64) - 1) <= LARGEST, (path, name)
    assert found > 5


@pytest.mark.slow
@pytest.mark.parametrize("number", [2**31, 2**63 - 1, 2**63, 2**64, 10**400, -1])
def test_a_number_of_any_size_is_answered(server: Server, number: int) -> None:
    job = server.submit()
    for path in (
        f"{job['urls']['events']}?after={number}",
        f"{job['urls']['logs']}?after={number}",
        f"{job['urls']['logs']}?tail={number}",
        f"{job['urls']['metrics']}?from_step={number}",
        f"{job['urls']['self']}/vitals?after_step={number}",
        f"/v1/jobs?limit={number}",
        f"/v1/jobs?sort=timesteps&after={number}~{job['id']}",
        f"/v1/comparison?jobs={job['id']}&format=svg&x=epoch&from={number}&to={number}",
        f"/v1/jobs/{job['id']}/predict",
    ):
        assert server.http.get(path).status_code in (200, 400, 404, 405, 422), path


def test_a_metric_that_is_named_again_and_again_is_sent_once(server: Server) -> None:
    path = points(server, loss=50)
    named: list[tuple[str, Any]] = [("names", ",".join(["loss"] * 200))] + [("names", "loss")] * 100
    answer = server.http.get(path, params=named)
    assert [one["name"] for one in answer.json()["series"]] == ["loss"]
    names = ",".join(f"x{number}" for number in range(101))
    assert (
        "100 are the most" in check(server.http.get(path, params={"names": names}), 422)["detail"]
    )


def test_points_are_bounded_over_all_metrics(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = points(server, a=3000, b=3000, c=10)
    monkeypatch.setattr(history, "ALL_POINTS", 600)
    series = server.get(path, max_points=3000)["series"]
    assert [one["count"] for one in series] == [3000, 3000, 10]
    assert sum(len(one["points"]) for one in series) <= 600
    (one,) = server.get(path, max_points=3000, names="a")["series"]
    assert 200 < len(one["points"]) <= 600


def test_metrics_in_pieces_are_the_json_of_the_whole(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = points(server, loss=2345, accuracy=1)
    whole = server.get(path, max_points=10_000)
    monkeypatch.setattr(history, "POINTS_AT_ONCE", 7)
    monkeypatch.setattr(history, "PIECE", 10)
    assert server.get(path, max_points=10_000) == whole
    assert len(whole["series"][1]["points"]) == 2345
    empty = server.submit()["urls"]["metrics"]
    assert server.get(empty)["series"] == []


@pytest.mark.slow
def test_a_slow_reader_holds_no_connection_to_the_database(server: Server) -> None:
    path = points(server, **{f"metric{number}": 20_000 for number in range(20)})
    pool: Any = server.service.database.engine.pool
    plain = {"accept-encoding": "identity"}
    with server.http.stream("GET", path, params={"format": "csv"}, headers=plain) as answer:
        pieces = answer.iter_raw()
        next(pieces)
        until(lambda: pool.checkedout() == 0)
        rest = sum(piece.count(b"\n") for piece in pieces)
    assert rest > 390_000


def test_a_log_of_any_length_is_read_from_both_ends_and_searched(server: Server) -> None:
    job = server.submit()
    path = job["urls"]["logs"]
    lines = [f"line {number} {'é' * (number % 50)}" for number in range(60_000)]
    whole = "\n".join(lines) + "\nlast without an end"
    with server.service.database.writing() as session:
        logs.append(session, job["id"], 1, whole)
        for piece in ("\n", "x", "\n", "\n" * 3):  # the ends of lines apart from them
            logs.append(session, job["id"], 1, piece)
    assert len(whole) > 20 * MAX_CHUNK
    everything = whole + "\nx\n" + "\n" * 3
    answer = server.http.get(path)
    assert answer.text == everything
    assert server.http.get(path, params={"after": answer.headers["x-log-after"]}).text == ""
    last = "".join(everything.splitlines(keepends=True)[-30_000:])
    assert server.http.get(path, params={"tail": 30_000}).text == last
    found = server.http.get(path, params={"q": "LINE 4444", "tail": 100}).text.splitlines()
    assert found[0].split() == ["4445", "line", "4444", "é" * (4444 % 50)]
    assert len(found) == 11
    end = server.http.get(path, params={"q": "without an end"}).text
    assert end.split()[0] == "60001"


def test_a_live_log_comes_in_pieces_and_whole(server: Server) -> None:
    job = server.submit()
    whole = "".join(f"line {number}\n" for number in range(400_000))
    with server.service.database.writing() as session:
        logs.append(session, job["id"], 1, whole)
    server.http.post(f"{job['urls']['self']}/cancel")
    texts = []
    with server.stream(job["urls"]["logs"]) as stream:
        for _, event, data in stream.messages():
            if event == "done":
                break
            texts.append(data["text"])
    assert "".join(texts) == whole
    assert max(map(len, texts)) < 3 * logs.PIECE


def test_filters_by_metadata_are_bounded(server: Server) -> None:
    metadata = {f"key{number}": str(number) for number in range(17)}
    job = server.submit(metadata=metadata)
    server.submit()
    filters = {f"metadata[{key}]": value for key, value in metadata.items()}
    refused = check(server.http.get("/v1/jobs", params=filters), 422)
    assert refused["errors"][0]["pointer"] == "metadata"
    assert server.http.get("/", params=filters).status_code == 422
    del filters["metadata[key16]"]
    assert [one["id"] for one in server.get("/v1/jobs", **filters)["data"]] == [job["id"]]


def test_a_query_that_is_too_long_is_refused(shared: Server) -> None:
    for query in ("q=" + "x" * 2**14, "&".join(["status=queued"] * 201)):
        body = check(shared.http.get(f"/v1/jobs?{query}"), 414)
        assert "SAF_QUERY_MAX_BYTES" in body["detail"]
    many = "&".join(["status=queued"] * 200)
    assert shared.http.get(f"/v1/jobs?{many}").status_code == 200


def test_a_body_of_too_many_values_is_refused_but_for_a_picture(shared: Server) -> None:
    job = shared.submit()
    kind = {"content-type": "application/json"}
    body = json.dumps({"augment": ["x"] * 20_001}).encode()
    refused = shared.http.post("/v1/jobs", content=body, headers=kind)
    assert "SAF_JSON_MAX_VALUES" in check(refused, 413)["detail"]
    picture = json.dumps({"pixels": [[[0] * 200] * 200]}).encode()
    answer = shared.http.post(f"{job['urls']['self']}/predict", content=picture, headers=kind)
    assert answer.status_code == 409, "it has no network yet"


def test_of_many_wrong_fields_some_are_told(shared: Server) -> None:
    answer = shared.http.post("/v1/jobs", json={f"key{n}": 1 for n in range(10_000)})
    body = check(answer, 422)
    assert len(body["errors"]) == 50
    assert body["detail"].endswith("; and 9950 more")
    long = check(shared.http.post("/v1/jobs", json={"x" * 100_000: 1}), 422)
    assert len(json.dumps(long)) < 10_000


def sweep(**change: Any) -> dict[str, Any]:
    return {"job": {"dataset": "digits"}, "over": {"/seed": [0, 1]}, **change}


def test_a_sweep_is_bounded(shared: Server) -> None:
    shared_by_all = {"method": {"name": "saf-e", "left behind": "x" * 300_000}}
    large = sweep(job=shared_by_all, over={"/method/name": ["saf-f"]})
    assert "make several" in check(shared.http.post("/v1/sweeps", json=large), 413)["detail"]
    deep = sweep(over={"/a" * 1000: [1]})
    assert check(shared.http.post("/v1/sweeps", json=deep), 422)


@pytest.mark.slow
def test_a_page_of_large_sweeps_ends_early_and_the_next_one_goes_on(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = [server.http.post("/v1/sweeps", json=sweep()).json()["id"] for _ in range(5)]
    size = len(json.dumps(server.get(f"/v1/sweeps/{made[0]}")["over"]))
    monkeypatch.setattr(pagesize, "MOST_CHARACTERS", 4 * size)
    seen: list[str] = []
    after = ""
    while True:
        page = server.get("/v1/sweeps", limit=200, after=after)
        assert 1 <= len(page["data"]) < 5
        seen += [one["id"] for one in page["data"]]
        if not page["has_more"]:
            break
        after = page["last_id"]
    assert seen == made[::-1]


def test_what_the_database_takes_too_long_for_is_answered_503(
    tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(
        data_dir=tmp_path,
        database_url=database_url,
        broker_url=NO_BROKER,
        statement_seconds=2.0,
    )
    slow = text(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000000000) "
        "SELECT count(*) FROM n"
    )
    with serving(settings) as server:
        job = server.submit()
        monkeypatch.setattr(metrics, "names", lambda session, _: session.scalar(slow))
        refused = check(server.http.get(job["urls"]["metrics"]), 503)
        assert "SAF_STATEMENT_SECONDS" in refused["detail"]
        assert server.get(job["urls"]["self"])["status"] == "queued"


@pytest.fixture
def few(
    own_server: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Server]:
    """An API with three connections to a PostgreSQL that lets in eight."""
    monkeypatch.setattr("api.store.database.POOL_SECONDS", PATIENCE)
    own_server.stop()
    own_server.start(connections=8)
    settings = Settings(
        data_dir=tmp_path,
        database_url=own_server.create_database("few"),
        broker_url=NO_BROKER,
        database_connections=3,
    )
    with serving(settings) as server:
        yield server


def test_many_requests_share_few_connections(few: Server) -> None:
    def ask(number: int) -> int:
        if number % 2:
            return few.http.get("/v1/jobs").status_code
        return few.http.post("/v1/jobs", json={"dataset": "digits"}).status_code

    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(ask, range(60)))
    assert set(answers) == {200, 201}
    assert len(few.get("/v1/jobs", limit=200)["data"]) == 30


def take_all(server: PostgresServer, held: ExitStack) -> None:
    """Connect until the server refuses."""
    while True:
        held.enter_context(psycopg.connect(server.url().replace("+psycopg", "")))


def test_readiness_says_that_connections_are_missing(
    few: Server, own_server: PostgresServer
) -> None:
    few.service.database.dispose()
    with ExitStack() as others:
        with pytest.raises(psycopg.OperationalError, match="too many clients"):
            take_all(own_server, others)
        body = check(few.http.get("/readyz"), 503)
        assert "SAF_DATABASE_CONNECTIONS" in body["detail"]
        assert "too many clients" in body["detail"]
        refused = check(few.http.get("/v1/jobs"), 503)
        assert "SAF_DATABASE_CONNECTIONS" in refused["detail"]
        assert refused["status"] == 503
    assert few.http.get("/v1/jobs").status_code == 200


@pytest.mark.slow
def test_readers_are_answered_while_very_many_wait_to_write(tmp_path: Path) -> None:
    """More than there are threads in the usual pool, and somebody else holds the lock."""
    with serving(Settings(data_dir=tmp_path, broker_url=NO_BROKER)) as server:
        path = server.submit()["urls"]["self"]
        database = server.service.database
        release = threading.Event()
        held = threading.Event()

        def hold() -> None:
            with database.writing():
                held.set()
                release.wait(PATIENCE)

        def write(_: int) -> httpx.Response:
            return httpx.post(
                f"{server.address}/v1/jobs", json={"dataset": "digits"}, timeout=PATIENCE
            )

        holder = threading.Thread(target=hold)
        holder.start()
        held.wait(PATIENCE)
        with ThreadPoolExecutor(80) as pool:
            writers = [pool.submit(write, number) for number in range(80)]
            while not all(one.done() for one in writers):
                assert server.http.get(path).status_code == 200
            release.set()
            answers = [one.result() for one in writers]
        holder.join()
    assert {one.status_code for one in answers} == {503}
    assert {one.headers["retry-after"] for one in answers} == {"5"}
