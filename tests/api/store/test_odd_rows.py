"""One row with odd values is shown as unreadable, and takes nothing down for everybody."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from api.settings import Settings
from api.store.database import Database
from api.store.migrate import migrate
from api.store.soundness import unsound_rows
from api.store.tables.jobs import Status
from tests.api.conftest import NO_BROKER, Server, serving
from tests.api.datasets.uploading import upload
from tests.worker.conftest import Crew, Desk

ON_BOTH = {
    "an unknown status": "UPDATE jobs SET status = 'bogus'",
    "a specification that is a list": "UPDATE jobs SET specification = '[1, 2]'",
    "a specification that is a number": "UPDATE jobs SET specification = '7'",
    "an empty specification": "UPDATE jobs SET specification = '{}'",
    "of another version": "UPDATE jobs SET specification = "
    """'{"method": "saf", "network": 3, "timesteps": "six", "epochs": null, "metadata": [1]}'""",
    "time steps that are a text": """UPDATE jobs SET specification = '{"timesteps": "many"}'""",
    "metrics that are texts": """UPDATE jobs SET latest = '{"loss": "low"}'""",
    "metrics that are a list": "UPDATE jobs SET latest = '[]'",
    "an infinite number": """UPDATE jobs SET latest = '{"loss": 1e999}'""",
    "an error without words": """UPDATE jobs SET status = 'failed', error = '{"code": 1}'""",
    "a health that is none": "UPDATE jobs SET status = 'succeeded', health = 'sick'",
    "findings without words": "UPDATE jobs SET status = 'succeeded', findings = '[1]'",
    "an epoch and a half": "UPDATE jobs SET status = 'succeeded', result = "
    """'{"best_epoch": 1.5}'""",
    "an accuracy that is a text": "UPDATE jobs SET status = 'succeeded', result = "
    """'{"test_accuracy": "good"}'""",
    "automatic settings that are a number": """UPDATE jobs SET specification = """
    """'{"automatic": 3, "neuron": {}, "optimizer": {}}'""",
    "numbers that are texts": "UPDATE jobs SET specification = "
    """'{"batch_size": "many", "validation_share": "half", "optimizer": {"name": "sgd"}, """
    """"neuron": {"decay": 1}}'""",
    "a time in another age": "UPDATE jobs SET created_at = 1e300",
}
ON_SQLITE = {
    "a specification that is no JSON": "UPDATE jobs SET specification = '{oops'",
    "a specification of bytes": "UPDATE jobs SET specification = x'ff00ff'",
    "a deep specification": "UPDATE jobs SET specification = '{}'".format(
        '{"a":' * 5000 + "1" + "}" * 5000
    ),
    "NaN": """UPDATE jobs SET latest = '{"loss": NaN}', best_accuracy = 9e999""",
    "a step that is a text": "UPDATE jobs SET step = 'many', steps_total = 'more'",
    "a text that is no UTF-8": "UPDATE jobs SET name = CAST(x'ff41' AS TEXT)",
    "a name of bytes": "UPDATE jobs SET name = x'00ff'",
}


@pytest.fixture(scope="module")
def sqlite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    data = tmp_path_factory.mktemp("odd")
    with serving(Settings(data_dir=data, broker_url=NO_BROKER)) as running:
        yield running


@pytest.fixture
def postgresql(postgres_url: str, tmp_path: Path) -> Iterator[Server]:
    settings = Settings(data_dir=tmp_path, database_url=postgres_url, broker_url=NO_BROKER)
    with serving(settings) as running:
        yield running


def spoil(server: Server, statement: str, job_id: str) -> None:
    with server.service.database.writing() as session:
        session.connection().exec_driver_sql(f"{statement} WHERE id = '{job_id}'")


