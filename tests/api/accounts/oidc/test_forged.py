"""What a browser or a provider sends that proves nothing signs nobody in, and says why in words."""

from __future__ import annotations

import json
import time
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from hashlib import sha256
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from api.accounts.oidc import provider as providers
from tests.api.accounts.oidc.forger import Forger, another_key
from tests.api.accounts.oidc.real import PAGE, of_issuer
from tests.api.accounts.people import opened, with_keys
from tests.api.conftest import Server, serving
from tests.waiting import PATIENCE

HOUR = 3600


@pytest.fixture(scope="module")
def forger() -> Iterator[Forger]:
    with Forger().running() as running:
        yield running


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, forger: Forger) -> Iterator[Server]:
    directory = tmp_path_factory.mktemp("forged")
    url = f"sqlite:///{directory / 'saf.sqlite3'}"
    given = of_issuer(forger.issuer, oidc_new_users="create")
    with serving(with_keys(directory, url, **given)) as server:
        opened(server)
        yield server


@pytest.fixture
def person(server: Server, forger: Forger) -> Iterator[httpx.Client]:
    forger.reset()
    with httpx.Client(base_url=server.address, headers=PAGE, timeout=PATIENCE) as client:
        yield client


def leaves(person: httpx.Client, forger: Forger, wanted: str = "/account") -> dict[str, str]:
    """What the browser takes to the provider."""
    answer = person.get("/login/oidc", params={"next": wanted})
    assert answer.status_code == 303, answer.text
    assert answer.headers["location"].startswith(f"{forger.issuer}/authorize?")
    asked = parse_qs(urlsplit(answer.headers["location"]).query)
    forger.nonce = asked["nonce"][0]
    return {name: values[0] for name, values in asked.items()}


def comes_back(
    person: httpx.Client, forger: Forger, wanted: str = "/account", **more: str
) -> httpx.Response:
    taken = leaves(person, forger, wanted)
    given = {"code": "c", "state": taken["state"], **more}
    return person.get("/login/oidc/callback", params=given)


def assert_nobody(person: httpx.Client, answer: httpx.Response, status: int, words: str) -> None:
    assert (answer.status_code, words in answer.text) == (status, True), answer.text
    assert "saf_session" not in answer.headers.get("set-cookie", "")
    assert person.get("/v1/me").status_code == 401


def test_the_code_is_asked_for_and_taken_with_pkce(
    server: Server, person: httpx.Client, forger: Forger
) -> None:
    taken = leaves(person, forger)
    assert taken["response_type"] == "code"
    assert taken["code_challenge_method"] == "S256"
    assert taken["scope"] == "openid profile email"
    assert taken["redirect_uri"] == f"{server.address}/login/oidc/callback"
    answer = person.get("/login/oidc/callback", params={"code": "c", "state": taken["state"]})
    assert (answer.status_code, answer.headers["location"]) == (303, "/account")
    form = forger.forms[-1]
    digest = sha256(form["code_verifier"].encode()).digest()
    assert urlsafe_b64encode(digest).rstrip(b"=").decode() == taken["code_challenge"]
    assert (form["client_id"], form["code"]) == ("public", "c")
    assert form["redirect_uri"] == taken["redirect_uri"]


NOT_PROVEN = "does not prove who you are"


@pytest.mark.parametrize(
    "claims",
    [
        {"nonce": "another"}, {"nonce": None}, {"aud": "another"}, {"aud": None}, {"aud": []},
        {"aud": ["public", "another"]}, {"aud": ["public", "another"], "azp": "another"},
        {"azp": "another"}, {"iss": "https://another.example"}, {"iss": None}, {"sub": None},
        {"sub": ""}, {"sub": 7}, {"sub": 256 * "x"}, {"sub": "a\u0000b"}, {"exp": None},
        {"iat": None}, {"exp": "soon"}, {"exp": -(10**400)}, {"at_hash": "another"},
    ],
)  # fmt: skip
def test_a_token_that_is_of_something_else_signs_nobody_in(
    person: httpx.Client, forger: Forger, claims: dict[str, Any]
) -> None:
    forger.claims = claims
    assert_nobody(person, comes_back(person, forger), 401, NOT_PROVEN)


@pytest.mark.parametrize("way", ["unsigned", "by_public_key", "by_another", "cut", "no", "jwe"])
def test_a_token_that_the_provider_did_not_sign_signs_nobody_in(
    person: httpx.Client, forger: Forger, way: str
) -> None:
    def cut(claims: dict[str, Any]) -> str:
        return forger.signed(claims)[:-9]

    others = {"cut": cut, "no": lambda _: "no token", "jwe": lambda _: "a.b.c.d.e"}
    forger.sign = others.get(way) or getattr(forger, way)
    assert_nobody(person, comes_back(person, forger), 401, NOT_PROVEN)


def test_clocks_that_differ_are_named_and_a_minute_is_forgiven(
    person: httpx.Client, forger: Forger
) -> None:
    now = int(time.time())
    forger.claims = {"iat": now - 2 * HOUR, "exp": now - HOUR}
    assert_nobody(person, comes_back(person, forger), 401, "ran out 36")  # and some seconds more
    forger.claims = {"iat": now + HOUR, "exp": now + 2 * HOUR}
    assert_nobody(person, comes_back(person, forger), 401, "s ahead")
    forger.claims = {"iat": now + 30, "exp": now - 30, "nbf": now + 30}
    assert comes_back(person, forger).status_code == 303


