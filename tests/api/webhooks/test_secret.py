"""The secret of a webhook is shown to its maker, once, and again where that answer was lost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from api.store.webhooks.tables import Webhook
from tests.api.accounts.people import Lab
from tests.api.conftest import Server
from tests.api.webhooks.test_sending import allowing
from tests.api.webhooks.test_turns import lab_that_sends

__all__ = ["allowing"]
HOOK = {"url": "http://127.0.0.1:9/", "events": ["job.failed"]}
CHAT = "http://127.0.0.1:9/services/T000?token=secret"
KEY = {"idempotency-key": "once"}


def some_time_ago(server: Server, webhook: str) -> None:
    with server.service.database.writing() as session:
        session.get_one(Webhook, webhook).created_at -= 601


def test_who_got_no_answer_gets_the_same_webhook_and_its_secret_for_a_while(
    allowing: Server,
) -> None:
    first = allowing.http.post("/v1/webhooks", json=HOOK, headers=KEY)
    again = allowing.http.post("/v1/webhooks", json=HOOK, headers=KEY)
    assert (first.status_code, again.status_code) == (201, 200)
    assert again.json() == first.json()
    assert first.json()["secret"].startswith("whsec_")
    assert again.headers["cache-control"] == "no-store"
    some_time_ago(allowing, first.json()["id"])
    late = allowing.http.post("/v1/webhooks", json=HOOK, headers=KEY)
    assert (late.status_code, late.json()["secret"]) == (200, None)
    assert late.json()["id"] == first.json()["id"]
    other = allowing.http.post("/v1/webhooks", json=HOOK)
    assert other.json()["secret"] != first.json()["secret"]


def made(lab: Lab, who: str) -> dict[str, Any]:
    headers = KEY | {"saf-project": "vision"}
    answer = lab.ask(who, "POST", "/v1/webhooks", json=HOOK, headers=headers)
    found: dict[str, Any] = answer.json()
    return found


def test_who_belongs_to_the_project_and_has_the_key_of_the_request_gets_no_secret(
    tmp_path: Path,
) -> None:
    with lab_that_sends(tmp_path) as lab:
        first = made(lab, "mia")
        assert first["secret"]
        assert made(lab, "ada")["id"] != first["id"]
        assert made(lab, "mia")["secret"] == first["secret"]
        for path in ("/v1/webhooks", f"/v1/webhooks/{first['id']}", "/webhooks"):
            for who in ("mia", "ada", "root"):
                headers = {"accept": "text/html" if path == "/webhooks" else "*/*"}
                assert first["secret"] not in lab.ask(who, "GET", path, headers=headers).text


def test_the_path_of_an_address_is_told_to_who_may_change_the_webhook(tmp_path: Path) -> None:
    with lab_that_sends(tmp_path) as lab:
        body = {**HOOK, "url": CHAT}
        sent = {"json": body, "headers": {"saf-project": "vision"}}
        lab.ask("ada", "PUT", "/v1/projects/vision/members/otto", json={"role": "member"})
        webhook = lab.ask("mia", "POST", "/v1/webhooks", **sent).json()["id"]
        for who, is_told in (("mia", True), ("ada", True), ("root", True), ("otto", False)):
            one = lab.ask(who, "GET", f"/v1/webhooks/{webhook}").json()
            listed = lab.ask(who, "GET", "/v1/webhooks").json()["data"]
            html = lab.ask(who, "GET", "/webhooks", headers={"accept": "text/html"}).text
            assert one in listed
            assert one["url"] == (CHAT if is_told else "http://127.0.0.1:9/…"), who
            assert ("token=secret" in html, f"{webhook}/remove" in html) == (is_told, is_told)