def everything_works_beside(server: Server, odd: str, good: str, *, shown: bool = True) -> None:
    for sort in ("", "status", "name", "timesteps", "-timesteps", "best_accuracy", "progress"):
        listed = server.get("/v1/jobs", limit=200, **({"sort": sort} if sort else {}))["data"]
        found = {job["id"]: job for job in listed}
        assert good in found
        assert odd in found
        assert found[good]["unreadable"] is None
        if shown:
            assert "its row in the database cannot be read: " in found[odd]["unreadable"]
    pages = ("/", "/?sort=timesteps", "/system", "/sweeps", "/datasets", f"/jobs/{good}")
    paths = ("/v1/workers", "/v1/sweeps", "/v1/datasets", "/metrics", f"/v1/jobs/{good}")
    for path in (
        *pages,
        *paths,
        f"/jobs/{odd}",
        f"/v1/jobs/{odd}",
        f"/compare?jobs={odd},{good}",
        f"/new?from={odd}",
    ):
        answer = server.http.get(path, headers={"accept": "text/html"} if path in pages else {})
        assert answer.status_code == 200, (path, answer.text[:500])
    comparison = server.get("/v1/comparison", jobs=f"{odd},{good}")
    assert [job["id"] for job in comparison["jobs"]] == [odd, good]
    with server.stream("/v1/stream") as stream:
        for _, event, data in stream.messages():
            if event == "job" and data["id"] == good:
                break
    assert server.http.post(f"/v1/jobs/{odd}/retry").status_code in (201, 409)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [*ON_BOTH, *ON_SQLITE])
def test_an_odd_job_takes_no_list_page_or_stream_down(sqlite: Server, kind: str) -> None:
    odd, good = sqlite.submit()["id"], sqlite.submit()["id"]
    spoil(sqlite, {**ON_BOTH, **ON_SQLITE}[kind], odd)
    readable = ("an empty specification", "time steps that are a text", "a text that is no UTF-8")
    everything_works_beside(sqlite, odd, good, shown=kind not in readable)
    assert sqlite.http.delete(f"/v1/jobs/{odd}").status_code in (204, 409)


@pytest.mark.parametrize(
    "kind", ["an unknown status", "of another version", "time steps that are a text"]
)
def test_so_it_is_on_postgresql(postgresql: Server, kind: str) -> None:
    odd, good = postgresql.submit()["id"], postgresql.submit()["id"]
    spoil(postgresql, ON_BOTH[kind], odd)
    everything_works_beside(postgresql, odd, good, shown=kind != "time steps that are a text")


def test_a_status_that_is_none_is_shown_as_failed_and_found_as_such(sqlite: Server) -> None:
    odd = sqlite.submit()["id"]
    spoil(sqlite, ON_BOTH["an unknown status"], odd)
    job = sqlite.get(f"/v1/jobs/{odd}")
    assert (job["status"], job["error"]["code"]) == ("failed", "unreadable")
    assert "status is 'bogus'" in job["error"]["message"]
    assert odd in {found["id"] for found in sqlite.get("/v1/jobs", status="failed")["data"]}


SWEEP = {"job": {"dataset": "digits"}, "over": {"/seed": [0, 1]}}


@pytest.mark.parametrize("request_", ["[]", "{oops", '{"over": 3}', '{"mode": "all"}'])
def test_an_odd_sweep_is_shown_with_its_jobs_and_others_as_they_are(
    sqlite: Server, request_: str
) -> None:
    sent = [sqlite.http.post("/v1/sweeps", json=SWEEP) for _ in range(2)]
    odd, good = (answer.json()["id"] for answer in sent)
    with sqlite.service.database.writing() as session:
        where = {"id": odd, "request": request_}
        session.execute(text("UPDATE sweeps SET request = :request WHERE id = :id"), where)
    listed = {sweep["id"]: sweep for sweep in sqlite.get("/v1/sweeps")["data"]}
    assert listed[good]["unreadable"] is None
    assert listed[odd]["unreadable"]
    assert sqlite.get(f"/v1/sweeps/{odd}")["jobs_total"] == 2
    for path in ("/sweeps", f"/sweeps/{odd}", f"/sweeps/{good}"):
        assert sqlite.http.get(path).status_code == 200


