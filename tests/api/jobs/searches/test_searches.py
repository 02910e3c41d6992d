"""Saved searches: one's own, those of a project, on the page and by the command."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from saf.cli import main as cli
from saf.client.client import Client
from saf.client.types import ClientError
from tests.api.accounts.people import Lab, make_lab, with_keys
from tests.api.conftest import Server, serving

HTML = {"accept": "text/html"}
FORM = {"content-type": "application/x-www-form-urlencoded"}


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    directory = tmp_path_factory.mktemp("searches")
    with serving(with_keys(directory, f"sqlite:///{directory / 'lab.sqlite3'}")) as server:
        yield make_lab(server)


def names(lab: Lab, who: str) -> set[str]:
    return {one["name"] for one in lab.ask(who, "GET", "/v1/searches").json()["data"]}


def test_a_search_is_its_owners_and_that_of_a_project_its_members(lab: Lab) -> None:
    body = {"name": "failed ones", "query": "?status=failed&tag=a%20b&metadata[team]=x&sort="}
    sent = {"json": body, "headers": {"idempotency-key": "search"}}
    made, again = (lab.ask("mia", "POST", "/v1/searches", **sent) for _ in range(2))
    assert (made.status_code, again.status_code) == (201, 200), made.text
    assert made.json() == again.json()
    assert made.json()["query"] == "status=failed&tag=a+b&metadata%5Bteam%5D=x"
    shared = {"json": {"name": "ours", "query": "q=x"}, "headers": {"saf-project": "vision"}}
    assert lab.ask("mia", "POST", "/v1/searches", **shared).json()["project"] == "vision"
    assert {"failed ones", "ours"} <= names(lab, "mia")
    assert ("ours" in names(lab, "vera"), "failed ones" in names(lab, "vera")) == (True, False)
    assert "ours" not in names(lab, "otto")
    assert lab.ask("vera", "POST", "/v1/searches", **shared).status_code == 403
    taken = lab.ask("mia", "POST", "/v1/searches", json={**body, "query": "q=y"})
    assert (taken.status_code, "failed ones already" in taken.json()["detail"]) == (409, True)


def test_what_is_no_search_is_refused(lab: Lab) -> None:
    for query, said in (
        ("stauts=failed", "'stauts', which is no filter"),
        ("after=job_1", "'after'"),
        ("", "nothing to search for"),
        ("q=" + 2000 * "x", "2000"),
        ("q=" + 1900 * "語", "17102 characters in an address"),  # its page would be refused
        ("&".join(300 * ["tag=a"]), "300 filters"),
    ):
        answer = lab.ask("mia", "POST", "/v1/searches", json={"name": "x", "query": query})
        assert (answer.status_code, said in answer.json()["detail"]) == (422, True), answer.text
        assert answer.json()["errors"][0]["pointer"] == "/query"


def test_the_page_shows_searches_saves_what_it_shows_and_removes_it(lab: Lab) -> None:
    form = "name=slow&project=vision&query=q%3Dslow%26sort%3Dname"
    answer = lab.ask("ada", "POST", "/searches", content=form, headers=FORM)
    assert answer.status_code == 303, answer.text
    assert answer.headers["location"] == "/?q=slow&sort=name"
    shown = lab.ask("ada", "GET", "/?q=slow&sort=name", headers=HTML).text
    assert '" href="/?q=slow&amp;sort=name" aria-current="true" title="of the project vision">' in (
        shown
    )
    of_ada = next(
        one for one in lab.ask("mia", "GET", "/v1/searches").json()["data"] if one["name"] == "slow"
    )
    seen = lab.ask("mia", "GET", "/?q=slow&sort=name", headers=HTML).text
    assert ">slow</a>" in seen
    assert f"/searches/{of_ada['id']}/remove" in shown
    assert f"/searches/{of_ada['id']}/remove" not in seen
    for query, status in (("q=a&project=audio", 404), ("q=a", 303)):
        wanted = f"name=n{status}&query=q%3Da" + ("&project=audio" if "audio" in query else "")
        assert lab.ask("ada", "POST", "/searches", content=wanted, headers=FORM).status_code == (
            status
        )
    gone = lab.ask("ada", "POST", f"/searches/{of_ada['id']}/remove", headers=FORM)
    assert (gone.status_code, "slow" in names(lab, "mia")) == (303, False)


def test_the_command_lists_what_a_saved_search_finds(
    shared: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def saf(*arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", ["saf", "--url", shared.address, *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        printed = capsys.readouterr()
        assert not ended.value.code, printed.err
        return printed.out

    wanted = shared.submit(name="the needle")["id"]
    other = shared.submit(name="hay")["id"]
    made = saf("searches", "add", "needles", "q=needle").strip()
    assert ("needles" in saf("searches", "list"), made.startswith("sch_")) == (True, True)
    found = saf("list", "--saved", "needles")
    assert (wanted in found, other in found) == (True, False)
    with Client(shared.address) as client:
        assert [job["id"] for job in client.jobs(saved=made, status=["queued"])] == [wanted]
        with pytest.raises(ClientError, match="there is no search nails"):
            list(client.jobs(saved="nails"))
    saf("searches", "remove", "needles")
    assert "There is no search." in saf("searches", "list")
