"""Whom somebody of the provider is here: nobody becomes a user by a name alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from api.accounts.oidc.people import name_of
from api.settings import Settings
from api.store.accounts import users
from tests.api.accounts.oidc.forger import Forger
from tests.api.accounts.oidc.real import PAGE, of_issuer
from tests.api.accounts.oidc.test_forged import comes_back
from tests.api.accounts.people import Lab, make_lab, with_keys
from tests.api.conftest import serving
from tests.waiting import PATIENCE

COMMAND = "saf users link NAME --subject"


@pytest.fixture(scope="module")
def forger() -> Iterator[Forger]:
    with Forger().running() as running:
        yield running


@pytest.fixture
def lab(tmp_path: Path, database_url: str, forger: Forger) -> Iterator[Lab]:
    """A service that refuses whom it does not know, which is the default."""
    forger.reset()
    with serving(with_keys(tmp_path, database_url, **of_issuer(forger.issuer))) as server:
        yield make_lab(server)


@pytest.fixture
def creating(tmp_path: Path, forger: Forger) -> Iterator[Lab]:
    forger.reset()
    url = f"sqlite:///{tmp_path / 'lab.sqlite3'}"
    given = of_issuer(forger.issuer, oidc_new_users="create")
    with serving(with_keys(tmp_path, url, **given)) as server:
        yield make_lab(server)


def enter(lab: Lab, forger: Forger, subject: str, **claims: Any) -> tuple[httpx.Response, str]:
    """The answer to somebody who comes from the provider, and who they are here then."""
    forger.claims = {"sub": subject, **claims}
    with httpx.Client(base_url=lab.server.address, headers=PAGE, timeout=PATIENCE) as person:
        answer = comes_back(person, forger)
        me = person.get("/v1/me")
        return answer, me.json()["user"]["name"] if me.status_code == 200 else ""


def change(lab: Lab, user: str, **changes: Any) -> httpx.Response:
    return lab.ask("root", "PATCH", f"/v1/users/{user}", json=changes)


def test_who_has_the_name_of_a_user_is_not_that_user(
    lab: Lab, creating: Lab, forger: Forger
) -> None:
    for service, words in (
        (lab, "no user here is linked"),
        (creating, "there is a user admin here"),
    ):
        answer, who = enter(service, forger, "stranger", preferred_username="admin")
        assert (answer.status_code, who) == (403, "")
        assert words in answer.text
        assert f"{COMMAND} stranger" in answer.text
        with service.server.service.database.reading() as session:
            assert users.find(session, "admin").oidc_subject is None


def test_an_admin_links_a_user_takes_the_link_away_and_moves_it(lab: Lab, forger: Forger) -> None:
    linked = change(lab, "mia", subject="s1").json()
    assert (linked["issuer"], linked["subject"]) == (forger.issuer, "s1")
    # Whatever name they have there.
    answer, who = enter(lab, forger, "s1", preferred_username="otto")
    assert (answer.status_code, who) == (303, "mia")
    taken = change(lab, "otto", subject="s1")
    assert (taken.status_code, "linked to the user mia" in taken.text) == (409, True)
    with httpx.Client(base_url=lab.server.address, headers=PAGE, timeout=PATIENCE) as person:
        comes_back(person, forger)
        assert person.get("/v1/me").status_code == 200
        assert change(lab, "mia", subject="s1").status_code == 200  # nothing changes
        assert person.get("/v1/me").status_code == 200
        change(lab, "mia", subject="s2")
        assert person.get("/v1/me").status_code == 401
    assert enter(lab, forger, "s1")[1] == ""
    assert enter(lab, forger, "s2")[1] == "mia"
    unlinked = change(lab, "mia", subject="").json()
    assert (unlinked["issuer"], unlinked["subject"]) == (None, None)
    assert enter(lab, forger, "s2")[1] == ""
    assert change(lab, "otto", subject="s1").status_code == 200
    assert lab.ask("mia", "GET", "/v1/me").status_code == 200  # keys stay


def test_who_is_invited_by_their_subject_is_that_user_from_the_first_time(
    lab: Lab, forger: Forger
) -> None:
    body = {"name": "nina", "subject": "n1"}
    with_key = {"idempotency-key": "one"}
    made = lab.ask("root", "POST", "/v1/users", json=body, headers=with_key)
    assert (made.status_code, made.json()["subject"]) == (201, "n1")
    assert lab.ask("root", "POST", "/v1/users", json=body, headers=with_key).status_code == 200
    other = {**body, "subject": "n2"}
    assert lab.ask("root", "POST", "/v1/users", json=other, headers=with_key).status_code == 409
    assert enter(lab, forger, "n1")[1] == "nina"
    taken = lab.ask("root", "POST", "/v1/users", json={"name": "nono", "subject": "n1"})
    assert taken.status_code == 409
    assert change(lab, "nono", disabled=True).status_code == 404  # nobody was made


def test_a_subject_is_of_its_provider(lab: Lab, forger: Forger) -> None:
    change(lab, "mia", subject="s1")
    with lab.server.service.database.writing() as session:
        users.find(session, "mia").oidc_issuer = "https://another.example"
    assert enter(lab, forger, "s1")[1] == ""
    assert enter(lab, forger, "S1")[1] == ""


def test_a_newcomer_has_an_account_of_their_own_with_no_rights_of_others(
    creating: Lab, forger: Forger
) -> None:
    answer, who = enter(creating, forger, "p1", preferred_username="Petra Ö.")
    assert (answer.status_code, who) == (303, "petra")
    answer, who = enter(creating, forger, "p1", preferred_username="another name")
    assert (answer.status_code, who) == (303, "petra")
    answer, who = enter(creating, forger, "p2", preferred_username="petra")
    assert (answer.status_code, who) == (403, "")
    user = creating.ask("root", "GET", "/v1/users").json()["data"]
    assert [one["admin"] for one in user if one["name"] == "petra"] == [False]
    job = f"usr_{26 * '0'}"
    answer, who = enter(creating, forger, "p3", preferred_username=job)
    assert (answer.status_code, "no name that a user can have" in answer.text) == (403, True)


def test_a_subject_needs_a_provider(tmp_path: Path) -> None:
    with serving(with_keys(tmp_path, f"sqlite:///{tmp_path / 'lab.sqlite3'}")) as server:
        lab = make_lab(server)
        refused = change(lab, "mia", subject="s1")
        assert (refused.status_code, "SAF_OIDC_ISSUER" in refused.text) == (422, True)
        assert change(lab, "mia", subject="").status_code == 200
        assert "Sign in with" not in server.http.get("/login").text
        for path in ("/login/oidc", "/login/oidc/callback?code=c&state=s"):
            assert server.http.get(path).headers["location"] == "/login"


@pytest.mark.parametrize("subject", ["a\nb", "a\u0000", 256 * "x"])
def test_a_subject_that_no_provider_says_is_refused(lab: Lab, subject: str) -> None:
    assert change(lab, "mia", subject=subject).status_code == 422


@pytest.mark.parametrize(
    ("claims", "name"),
    [
        ({"preferred_username": "Anna.B"}, "anna.b"),
        ({"preferred_username": "  "}, ""),
        ({"preferred_username": 7, "email": "Anna@Example.org"}, "anna@example.org"),
        ({"email": "anna@example.org", "email_verified": False}, ""),
        ({"preferred_username": "../../anna\u202e"}, "anna"),
        ({"preferred_username": 100 * "x"}, 64 * "x"),
        ({"name": "Anna"}, ""),
    ],
)
def test_a_name_follows_the_rules_of_names(claims: dict[str, Any], name: str) -> None:
    assert name_of(Settings(), claims) == name


def test_the_claim_of_a_name_can_be_chosen() -> None:
    settings = Settings(oidc_claim="uid")
    assert name_of(settings, {"uid": "ab12", "preferred_username": "anna"}) == "ab12"
