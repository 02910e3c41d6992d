"""Finding jobs by their names, and reading sorted lists while jobs change, on both databases."""

from __future__ import annotations

import unicodedata
from typing import Any

import pytest
from sqlalchemy import MetaData, Table, insert, text

from api.store.database import Database
from api.store.jobs.listing import SORTS
from api.store.migrate import migrate
from api.store.search import folded
from api.store.tables.jobs import Job
from tests.api.conftest import Server

NAMES = ("Großer Straßentest", "ΟΔΥΣΣΕΥΣ zwei", "Обучение СЕТИ", "Café déjà-vu", "100%_sure \\ it")


def found(server: Server, q: str) -> list[str]:
    return [job["name"] for job in server.get("/v1/jobs", q=q)["data"]]


@pytest.mark.parametrize(
    ("q", "name"),
    [
        ("STRASSEN", NAMES[0]),
        ("großer", NAMES[0]),
        ("GROẞER", NAMES[0]),
        ("οδυσσευς", NAMES[1]),
        ("ὀδυσ", ""),
        ("zwei Οδυσσεύς".replace("ύ", "υ"), NAMES[1]),
        ("обучение", NAMES[2]),
        ("сети ОБУЧ", NAMES[2]),
        ("CAFÉ", NAMES[3]),
        (unicodedata.normalize("NFD", "café"), NAMES[3]),
        ("vu  cafÉ ", NAMES[3]),
        ("100%_s", NAMES[4]),
        ("\\", NAMES[4]),
        ("100%%", ""),
        ("1_0", ""),
    ],
)
def test_names_are_found_in_any_case_and_their_words_in_any_order(
    searched: Server, q: str, name: str
) -> None:
    assert found(searched, q) == ([name] if name else [])


@pytest.fixture(scope="module")
def searched(shared: Server) -> Server:
    for name in NAMES:
        shared.submit(name=name)
    return shared


def test_a_search_is_the_same_on_both_databases_and_takes_parts_of_ids(server: Server) -> None:
    jobs = [server.submit(name=unicodedata.normalize("NFD", name)) for name in NAMES]
    assert len(found(server, unicodedata.normalize("NFC", "CAFÉ"))) == 1
    assert len(found(server, "ΖΩΗ")) == 0
    assert len(found(server, "zwei οδυσσευς")) == 1
    assert len(found(server, jobs[2]["id"].upper())) == 1
    assert len(found(server, f"сети {jobs[2]['id'][-8:]}")) == 1
    assert len(found(server, " ")) == len(NAMES)


def test_a_short_word_among_others_does_not_match_ids_by_chance(server: Server) -> None:
    for number in range(4):
        server.submit(name=f"run {number}")
    for number in range(4):
        assert found(server, f"{number} RUN") == [f"run {number}"]
    assert len(found(server, server.get("/v1/jobs")["data"][0]["id"][4:8])) == 4


def test_names_sort_without_case_in_every_alphabet(server: Server) -> None:
    for name in ("б", "А", "В", "г"):
        server.submit(name=name)
    sorted_ = [job["name"] for job in server.get("/v1/jobs", sort="name")["data"]]
    assert sorted_ == ["А", "б", "В", "г"]


def test_jobs_of_an_older_database_are_found_after_its_migration(empty_database_url: str) -> None:
    database = Database(empty_database_url)
    migrate(database, to="0007")
    columns: dict[str, Any] = {
        "id": "job_1",
        "name": "Обучение",
        "specification": {},
        "method": "saf-e",
        "network": "mlp",
        "dataset": "digits",
        "status": "queued",
        "latest": {},
        **dict.fromkeys(("priority", "parameters", "memory_bytes", "attempt", "losses"), 0),
        **dict.fromkeys(("step", "started_step", "events_count", "version"), 0),
        **dict.fromkeys(("created_at", "queued_at", "epoch"), 0.0),
    }
    old = Table("jobs", MetaData(), autoload_with=database.engine)
    with database.writing() as session:
        session.execute(insert(old).values(**columns))
        session.execute(insert(old).values(**columns | {"id": "job_2", "name": ""}))
    migrate(database)
    with database.reading() as session:
        names = session.execute(text("SELECT id, folded_name FROM jobs ORDER BY id")).all()
    assert [tuple(row) for row in names] == [("job_1", "обучение"), ("job_2", "")]
    database.dispose()


def test_one_spelling_for_each_letter() -> None:
    for one, other in (
        ("É", unicodedata.normalize("NFD", "é")),
        ("STRASSE", "straße"),
        ("ΣΊΣΥΦΟΣ", "σίσυφος"),
        ("ﬁne", "FINE"),
        ("Ａ１", "a1"),
        ("가", unicodedata.normalize("NFD", "가")),
    ):
        assert folded(one) == folded(other)
        assert folded(folded(one)) == folded(one)


@pytest.mark.slow
@pytest.mark.parametrize("direction", ["", "-"])
@pytest.mark.parametrize("name", ["progress", "status", "best_accuracy", "device"])
def test_a_sorted_list_loses_no_job_when_the_last_one_of_a_page_changes(
    server: Server, name: str, direction: str
) -> None:
    jobs = [server.submit()["id"] for _ in range(8)]
    for number in range(8):
        claim = server.run()
        server.progress(claim, step=10 + 10 * number, accuracy=0.1 + number / 10)
    seen: list[str] = []
    params: dict[str, Any] = {"sort": direction + name, "limit": 2}
    while True:
        page = server.get("/v1/jobs", **params)
        seen += [job["id"] for job in page["data"]]
        if not page["has_more"]:
            break
        last = page["data"][-1]["id"]
        with server.service.database.writing() as session:
            job = session.get_one(Job, last)  # it leaps to the end of the list
            job.step, job.status = (100, "cancelled") if not direction else (0, "failed")
            job.best_accuracy, job.device = (1.0, "z") if not direction else (0.0, "")
        params["after"] = page["last_id"]
    assert set(seen) == set(jobs)


@pytest.mark.parametrize("sort", [name for name in SORTS if name != "created"])
def test_clients_that_page_by_the_id_of_a_job_are_still_answered(
    searched: Server, sort: str
) -> None:
    whole = [job["id"] for job in searched.get("/v1/jobs", sort=sort, limit=5)["data"]]
    rest = searched.get("/v1/jobs", sort=sort, limit=5, after=whole[1])["data"]
    assert [job["id"] for job in rest] == whole[2:]
    newest = searched.get("/v1/jobs", limit=2)
    assert newest["last_id"] == newest["data"][-1]["id"]
    assert newest["first_id"] == newest["data"][0]["id"]
