"""The record of who changed what: its lines, its chain, and a forged line found."""

from __future__ import annotations

import json
import re
from pathlib import Path

import httpx
import pytest
from sqlalchemy import text
from typer.testing import CliRunner

from api.commands.audit import commands
from api.settings import Settings
from api.store.accounts import audit
from tests.api.accounts.people import Lab
from tests.waiting import PATIENCE

runner = CliRunner()


def record(lab: Lab, **asked: str) -> list[tuple[str, str, str | None, int]]:
    found = lab.ask("root", "GET", "/v1/audit", params=asked).json()["data"]
    return [(line["user"], line["action"], line["thing"], line["status"]) for line in found]


def test_what_was_changed_has_a_line_and_what_was_read_has_none(own_lab: Lab) -> None:
    job = own_lab.job("mia")
    own_lab.ask("mia", "GET", f"/v1/jobs/{job}")
    own_lab.ask("mia", "POST", f"/v1/jobs/{job}/cancel")
    own_lab.ask("mia", "POST", f"/v1/jobs/{job}/pause")
    own_lab.ask("root", "DELETE", f"/v1/jobs/{job}")
    assert record(own_lab, thing=job) == [
        ("admin", "DELETE /v1/jobs/{job_id}", job, 204),
        ("mia", "POST /v1/jobs/{job_id}/pause", job, 409),
        ("mia", "POST /v1/jobs/{job_id}/cancel", job, 200),
        ("mia", "POST /v1/jobs", job, 201),
    ]
    made = own_lab.ask("mia", "POST", "/v1/keys", json={"name": "x"}).json()
    assert record(own_lab, user="mia")[0] == ("mia", "POST /v1/keys", made["id"], 201)
    own_lab.ask("ada", "PUT", "/v1/projects/vision/members/otto", json={"role": "viewer"})
    line = ("ada", "PUT /v1/projects/{project}/members/otto", "vision", 200)
    assert record(own_lab, thing="vision") == [line]
    first = own_lab.ask("root", "GET", "/v1/audit", params={"limit": 2}).json()
    after = {"limit": 2, "after": first["last_id"]}
    second = own_lab.ask("root", "GET", "/v1/audit", params=after).json()
    assert first["data"][-1]["number"] == second["data"][0]["number"] + 1
    assert made["secret"] not in json.dumps([first, second])


def test_signing_in_has_a_line_and_a_job_shows_its_own(own_lab: Lab) -> None:
    job = own_lab.things["job"]["shared"]
    own_lab.ask("ada", "POST", f"/v1/jobs/{job}/cancel")
    with httpx.Client(base_url=own_lab.server.address, timeout=PATIENCE) as browser:
        browser.post("/login", data={"key": own_lab.keys["vera"]})
        assert record(own_lab, user="vera")[0][1] == "POST /login"
        page = browser.get(f"/jobs/{job}").text
    assert re.findall(r"</time> (\w+: \w+)</li>", page) == ["ada: cancel", "mia: submit"]


def test_the_pages_of_sweeps_and_data_sets_show_their_own(own_lab: Lab) -> None:
    sweep, dataset = (own_lab.things[kind]["mias"] for kind in ("sweep", "dataset"))
    name = own_lab.ask("mia", "GET", f"/v1/datasets/{dataset}").json()["name"]
    own_lab.ask("mia", "PATCH", f"/v1/sweeps/{sweep}", json={"name": "mine"})
    own_lab.ask("mia", "POST", f"/v1/sweeps/{sweep}/cancel")
    own_lab.ask("mia", "PATCH", f"/v1/datasets/{dataset}", json={"notes": "x"})
    own_lab.ask("mia", "PATCH", f"/v1/datasets/{name}", json={"notes": "y"})
    with own_lab.server.service.database.writing() as session:
        audit.append(  # of a user of that name
            session, user="admin", user_id=None, key_id=None, address="local",
            action="PATCH /v1/users/{user}", thing_id=name, status=200, request_id="",
        )  # fmt: skip
    told = re.compile(r"</time> (\w+: \w+)</li>")
    page = own_lab.ask("mia", "GET", f"/sweeps/{sweep}").text
    assert told.findall(page) == ["mia: cancel", "mia: change", "mia: submit"]
    page = own_lab.ask("mia", "GET", f"/datasets/{dataset}").text
    assert told.findall(page) == ["mia: change", "mia: change"]


def test_what_was_refused_to_somebody_known_has_a_line(own_lab: Lab) -> None:
    mias, shared = (own_lab.things["job"][place] for place in ("mias", "shared"))
    upload = own_lab.things["upload"]["mias"]
    body = {"dataset": "digits"}
    own_lab.ask("otto", "DELETE", f"/v1/jobs/{mias}")
    own_lab.ask("otto", "PATCH", f"/v1/uploads/{upload}")
    own_lab.ask("otto", "POST", "/v1/users", json={"name": "x"})
    own_lab.ask("vera", "POST", f"/v1/jobs/{shared}/cancel")
    own_lab.ask("mia, reading", "POST", "/v1/jobs", json=body)
    own_lab.ask("ada", "POST", "/v1/jobs", json=body, headers={"saf-project": "audio"})
    # Neither what was to be read nor what changes nothing.
    own_lab.ask("otto", "GET", f"/v1/jobs/{mias}")
    own_lab.ask("otto", "POST", f"/v1/jobs/{mias}/predict", json={"sample": 0})
    assert record(own_lab, user="otto")[:3] == [
        ("otto", "POST /v1/users", None, 403),
        ("otto", "PATCH /v1/uploads/{upload}", upload, 404),
        ("otto", "DELETE /v1/jobs/{job_id}", mias, 404),
    ]
    assert record(own_lab, user="vera") == [("vera", "POST /v1/jobs/{job_id}/cancel", shared, 403)]
    assert record(own_lab, user="mia")[0] == ("mia", "POST /v1/jobs", None, 403)
    assert record(own_lab, user="ada") == [("ada", "POST /v1/jobs", None, 422)]
    with httpx.Client(base_url=own_lab.server.address, timeout=PATIENCE) as browser:
        browser.post("/login", data={"key": own_lab.keys["mia"]})
        browser.post(f"/v1/jobs/{mias}/cancel", headers={"x-csrf-token": "guessed"})
        assert record(own_lab, thing=mias)[0] == (
            *("mia", "POST /v1/jobs/{job_id}/cancel", mias, 403),
        )
        page = browser.get(f"/jobs/{mias}").text
    assert re.findall(r"</time> (\w+: \w+)</li>", page) == ["mia: submit"]


