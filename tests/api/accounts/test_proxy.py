"""Users whom a proxy names, on both databases."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx

from tests.api.accounts.people import opened, with_keys
from tests.api.conftest import serving
from tests.waiting import PATIENCE

AT_ONCE = 6


def test_requests_of_somebody_new_that_come_at_one_moment_make_one_user(
    tmp_path: Path, database_url: str
) -> None:
    settings = with_keys(tmp_path, database_url, auth="proxy", trusted_proxies=("127.0.0.1",))
    barrier = threading.Barrier(AT_ONCE)
    with serving(settings) as server:
        opened(server)

        def ask(name: str) -> httpx.Response:
            barrier.wait()
            named = {"x-forwarded-user": name}
            return httpx.get(f"{server.address}/v1/me", headers=named, timeout=PATIENCE)

        for name in ("anna", "otto", "vera"):
            with ThreadPoolExecutor(AT_ONCE) as threads:
                answers = list(threads.map(ask, AT_ONCE * [name]))
            assert [answer.status_code for answer in answers] == [200] * AT_ONCE
            assert len({answer.json()["user"]["id"] for answer in answers}) == 1
        taken = httpx.get(
            f"{server.address}/v1/me", headers={"x-forwarded-user": "Anna"}, timeout=PATIENCE
        )
        assert (taken.status_code, "there is a user anna already" in taken.text) == (401, True)


def test_a_password_that_the_proxy_asks_for_is_no_key_of_the_service(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'lab.sqlite3'}"
    with serving(with_keys(tmp_path, url, auth="proxy", trusted_proxies=("127.0.0.1",))) as server:
        opened(server)
        named = {"x-forwarded-user": "anna"}

        def status(given: str, **more: str) -> int:
            headers = {"authorization": given, **more}
            return httpx.get(
                f"{server.address}/v1/me", headers=headers, timeout=PATIENCE
            ).status_code

        assert status("Basic YW5uYTpwdw==", **named) == 200
        assert status("Basic YW5uYTpwdw==") == 401, "it opens nothing by itself"
        assert status("Bearer saf_wrong", **named) == 401, "a key goes before the proxy's word"
