"""Notes, tags and favourites of sweeps and data sets; those of jobs are in tests/api/jobs."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from api.store.tables.uploads import Dataset
from saf.cli import main as cli
from tests.api.conftest import Server
from tests.api.web.test_problems import check

HTML = {"accept": "text/html"}
SAID = {"notes": "**good** <b>x</b>", "tags": ["b", "a", "b"], "favourite": True}


def told(document: dict[str, Any]) -> tuple[Any, ...]:
    return document["notes"], document["tags"], document["favourite"]


def test_people_write_on_sweeps(server: Server) -> None:
    body = {"job": {"dataset": "digits"}, "over": {"/seed": [0]}, "name": "old"}
    made = server.http.post("/v1/sweeps", json=body).json()
    assert told(made) == ("", [], False)
    path = made["urls"]["self"]
    written = server.http.patch(path, json={**SAID, "name": "new"}).json()
    assert told(written) == ("**good** <b>x</b>", ["a", "b"], True)
    server.http.patch(path, json={"favourite": False})
    found = server.get(path)
    assert (found["name"], *told(found)) == ("new", "**good** <b>x</b>", ["a", "b"], False)
    assert told(server.get("/v1/sweeps")["data"][0]) == told(found)
    html = server.http.get(made["urls"]["page"], headers=HTML).text
    assert "<strong>good</strong> &lt;b&gt;x&lt;/b&gt;" in html
    for odd in ({}, {"tags": ["a,b"]}, {"owner": "x"}):
        check(server.http.patch(path, json=odd), 422)


def test_the_command_writes_on_a_sweep(
    server: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    body = {"job": {"dataset": "digits"}, "over": {"/seed": [0]}}
    sweep = server.http.post("/v1/sweeps", json=body).json()["id"]
    for changes, said in (
        (("--name", "mine", "--tag", "b", "--favourite"), f"{sweep} ★  mine"),
        (("--tag", "a", "--untag", "b"), "tags: a"),
    ):
        monkeypatch.setattr(sys, "argv", ["saf", "--url", server.address, "edit", sweep, *changes])
        with pytest.raises(SystemExit):
            cli.main()
        assert said in capsys.readouterr().out


def test_people_write_on_data_sets_and_jobs_go_on_naming_them(server: Server) -> None:
    with server.service.database.writing() as session:
        session.add(
            Dataset(
                id="ds_1", name="mine", format="npz", status="invalid", problems=[],
                upload_bytes=1, created_at=1.0,
            )
        )  # fmt: skip
    written = server.http.patch("/v1/datasets/mine", json=SAID).json()
    assert told(written) == ("**good** <b>x</b>", ["a", "b"], True)
    assert told(server.get("/v1/datasets/ds_1")) == told(written)
    assert "<strong>good</strong>" in server.http.get("/datasets/ds_1", headers=HTML).text
    check(server.http.patch("/v1/datasets/mine", json={"name": "other"}), 422)
    assert (
        "is built in" in check(server.http.patch("/v1/datasets/digits", json=SAID), 409)["detail"]
    )