def test_keys_that_open_nothing_leave_a_line_a_minute_and_strangers_none(own_lab: Lab) -> None:
    before = record(own_lab)
    for who in (None, "a wrong one"):
        own_lab.ask(who, "POST", "/v1/jobs", json={"dataset": "digits"})
        own_lab.ask(who, "DELETE", f"/v1/jobs/{own_lab.things['job']['mias']}")
    httpx.post(
        f"{own_lab.server.address}/login",
        data={"key": own_lab.keys["a wrong one"]},
        timeout=PATIENCE,
    )
    assert record(own_lab) == before
    for _ in range(3):
        httpx.post(
            f"{own_lab.server.address}/login",
            data={"key": own_lab.keys["mia, expired"]},
            timeout=PATIENCE,
        )
        for who in ("mia, expired", "mia, revoked", "dora"):
            own_lab.ask(who, "GET", "/v1/jobs")
            own_lab.ask(who, "POST", "/v1/jobs", json={"dataset": "digits"})
    assert record(own_lab)[: -len(before)] == [
        ("dora", "POST /v1/jobs", None, 401),
        ("mia", "POST /v1/jobs", None, 401),
        ("mia", "POST /login", None, 401),
    ]


def test_what_failed_by_a_defect_has_a_line(own_lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("a defect")

    monkeypatch.setattr("api.jobs.routes.lifecycle.cancel", broken)
    job = own_lab.things["job"]["mias"]
    assert own_lab.ask("mia", "POST", f"/v1/jobs/{job}/cancel").status_code == 500
    assert record(own_lab, thing=job)[0] == ("mia", "POST /v1/jobs/{job_id}/cancel", job, 500)


@pytest.mark.parametrize(
    ("forged", "told"),
    [
        (
            "UPDATE audit SET user_id = 'usr_else' WHERE number = 3",
            "line 3 is not what was written",
        ),
        ("DELETE FROM audit WHERE number = 2", "line 2 is missing"),
        ("UPDATE audit SET previous = sha256 WHERE number = 4", "line 4 does not follow"),
    ],
)
def test_a_forged_line_is_found(
    own_lab: Lab, forged: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = own_lab.server.service.database
    settings = Settings(database_url=own_lab.server.service.settings.database_url)
    monkeypatch.setattr("api.commands.audit.settings", lambda: settings)
    good = runner.invoke(commands, ["audit", "verify"])
    assert good.exit_code == 0, good.output
    assert " lines are as they were written" in good.output
    sha256 = good.output.split()[-1]
    own_lab.job("mia")
    later = runner.invoke(commands, ["audit", "verify", "--expect", sha256])
    assert later.exit_code == 0
    lines = [
        json.loads(line)
        for line in runner.invoke(commands, ["audit", "export"]).stdout.splitlines()
    ]
    assert [line["number"] for line in lines] == list(range(1, len(lines) + 1))
    assert sha256 in {line["sha256"] for line in lines}

    with database.writer.connect() as connection:
        connection.execute(text(forged))
        connection.commit()
    with database.reading() as session:
        assert told in audit.verify(session)[2]
    assert runner.invoke(commands, ["audit", "verify"]).exit_code == 4


def test_lines_that_were_cut_off_are_found_by_a_hash_that_was_kept(
    own_lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(database_url=own_lab.server.service.settings.database_url)
    monkeypatch.setattr("api.commands.audit.settings", lambda: settings)
    kept = runner.invoke(commands, ["audit", "verify"]).output.split()[-1]
    with own_lab.server.service.database.writer.connect() as connection:
        connection.execute(text("DELETE FROM audit WHERE number > 2"))
        connection.commit()
    assert runner.invoke(commands, ["audit", "verify"]).exit_code == 0
    cut = runner.invoke(commands, ["audit", "verify", "--expect", kept])
    assert (cut.exit_code, "cut off at the end" in cut.output) == (4, True)


@pytest.mark.parametrize("command", ["verify", "export"])
def test_a_database_without_tables_is_said_in_words(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where the command runs in another folder than the service."""
    settings = Settings(database_url=f"sqlite:///{tmp_path / 'none.sqlite3'}")
    monkeypatch.setattr("api.commands.audit.settings", lambda: settings)
    ran = runner.invoke(commands, ["audit", command])
    assert ran.exit_code == 1
    assert "the database has no tables" in ran.output
    assert "DATABASE_URL" in ran.output