def test_an_odd_job_leaves_the_table_of_its_sweep_readable(sqlite: Server) -> None:
    sweep = sqlite.http.post("/v1/sweeps", json=SWEEP).json()
    spoil(sqlite, ON_BOTH["an unknown status"], sweep["rows"][0]["job"])
    rows = sqlite.get(f"/v1/sweeps/{sweep['id']}")["rows"]
    assert [row["status"] for row in rows] == ["failed", "queued"]
    assert rows[0]["error"] == "unreadable"
    assert sqlite.http.get(f"/sweeps/{sweep['id']}").status_code == 200


@pytest.mark.slow
@pytest.mark.parametrize(
    "values",
    [
        "status = 'bogus'",
        "summary = '{}'",
        """summary = '{"shape": "large"}'""",
        "summary = 'oops'",
        "problems = '7'",
        "upload_bytes = 'many'",
    ],
)
def test_an_odd_data_set_is_shown_as_unreadable_and_takes_no_jobs(
    sqlite: Server, values: str
) -> None:
    name = f"set{abs(hash(values))}"
    dataset = upload(sqlite, name=name).json()
    with sqlite.service.database.writing() as session:
        session.connection().exec_driver_sql(
            f"UPDATE datasets SET {values} WHERE id = '{dataset['id']}'"
        )
    listed = {found["id"]: found for found in sqlite.get("/v1/datasets")["data"]}
    odd = listed[dataset["id"]]
    assert odd["status"] == "invalid"
    assert "cannot be read" in odd["problems"][-1]["message"]
    for path in ("/datasets", "/new", f"/datasets/{dataset['id']}"):
        assert sqlite.http.get(path).status_code == 200
    refused = sqlite.http.post("/v1/jobs", json={"dataset": name})
    assert refused.status_code in (201, 422)
    sqlite.http.delete(f"/v1/datasets/{dataset['id']}")


def test_an_odd_worker_is_listed_beside_others(sqlite: Server) -> None:
    with sqlite.service.database.writing() as session:
        session.connection().exec_driver_sql(
            "INSERT INTO workers (id, host, pid, version, devices, slots, busy, started_at, "
            "seen_at, draining) VALUES ('worker_1', 'here', 'x', '1', '{oops', 1, 0, 9e999, "
            "(julianday('now') - 2440587.5) * 86400.0, 'never')"
        )
    for path in ("/v1/workers", "/system"):
        assert sqlite.http.get(path).status_code == 200


@pytest.mark.slow
def test_a_job_that_cannot_be_read_fails_in_words_and_the_next_one_runs(
    tmp_path: Path, sqlite_url: str, crew: Crew
) -> None:
    database = Database(sqlite_url)
    migrate(database)
    runner = crew.hire(Settings(data_dir=tmp_path, database_url=sqlite_url))
    desk = Desk(database, runner.store)
    for specification in ("[1]", "{oops", "{}", "null"):
        odd, good = desk.submit(), desk.submit(steps="3")
        with database.writing() as session:
            where = {"id": odd, "text": specification}
            session.execute(text("UPDATE jobs SET specification = :text WHERE id = :id"), where)
        runner.work()
        job = desk.job(odd)
        assert job.status == Status.failed, specification
        assert (job.error or {})["code"] == "user_config"
        assert "cannot be read" in (job.error or {})["message"]
        assert desk.job(good).status == Status.succeeded
    database.dispose()


def test_odd_rows_are_named(sqlite_url: str) -> None:
    database = Database(sqlite_url)
    migrate(database)
    job_id = Desk(database, None).submit()  # type: ignore[arg-type]
    with database.reading() as session:
        assert list(unsound_rows(session.connection())) == []
    with database.writing() as session:
        session.execute(text("UPDATE jobs SET status = 'bogus', step = 'x'"))
    with database.reading() as session:
        (line,) = unsound_rows(session.connection())
    assert line.startswith(f"jobs '{job_id}': ")
    assert "status is 'bogus'" in line
    assert "step is no integer" in line
    database.dispose()


@pytest.fixture
def crew() -> Iterator[Crew]:
    crew = Crew()
    yield crew
    crew.leave()
