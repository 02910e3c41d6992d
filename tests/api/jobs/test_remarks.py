"""Remarks on jobs: name, notes, tags, favourites; over HTTP, client, command line and pages, on
both databases."""

from __future__ import annotations

import subprocess
import sys
import unicodedata
from typing import Any

import pytest

from api.web.remarks import rendered
from saf.client.client import Client
from tests.api.conftest import Server
from tests.waiting import PATIENCE


def change(server: Server, job_id: str, **body: Any) -> Any:
    return server.http.patch(f"/v1/jobs/{job_id}", json=body)


def test_a_job_is_named_tagged_and_annotated_and_its_specification_stays(server: Server) -> None:
    job = server.submit(name="first")
    other = server.submit(name="second")
    text = "See *this*.\n\n<script>alert(1)</script>"
    answer = change(
        server, job["id"], name=" Table 2 ", notes=text, tags=["b", "a", "b"], favourite=True
    )
    assert answer.status_code == 200
    changed = answer.json()
    assert (changed["name"], changed["notes"], changed["tags"]) == ("Table 2", text, ["a", "b"])
    assert changed["favourite"] is True
    assert changed["specification"] == job["specification"]
    assert server.get(f"/v1/jobs/{job['id']}") == changed
    assert [one["id"] for one in server.get("/v1/jobs", q="table 2")["data"]] == [job["id"]]
    for query in ({"tag": "a"}, {"tag": ["a", "b"]}, {"favourite": "true"}):
        assert [one["id"] for one in server.get("/v1/jobs", **query)["data"]] == [job["id"]], query
    assert server.get("/v1/jobs", tag=["a", "c"])["data"] == []
    assert [one["id"] for one in server.get("/v1/jobs", favourite="false")["data"]] == [other["id"]]
    # What is left out stays; what is emptied is gone.
    assert change(server, job["id"], tags=[]).json()["tags"] == []
    emptied = change(server, job["id"], notes="", favourite=False).json()
    assert (emptied["name"], emptied["notes"], emptied["favourite"]) == ("Table 2", "", False)
    assert change(server, "job_none", name="x").status_code == 404


def test_a_job_that_has_ended_is_changed_and_deleted_with_its_tags(server: Server) -> None:
    job = server.submit()
    server.succeed(server.run())
    assert change(server, job["id"], tags=["kept"]).status_code == 200
    assert server.http.delete(f"/v1/jobs/{job['id']}").status_code == 204
    assert server.get("/v1/jobs", tag="kept")["data"] == []


def test_a_change_comes_through_the_stream_of_jobs_and_what_a_worker_writes_keeps_it(
    server: Server,
) -> None:
    job = server.submit()
    claim = server.run()
    with server.stream("/v1/stream") as stream:
        messages = stream.messages()
        next(messages)
        change(server, job["id"], name="renamed")
        assert next(data for _, _, data in messages if data.get("name") == "renamed")
    server.progress(claim, 5, loss=1.0)
    server.succeed(claim)
    assert server.get(f"/v1/jobs/{job['id']}")["name"] == "renamed"


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, ""),
        ({"status": "succeeded"}, "/status"),
        ({"specification": {}}, "/specification"),
        ({"name": None}, "/name"),
        ({"name": 201 * "x"}, "/name"),
        ({"name": "\0"}, "/name"),
        ({"notes": 20_001 * "x"}, "/notes"),
        ({"notes": "\0"}, "/notes"),
        ({"tags": "a"}, "/tags"),
        ({"tags": [" "]}, "/tags/0"),
        ({"tags": ["a", "b,c"]}, "/tags/1"),
        ({"tags": [51 * "x"]}, "/tags/0"),
        ({"tags": [str(number) for number in range(21)]}, "/tags"),
        ({"favourite": "perhaps"}, "/favourite"),
    ],
)
def test_what_cannot_be_written_is_refused_at_its_field(
    shared: Server, body: dict[str, Any], pointer: str
) -> None:
    job = shared.submit()
    answer = change(shared, job["id"], **body)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == pointer
    assert shared.get(f"/v1/jobs/{job['id']}") == job


def test_a_tag_is_the_same_however_its_letters_were_typed(server: Server) -> None:
    job = server.submit()
    composed, decomposed = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))
    assert change(server, job["id"], tags=[decomposed]).json()["tags"] == [composed]
    for tag in (composed, decomposed):
        assert len(server.get("/v1/jobs", tag=tag)["data"]) == 1


def test_client_and_command_line_change_what_people_write(shared: Server) -> None:
    with Client(shared.address) as client:
        job = client.submit({"name": "before"})
        assert job.edit(name="after", tags=["one"], favourite=True) is job
        assert (job["name"], job["tags"], job["favourite"]) == ("after", ["one"], True)
        assert [each.id for each in client.jobs(tags=["one"], favourite=True)] == [job.id]

        def saf(*arguments: str, said: str = "") -> subprocess.CompletedProcess[str]:
            command = [sys.executable, "-m", "saf.cli", "--url", shared.address, *arguments]
            return subprocess.run(
                command, capture_output=True, text=True, input=said, timeout=PATIENCE
            )

        done = saf("edit", job.id, "--tag", "two", "--untag", "one", "--note", "-", said="**x**")
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines() == [f"{job.id} ★  after", "tags: two"]
        job.refresh()
        assert (job["tags"], job["notes"], job["favourite"]) == (["two"], "**x**", True)
        assert "give --name" in saf("edit", job.id).stderr
        assert job.id in saf("list", "--tag", "two", "--favourite").stdout
        assert "no job" in saf("list", "--tag", "one").stdout


def test_the_pages_show_notes_without_what_could_harm(shared: Server) -> None:
    job = shared.submit(name="shown")
    notes = "**bold** <img src=x onerror=alert(1)>"
    change(shared, job["id"], notes=notes, tags=["a&b c"], favourite=True)
    page = shared.http.get(f"/jobs/{job['id']}").text
    assert "<strong>bold</strong> &lt;img src=x onerror=alert(1)&gt;" in page
    assert '<a class="tag" href="/?tag=a%26b%20c">a&amp;b c</a>' in page
    found = shared.http.get("/", params={"tag": "a&b c", "favourite": "true"}).text
    assert job["id"] in found
    assert job["id"] not in shared.http.get("/", params={"tag": "a"}).text


@pytest.mark.parametrize(
    "text",
    [
        "[x](javascript:alert(1))",
        "[x](data:text/html;base64,PHNjcmlwdD4=)",
        "<javascript:alert(1)>",
        "[x]: javascript:alert(1)\n\n[x]",
        "![x](https://elsewhere.example/pixel.png)",
        "<script>alert(1)</script>",
        "<a href='javascript:alert(1)'>x</a>",
        '[x](https://a.example "\\" onclick=\\"alert(1)")',
        "`<b>`",
        500 * "> " + "x",
    ],
)
def test_notes_hold_no_script_no_picture_and_no_html(text: str) -> None:
    html = rendered(text)
    for harm in ('href="javascript', 'href="data:', "<img", "<script", "<b>", '" onclick="'):
        assert harm not in html
