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
    assert 'id="remarks-form"' in html
    for query, number in (
        ({"tag": "a"}, 1), ({"tag": ["a", "b"]}, 1), ({"tag": ["a", "c"]}, 0), ({"tag": "A"}, 0),
        ({"favourite": "true"}, 0), ({"favourite": "false"}, 1),
    ):  # fmt: skip
        assert len(server.get("/v1/sweeps", **query)["data"]) == number, query
        page = server.http.get("/sweeps", params=query, headers=HTML).text
        assert (made["urls"]["page"] in page) == (number > 0), query
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
    assert 'id="remarks-form"' in server.http.get("/datasets/ds_1", headers=HTML).text
    assert 'id="remarks-form"' not in server.http.get("/datasets/digits", headers=HTML).text
    odd = 'é "q"\\'
    assert server.http.patch("/v1/datasets/mine", json={"tags": ["a", odd]}).status_code == 200
    for tag, found in (("a", ["ds_1"]), (odd, ["ds_1"]), ("q", []), ("b", []), ("%", [])):
        assert [one["id"] for one in server.get("/v1/datasets", tag=tag)["data"]] == found, tag
    page = server.http.get("/datasets?favourite=true", headers=HTML).text
    assert ("/datasets/ds_1" in page, "/datasets/digits" in page) == (True, False)
    check(server.http.patch("/v1/datasets/mine", json={"name": "other"}), 422)
    assert (
        "is built in" in check(server.http.patch("/v1/datasets/digits", json=SAID), 409)["detail"]
    )
