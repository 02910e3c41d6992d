"""Requests within a minute: counted by user, by address where nobody is known, in the broker for
all processes, and without it while it is away."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from api.accounts.limits.requests import RequestLimits
from api.errors import TooManyError
from api.settings import Settings
from api.store.accounts import keys, users
from api.store.limits import numbers
from api.store.viewer import Viewer
from api.web.caller import Caller
from tests.api.accounts.people import Lab, opened, with_keys
from tests.api.conftest import serving
from tests.waiting import PATIENCE

MOST, UNKNOWN = 8, 3


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    directory = tmp_path_factory.mktemp("requests")
    few = {"requests_per_minute": MOST, "requests_per_minute_unknown": UNKNOWN}
    url = f"sqlite:///{directory / 'lab.sqlite3'}"
    trusted = {"trusted_proxies": ("127.0.0.1",)}
    with serving(with_keys(directory, url, **few, **trusted)) as server:
        opened(server)
        lab = Lab(server)
        lab.keys |= keys_of(lab, "mia", "otto", "ada")
        yield lab


def keys_of(lab: Lab, *names: str) -> dict[str, str]:
    with lab.server.service.database.writing() as session:
        return {
            key: keys.add(session, user, key, scopes=["read", "write"])[1]
            for name in names
            for user in [users.add(session, name)]
            for key in (name, f"{name}, again")
        }


def refused(answer: httpx.Response) -> dict[str, Any]:
    body: dict[str, Any] = answer.json()
    assert answer.status_code == 429, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert 0 < int(answer.headers["retry-after"]) <= 60
    return body


def test_requests_of_a_user_count_together_whatever_the_key(lab: Lab) -> None:
    for number in range(MOST):
        who = ("mia", "mia, again")[number % 2]
        assert lab.ask(who, "GET", "/v1/me").status_code == 200, number
    answer = lab.ask("mia", "GET", "/v1/me")
    body = refused(answer)
    assert "8 requests within a minute are the most for mia" in body["detail"]
    assert "saf users limit mia --requests" in body["detail"]
    assert body["limit"] == {"name": "requests", "of": "mia", "most": 8, "used": 8}
    assert answer.headers["ratelimit-policy"] == '"requests";q=8;w=60'
    assert answer.headers["ratelimit"].startswith('"requests";r=0;t=')
    page = lab.ask("mia, again", "GET", "/", headers={"accept": "text/html"})
    assert (page.status_code, "are the most for mia" in page.text) == (429, True)
    assert lab.ask("otto", "GET", "/v1/me").status_code == 200  # from the same address


def test_an_admin_says_another_number_for_one_user(lab: Lab) -> None:
    with lab.server.service.database.writing() as session:
        numbers.change(session, users.find(session, "ada").id, {"requests": 2})
    assert [lab.ask("ada", "GET", "/v1/me").status_code for _ in range(3)] == [200, 200, 429]


def test_who_is_not_known_counts_by_address_and_keeps_nobody_else_out(lab: Lab) -> None:
    http = lab.server.http

    def come(path: str, way: str, method: str = "GET", **more: Any) -> int:
        headers = {"x-forwarded-for": way, **more.pop("headers", {})}
        return http.request(method, path, headers=headers, **more).status_code

    for path in ("/healthz", "/static/icon.svg"):  # open to everybody, and not counted
        assert {come(path, "192.0.2.1") for _ in range(5)} == {200}
    assert come("/v1/me", "192.0.2.1") == 401
    wrong = {"authorization": "Bearer saf_wrong"}
    assert come("/v1/me", "192.0.2.1", headers=wrong) == 401
    form = {"data": {"key": "saf_no"}}
    assert come("/login", "192.0.2.1", "POST", **form) == 401
    assert come("/login", "192.0.2.1", "POST", **form) == 429
    answer = http.get("/v1/me", headers={"x-forwarded-for": "192.0.2.1"})
    assert "SAF_REQUESTS_PER_MINUTE_UNKNOWN" in refused(answer)["detail"]
    assert "limit" not in answer.json()
    known = {"authorization": f"Bearer {lab.keys['otto']}"}
    assert come("/v1/me", "192.0.2.1", headers=known) == 200
    assert come("/v1/me", "192.0.2.2") == 401
    # Links of mails, and any address of a network of IPv6.
    link = "/mail/stop/whk_1.no"
    came = [come(link, f"2001:db8::{number}", "POST") for number in range(4)]
    assert came == [404, 404, 404, 429]
    assert come(link, "2001:db8::9") == 429
    assert come(link, "2001:db8:0:1::9") == 404


def caller() -> Caller:
    viewer = Viewer(user_id="usr_1", name="mia", limits={"requests": 3})
    return Caller(viewer=viewer, scopes=frozenset(), how="key")


def test_processes_count_together_in_the_broker(
    tmp_path: Path, broker_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.accounts.limits.requests.ANSWER_SECONDS", PATIENCE)
    settings = Settings(data_dir=tmp_path, broker_url=broker_url)
    one, other = RequestLimits(settings), RequestLimits(settings)
    one.check_user(caller())
    other.check_user(caller())
    assert one.used("usr_1", 3) == 2
    one.check_user(caller())
    with pytest.raises(TooManyError, match="3 requests within a minute"):
        other.check_user(caller())


@pytest.mark.parametrize("url", ["", "redis://127.0.0.1:9/0", "redis://127.0.0.1:9/0?odd=1"])
def test_without_a_broker_the_process_counts(tmp_path: Path, url: str) -> None:
    limits = RequestLimits(Settings(data_dir=tmp_path, broker_url=url))
    for _ in range(3):
        limits.check_user(caller())
    with pytest.raises(TooManyError):
        limits.check_user(caller())
