"""Signing in with a browser: the cookie, the token of forms and scripts, signing out."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.api.accounts.people import Lab, make_lab, with_keys
from tests.api.conftest import serving
from tests.waiting import PATIENCE

PAGE = {"accept": "text/html"}


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    directory = tmp_path_factory.mktemp("pages")
    with serving(with_keys(directory, f"sqlite:///{directory / 'lab.sqlite3'}")) as server:
        yield make_lab(server)


OPEN: list[httpx.Client] = []


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    """Browsers are closed after a test."""
    yield
    while OPEN:
        OPEN.pop().close()


class Browser(httpx.Client):
    """What a browser of somebody keeps: a cookie."""

    def __init__(self, lab: Lab, who: str = "", **more: Any) -> None:
        super().__init__(base_url=lab.server.address, headers=PAGE, timeout=PATIENCE, **more)
        OPEN.append(self)
        if who:
            answer = self.post("/login", data={"key": lab.keys[who], "next": "/account"})
            assert (answer.status_code, answer.headers["location"]) == (303, "/account")
            self.set_cookie = answer.headers["set-cookie"]

    @property
    def token(self) -> str:
        found = re.search(r'<meta name="csrf" content="([^"]+)">', self.get("/account").text)
        assert found is not None
        return found[1]


def test_a_page_leads_to_the_one_to_sign_in_and_back(lab: Lab) -> None:
    browser = Browser(lab)
    there = browser.get("/jobs/job_1?tab=2")
    assert there.status_code == 303
    assert there.headers["location"] == "/login?next=%2Fjobs%2Fjob_1%3Ftab%3D2"
    form = browser.get(there.headers["location"]).text
    assert 'name="next" value="/jobs/job_1?tab=2"' in form
    assert "csrf" not in form
    wrong = browser.post("/login", data={"key": "saf_wrong"})
    assert (wrong.status_code, "This key opens nothing" in wrong.text) == (401, True)
    assert "set-cookie" not in wrong.headers


@pytest.mark.parametrize("next_", ["//evil.example", "https://evil.example", "/\\evil", "x"])
def test_signing_in_leads_nowhere_else(lab: Lab, next_: str) -> None:
    answer = Browser(lab).post("/login", data={"key": lab.keys["mia"], "next": next_})
    assert answer.headers["location"] == "/"


def test_the_cookie_is_kept_from_scripts_and_other_sites(lab: Lab) -> None:
    browser = Browser(lab, "mia")
    assert {"HttpOnly", "SameSite=lax", "Path=/"} <= set(browser.set_cookie.split("; "))
    assert lab.keys["mia"] not in browser.set_cookie
    page = browser.get("/")
    assert page.status_code == 200
    assert ">mia</a>" in page.text


def test_forms_and_scripts_say_the_token_of_their_session(lab: Lab) -> None:
    browser, other = Browser(lab, "mia"), Browser(lab, "mia")
    body = {"dataset": "digits"}
    for headers in ({}, {"x-csrf-token": "guessed"}, {"x-csrf-token": other.token}):
        refused = browser.post("/v1/jobs", json=body, headers=headers)
        assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
    # As a field only where a form is due.
    smuggled = browser.post("/v1/jobs/job_1/cancel", data={"csrf": browser.token})
    assert smuggled.status_code == 403
    token = {"x-csrf-token": browser.token}
    assert browser.post("/v1/jobs", json=body, headers=token).status_code == 201
    assert browser.post("/account/keys", data={"name": "x"}).status_code == 403
    made = browser.post("/account/keys", data={"name": "laptop", "csrf": browser.token})
    secret = re.search(r"saf_[\w\-]{43}", made.text)
    assert secret is not None
    with_key = {"authorization": f"Bearer {secret[0]}"}
    assert (
        httpx.get(f"{lab.server.address}/v1/me", headers=with_key, timeout=PATIENCE).status_code
        == 200
    )
    assert secret[0] not in browser.get("/account").text


def test_signing_out_ends_this_browser_and_everywhere_ends_all(lab: Lab) -> None:
    first, second, third = (Browser(lab, "ada") for _ in range(3))
    kept = dict(first.cookies)
    first.post("/logout", data={"csrf": first.token})
    assert first.get("/").headers["location"].startswith("/login")
    stolen = httpx.get(f"{lab.server.address}/v1/me", cookies=kept, timeout=PATIENCE)
    assert (stolen.status_code, "has ended" in stolen.text) == (401, True)
    assert second.get("/").status_code == 200
    second.post("/account/sessions/end", data={"csrf": second.token})
    assert third.get("/").status_code == 303


def test_a_session_ends_with_the_key_that_began_it(lab: Lab) -> None:
    made = lab.ask("mia", "POST", "/v1/keys", json={"name": "x", "scopes": ["read"]}).json()
    lab.keys["a browsers"] = made["secret"]
    browser = Browser(lab, "a browsers")
    refused = browser.post(
        "/v1/jobs", json={"dataset": "digits"}, headers={"x-csrf-token": browser.token}
    )
    assert "needs write" in refused.json()["detail"]
    lab.ask("mia", "DELETE", f"/v1/keys/{made['id']}")
    assert browser.get("/").status_code == 303


def test_a_key_goes_before_the_session_of_a_browser(lab: Lab) -> None:
    browser = Browser(lab, "mia")
    headers = {"authorization": "Bearer saf_wrong"}
    assert browser.get("/v1/me", headers=headers).status_code == 401
    headers = {"authorization": f"Bearer {lab.keys['otto']}"}
    assert browser.get("/v1/me", headers=headers).json()["user"]["name"] == "otto"


def test_pages_offer_what_one_may(lab: Lab) -> None:
    job = lab.things["job"]["shared"]
    assert 'data-action="cancel"' in Browser(lab, "mia").get(f"/jobs/{job}").text
    seen = Browser(lab, "vera").get(f"/jobs/{job}").text
    assert "data-action" not in seen
    assert "mia" in seen


def test_under_a_prefix_and_tls_the_cookie_is_of_that_path_and_secure(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    directory = tmp_path_factory.mktemp("prefix")
    url = f"sqlite:///{directory / 'lab.sqlite3'}"
    more: dict[str, Any] = {"root_path": "/saf", "trusted_proxies": ("127.0.0.1",)}
    with serving(with_keys(directory, url, **more)) as server:
        lab = make_lab(server)
        https = {"x-forwarded-proto": "https"}
        answer = httpx.post(
            f"{server.address}/saf/login",
            data={"key": lab.keys["mia"]},
            headers=https,
            timeout=PATIENCE,
        )
        assert answer.headers["location"] == "/saf/"
        assert {"Secure", "Path=/saf"} <= set(answer.headers["set-cookie"].split("; "))
        page = httpx.get(f"{server.address}/saf/jobs/x", headers=PAGE, timeout=PATIENCE)
        assert page.headers["location"] == "/saf/login?next=%2Fjobs%2Fx"