def test_an_address_to_come_back_to_is_of_one_browser_and_one_time(
    server: Server, person: httpx.Client, forger: Forger
) -> None:
    taken = leaves(person, forger)
    given = {"code": "c", "state": taken["state"]}
    for state in ("", "guessed", 5000 * "x"):
        answer = person.get("/login/oidc/callback", params={**given, "state": state})
        assert_nobody(person, answer, 401, "begun in another browser")
    with httpx.Client(base_url=server.address, headers=PAGE, timeout=PATIENCE) as other:
        leaves(other, forger)
        answer = other.get("/login/oidc/callback", params=given)
        assert_nobody(other, answer, 401, "begun in another browser")
    leaves(person, forger)  # in another tab
    forger.nonce = taken["nonce"]
    assert person.get("/login/oidc/callback", params=given).status_code == 303
    again = person.get("/login/oidc/callback", params=given)
    assert (again.status_code, "saf_session" in again.headers.get("set-cookie", "")) == (401, False)


def test_a_cookie_that_is_planted_is_replaced(person: httpx.Client, forger: Forger) -> None:
    person.cookies.set("saf_login", "short", path="/login/oidc")
    answer = person.get("/login/oidc")
    (cookie,) = answer.headers.get_list("set-cookie")
    assert {"HttpOnly", "SameSite=lax", "Path=/login/oidc", "Max-Age=600"} <= set(
        cookie.split("; ")
    )
    assert len(cookie.split(";")[0]) == len("saf_login=") + 43


@pytest.mark.parametrize(
    "wanted",
    ["//evil.example", "https://evil.example", "/\\evil.example", "/\t/evil.example", "x",
     "/login/oidc", "javascript:alert(1)", "/" + 3000 * "x"],
)  # fmt: skip
def test_signing_in_leads_nowhere_else(person: httpx.Client, forger: Forger, wanted: str) -> None:
    assert comes_back(person, forger, wanted).headers["location"] == "/"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"error": "access_denied"}, "was told not to let you in here"),
        ({"error": "login_required"}, "did not let you in: login_required"),
        ({"error": "<script>", "code": ""}, "did not let you in: no code"),
        ({"code": ""}, "did not let you in: no code"),
        ({"iss": "https://another.example"}, "came back from another provider"),
    ],
)
def test_a_browser_that_comes_back_without_what_it_was_sent_for_is_told_so(
    person: httpx.Client, forger: Forger, given: dict[str, str], words: str
) -> None:
    assert_nobody(person, comes_back(person, forger, **given), 401, words)


@pytest.mark.parametrize(
    ("status", "answer", "due", "words"),
    [
        (400, {"error": "invalid_grant"}, 401, "did not confirm this sign-in (invalid_grant)"),
        (400, {"error": "<b>"}, 401, "did not confirm this sign-in (an error)"),
        (401, {"error": "invalid_client"}, 503, "does not accept this service"),
        (200, {"access_token": "a"}, 503, "sends no ID token"),
        (200, {"id_token": 7, "access_token": "a"}, 503, "sends no ID token"),
        (200, [], 503, "answers with no token"),
        (502, {}, 503, "answers with no token"),
        (302, {}, 503, "ID token"),
    ],
)  # fmt: skip
def test_what_the_token_endpoint_says_instead_is_told(
    person: httpx.Client, forger: Forger, status: int, answer: Any, due: int, words: str
) -> None:
    forger.answers["/token"] = (status, json.dumps(answer).encode())
    assert_nobody(person, comes_back(person, forger), due, words)


def test_an_answer_without_an_end_is_not_read_to_its_end(
    person: httpx.Client, forger: Forger
) -> None:
    forger.answers["/token"] = (200, b"[" + 2**20 * b" ")
    assert_nobody(person, comes_back(person, forger), 503, "more than 524288 bytes")


def test_new_keys_of_the_provider_are_asked_for(
    person: httpx.Client, forger: Forger, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert comes_back(person, forger).status_code == 303
    before = forger.asked.count("/keys")
    forger.keys.append(another_key("second"))
    monkeypatch.setattr(providers, "AGAIN_SECONDS", 0.0)
    assert comes_back(person, forger).status_code == 303
    assert forger.asked.count("/keys") == before + 1
    forger.sign = lambda claims: forger.signed(claims, key=another_key("nobody's"))
    monkeypatch.setattr(providers, "AGAIN_SECONDS", 60.0)
    refused = comes_back(person, forger)
    assert (refused.status_code, NOT_PROVEN in refused.text) == (401, True)
    assert forger.asked.count("/keys") == before + 1


def test_pages_of_a_service_on_the_same_server_are_no_pages_of_ours(
    server: Server, forger: Forger, tmp_path: Any
) -> None:
    """A provider under another path of the server that shows the service under a prefix."""
    forger.reset()
    url = f"sqlite:///{tmp_path / 'saf.sqlite3'}"
    given = of_issuer(forger.issuer, root_path="/saf", trusted_proxies=("127.0.0.1",))
    with serving(with_keys(tmp_path, url, **given)) as server:
        opened(server)
        host = urlsplit(server.address).netloc
        forger.said = {"authorization_endpoint": f"https://{host}/idp/authorize"}
        headers = {**PAGE, "x-forwarded-proto": "https"}
        answer = httpx.get(
            f"{server.address}/saf/login/oidc?next=/new", headers=headers, timeout=PATIENCE
        )
        there = urlsplit(answer.headers["location"])
        assert f"{there.scheme}://{there.netloc}{there.path}" == f"https://{host}/idp/authorize"
        back = parse_qs(there.query)["redirect_uri"][0]
        assert back == f"https://{host}/saf/login/oidc/callback"
        assert {"Secure", "Path=/saf/login/oidc"} <= set(answer.headers["set-cookie"].split("; "))
