"""Signing in by a real provider, from the button to the page that one wanted, and out again."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from api.store.accounts import keys, users
from tests.api.accounts.oidc.real import Issuer, Person, of_issuer
from tests.api.accounts.people import opened, with_keys
from tests.api.conftest import Server, serving
from tests.reverse_proxy import NGINX, proxied
from tests.waiting import until


@pytest.fixture(scope="module")
def issuer() -> Issuer:
    return Issuer()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, issuer: Issuer) -> Iterator[Server]:
    directory = tmp_path_factory.mktemp("oidc")
    url = f"sqlite:///{directory / 'saf.sqlite3'}"
    settings = with_keys(
        directory, url, **of_issuer(issuer.address, oidc_new_users="create"), **MAIL
    )
    with serving(settings) as server:
        opened(server)
        with issuer.running(server.address):
            yield server


MAIL = {
    "smtp_host": "127.0.0.1",
    "smtp_port": 9,
    "smtp_sender": "saf@lab.example",
    "public_url": "http://lab.example",
}
OPEN: list[Person] = []


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    """Browsers are closed after a test."""
    yield
    while OPEN:
        OPEN.pop().close()


def browser(server: Server) -> Person:
    OPEN.append(Person(server.address))
    return OPEN[-1]


def me(person: Person) -> dict[str, Any]:
    answer = person.get("/v1/me")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def admin(server: Server) -> dict[str, str]:
    with server.service.database.writing() as session:
        _, secret = keys.add(session, users.find(session, "admin"), "of a test")
    return {"authorization": f"Bearer {secret}"}


def test_whom_the_provider_lets_in_comes_to_the_page_that_they_wanted(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    person = browser(server)
    there = person.get("/jobs?tab=2").headers["location"]
    form = person.get(there).text
    assert "Sign in with Lab" in form
    assert '/login/oidc?next=/jobs%3Ftab%3D2"' in form
    assert 'name="key"' in form
    answer = person.sign_in("mia", "/account?a=b")
    assert (answer.status_code, answer.headers["location"]) == (303, "/account?a=b")
    cookies = answer.headers.get_list("set-cookie")
    (opened_,) = (each for each in cookies if each.startswith("saf_session="))
    assert {"HttpOnly", "SameSite=lax", "Path=/"} <= set(opened_.split("; "))
    found = me(person)
    assert found["user"]["name"] == "mia"
    assert (found["user"]["issuer"], found["user"]["subject"]) == (
        server.service.settings.oidc_issuer,
        "sub-of-mia",
    )
    assert (found["key"], found["scopes"]) == (None, ["read", "write"])
    code = str(answer.url.params["code"])
    state = str(answer.url.params["state"])
    for secret in (code, state, opened_.split(";")[0].removeprefix("saf_session=")):
        assert secret not in "".join(
            record.getMessage()
            for record in caplog.records
            if record.name.startswith(("api", "authlib", "joserfc"))
        )


def test_it_is_the_same_user_from_another_browser_and_all_are_signed_out_at_once(
    server: Server,
) -> None:
    first, second = browser(server), browser(server)
    first.sign_in("otto")
    second.sign_in("otto")
    assert me(first)["user"]["id"] == me(second)["user"]["id"]
    page = second.get("/account").text
    token = page.partition('<meta name="csrf" content="')[2].partition('"')[0]
    second.post("/account/sessions/end", data={"csrf": token})
    assert first.get("/v1/me").status_code == 401
    assert second.get("/").headers["location"].startswith("/login")


def csrf(person: Person) -> str:
    page = person.get("/account").text
    return page.partition('<meta name="csrf" content="')[2].partition('"')[0]


def test_the_mail_box_that_the_provider_has_verified_needs_no_mail_that_asks(
    server: Server,
) -> None:
    person = browser(server)
    person.sign_in("mia")
    assert 'value="sub-of-mia@example.org"' in person.get("/account").text
    headers = {"x-csrf-token": csrf(person)}
    for box, is_known in (("sub-of-mia@example.org", True), ("otto@example.org", False)):
        body = {"url": f"mailto:{box}", "events": ["job.failed"]}
        made = person.post("/v1/webhooks", json=body, headers=headers)
        assert (made.status_code, made.json()["confirmed_at"] is not None) == (201, is_known)


def test_who_signs_out_is_led_to_where_they_sign_out_at_the_provider(server: Server) -> None:
    person = browser(server)
    person.sign_in("mia")
    left = person.post("/logout", data={"csrf": csrf(person)})
    assert left.headers["location"] == "/login?left=true"
    assert 'href="/login/oidc/leave"' in person.get("/login?left=true").text
    there = person.get("/login/oidc/leave").headers["location"]
    assert there == f"{server.service.settings.oidc_issuer}/session/end?client_id=public"
    asked = person.get(there)
    secret = re.search(r'name="xsrf" value="([^"]+)"', asked.text)
    assert secret is not None, asked.text
    person.post(f"{there.partition('?')[0]}/confirm", data={"xsrf": secret[1], "logout": "yes"})
    # It asks who they are again.
    sent = person.get("/login/oidc").headers["location"]
    assert "/interaction/" in person.get(sent).headers["location"]


def test_each_signing_in_is_on_record(server: Server) -> None:
    browser(server).sign_in("vera")
    lines = server.http.get("/v1/audit", params={"user": "vera"}, headers=admin(server)).json()
    shown = [(line["action"], line["status"], line["key"]) for line in lines["data"]]
    assert shown == [
        ("GET /login/oidc/callback", 303, None),
        ("GET /login/oidc/callback", 201, None),
    ]


def test_who_says_no_at_the_provider_is_told_so(server: Server) -> None:
    person = browser(server)
    answer = person.sign_in("nora", denies=True)
    assert answer.status_code == 401
    assert "Lab was told not to let you in here" in answer.text
    assert "Sign in with Lab" in answer.text
    assert person.get("/v1/me").status_code == 401


def test_the_browser_comes_back_once(server: Server) -> None:
    person = browser(server)
    first = person.sign_in("kurt")
    again = person.get(str(first.url))
    assert (again.status_code, "cannot be finished" in again.text) == (401, True)
    assert browser(server).get(str(first.url)).status_code == 401


def test_a_disabled_user_stays_out(server: Server) -> None:
    person = browser(server)
    person.sign_in("dora")
    change = {"disabled": True}
    server.http.patch("/v1/users/dora", json=change, headers=admin(server)).raise_for_status()
    assert person.get("/v1/me").status_code == 401
    answer = browser(server).sign_in("dora")
    assert (answer.status_code, "The user dora was disabled by an admin" in answer.text) == (
        401,
        True,
    )
    lines = server.http.get("/v1/audit", params={"user": "dora"}, headers=admin(server)).json()
    line = lines["data"][0]
    assert (line["action"], line["status"]) == ("GET /login/oidc/callback", 401)
    assert "saf_session" not in answer.headers.get("set-cookie", "")


@pytest.mark.parametrize("secrets", ["client_secret_basic", "client_secret_post"])
def test_a_service_with_a_secret_shows_it_as_the_provider_wants_it(
    tmp_path: Path, database_url: str, secrets: str
) -> None:
    issuer = Issuer()
    given = of_issuer(issuer.address, oidc_client_id="confidential", oidc_new_users="create")
    settings = with_keys(tmp_path, database_url, **given, oidc_client_secret="a+secret%with/signs")
    with serving(settings) as server:
        opened(server)
        person = browser(server)
        away = person.get("/login/oidc")
        assert (away.status_code, "cannot be reached" in away.text) == (503, True)
        with issuer.running(server.address, secrets):
            until(lambda: person.get("/login/oidc").status_code == 303)
            assert person.sign_in("mia").status_code == 303
            assert me(person)["user"]["name"] == "mia"


@pytest.mark.skipif(NGINX is None, reason="nginx is not installed")
@pytest.mark.parametrize("strips", [True, False])
def test_it_works_under_a_path_of_a_server_behind_a_proxy(tmp_path: Path, strips: bool) -> None:
    issuer = Issuer()
    given = of_issuer(issuer.address, oidc_new_users="create", root_path="/some/saf")
    url = f"sqlite:///{tmp_path / 'saf.sqlite3'}"
    with (
        serving(with_keys(tmp_path, url, **given)) as server,
        proxied(tmp_path, server.address, "/some/saf", strips=strips) as front,
        issuer.running(front),
        Person(front) as person,
    ):
        opened(server)
        answer = person.sign_in("mia", "/account")
        assert (answer.status_code, answer.headers["location"]) == (303, "/some/saf/account")
        assert me(person)["user"]["name"] == "mia"


def test_a_wrong_secret_is_the_matter_of_an_admin(tmp_path: Path) -> None:
    issuer = Issuer()
    given = of_issuer(issuer.address, oidc_client_id="confidential", oidc_client_secret="another")
    with (
        serving(with_keys(tmp_path, f"sqlite:///{tmp_path / 'saf.sqlite3'}", **given)) as server,
        issuer.running(server.address),
    ):
        opened(server)
        answer = browser(server).sign_in("mia")
    assert (answer.status_code, "does not accept this service" in answer.text) == (503, True)
    assert "another" not in answer.text.replace("another browser", "")
