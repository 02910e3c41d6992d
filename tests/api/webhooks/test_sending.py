"""Webhooks at a real listener: the signature by the specification's own library, a retry after the
listener was down, who is told."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from standardwebhooks import Webhook as Signature

from api.settings import Settings
from api.store.webhooks.tables import Delivery
from api.webhooks.addresses import resolve
from tests.api.accounts.people import make_lab, with_keys
from tests.api.conftest import NO_BROKER, Server, serving
from tests.waiting import until


class Listener(ThreadingHTTPServer):
    """What a lab has at the other end."""

    def __init__(self, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), Receiver)
        self.answers = 204
        self.came: list[tuple[dict[str, str], bytes]] = []
        self.thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05})
        self.thread.start()

    @property
    def url(self) -> str:
        return f"http://localhost:{self.server_address[1]}/hook?room=1"

    def close(self) -> None:
        self.shutdown()
        self.server_close()
        self.thread.join()


class Receiver(BaseHTTPRequestHandler):
    server: Listener

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        named = {name.lower(): value for name, value in self.headers.items()}
        self.server.came.append(({**named, ":path": self.path}, body))
        self.send_response(self.server.answers)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def listener() -> Iterator[Listener]:
    listener = Listener()
    yield listener
    listener.close()


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.webhooks.sender.LOOK_SECONDS", 0.05)
    monkeypatch.setattr("api.webhooks.sender.PAUSES", (0.1, 0.1, 0.1))


@pytest.fixture
def allowing(tmp_path: Path, database_url: str) -> Iterator[Server]:
    settings = Settings(
        data_dir=tmp_path,
        database_url=database_url,
        broker_url=NO_BROKER,
        webhooks_private=True,
    )
    with serving(settings) as server:
        until(lambda: not server.service.opening.reason)
        yield server


def make(server: Server, url: str, *events: str) -> dict[str, Any]:
    answer = server.http.post("/v1/webhooks", json={"url": url, "events": list(events)})
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


def whole(server: Server, webhook: dict[str, Any]) -> dict[str, Any]:
    return server.get(f"/v1/webhooks/{webhook['id']}")


def deliveries(server: Server, webhook: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = server.get(f"/v1/webhooks/{webhook['id']}/deliveries")["data"]
    return found


def test_the_end_of_a_job_and_of_its_sweep_is_told_once_and_signed(
    allowing: Server, listener: Listener
) -> None:
    webhook = make(allowing, listener.url, "job.failed", "sweep.ended")
    assert "secret" not in allowing.get(f"/v1/webhooks/{webhook['id']}")
    sweep = {"job": {"dataset": "digits"}, "over": {"/seed": [0, 1]}}
    sent = allowing.http.post("/v1/sweeps", json=sweep).json()
    allowing.fail(allowing.run())
    allowing.succeed(allowing.run())
    until(lambda: len(listener.came) == 2)
    signature = Signature(webhook["secret"])
    verified = [
        Signature(webhook["secret"]).verify(body, headers) for headers, body in listener.came
    ]
    assert [message["type"] for message in verified] == ["job.failed", "sweep.ended"]
    failed = verified[0]["data"]
    assert (failed["status"], failed["error"]["code"], failed["sweep"]) == (
        *("failed", "data", sent["id"]),
    )
    assert verified[1]["data"]["id"] == sent["id"]
    headers, body = listener.came[0]
    assert headers[":path"] == "/hook?room=1"
    assert headers["host"].startswith("localhost:")
    with pytest.raises(Exception, match="No matching signature"):
        signature.verify(body.replace(b"failed", b"passed"), headers)
    until(lambda: all(one["delivered_at"] for one in deliveries(allowing, webhook)))
    shown = deliveries(allowing, webhook)
    assert {one["status"] for one in shown} == {204}
    assert {one["id"] for one in shown} == {headers["webhook-id"] for headers, _ in listener.came}


def test_a_message_comes_after_the_listener_was_down(allowing: Server) -> None:
    listener = Listener()
    url, port = listener.url, listener.server_address[1]
    listener.close()
    webhook = make(allowing, url, "job.cancelled")
    job = allowing.submit()
    allowing.http.post(f"/v1/jobs/{job['id']}/cancel")
    until(lambda: deliveries(allowing, webhook)[0]["error"].startswith("ConnectError"))
    listener = Listener(port)
    try:
        until(lambda: listener.came)
        arrived = until(lambda: [d for d in deliveries(allowing, webhook) if d["delivered_at"]])
    finally:
        listener.close()
    assert arrived[0]["tries"] >= 2
    assert json.loads(arrived[0]["body"])["data"]["id"] == job["id"]


def test_what_is_refused_is_tried_again_then_given_up_and_410_turns_it_off(
    allowing: Server, listener: Listener
) -> None:
    webhook = make(allowing, listener.url, "job.succeeded")
    listener.answers = 500
    allowing.http.post(f"/v1/webhooks/{webhook['id']}/test")
    until(lambda: [d for d in deliveries(allowing, webhook) if d["next_at"] is None])
    (given_up,) = deliveries(allowing, webhook)
    assert (given_up["tries"], given_up["error"]) == (4, "it answered 500")
    assert len({headers["webhook-id"] for headers, _ in listener.came}) == 1
    listener.answers = 410
    allowing.http.post(f"/v1/webhooks/{webhook['id']}/test")
    off = until(lambda: whole(allowing, webhook)["disabled_at"] and whole(allowing, webhook))
    assert off["disabled_why"] == "it answered 410 Gone"
    allowing.submit()
    allowing.succeed(allowing.run())
    assert {one["type"] for one in deliveries(allowing, webhook)} == {"test"}
    assert allowing.http.delete(f"/v1/webhooks/{webhook['id']}").status_code == 204
    with allowing.service.database.reading() as session:
        assert session.scalars(select(Delivery)).all() == []


def test_an_address_of_the_network_is_refused_when_made_and_when_sent(
    shared: Server, listener: Listener
) -> None:
    body = {"url": listener.url, "events": ["job.failed"]}
    refused = shared.http.post("/v1/webhooks", json=body)
    assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "/url")
    assert "SAF_WEBHOOKS_PRIVATE=1" in refused.json()["detail"]
    assert "127.0.0.1" in resolve(listener.url, private=True)


def test_each_is_told_of_what_is_theirs_or_their_projects(
    tmp_path: Path, listener: Listener
) -> None:
    url = f"sqlite:///{tmp_path / 'lab.sqlite3'}"
    with serving(with_keys(tmp_path, url, webhooks_private=True)) as server:
        lab = make_lab(server)
        made = {}
        for who, project in (("mia", ""), ("ada", "vision"), ("otto", "")):
            sent = {"saf-project": project} if project else {}
            body = {"url": listener.url + "&" + who, "events": ["job.cancelled"]}
            made[who] = lab.ask(who, "POST", "/v1/webhooks", json=body, headers=sent).json()
        for project in ("", "vision"):
            lab.ask("mia", "POST", f"/v1/jobs/{lab.job('mia', project)}/cancel")
        until(lambda: len(listener.came) == 3)
        paths = sorted(headers[":path"].rpartition("&")[2] for headers, _ in listener.came)
        assert paths == ["ada", "mia", "mia"]
        assert made["ada"]["project"] == "vision"
        seen = {one["id"] for one in lab.ask("vera", "GET", "/v1/webhooks").json()["data"]}
        assert made["ada"]["id"] in seen
        assert made["mia"]["id"] not in seen


def test_the_page_makes_tries_and_removes(allowing: Server, listener: Listener) -> None:
    http = allowing.http
    nothing = http.post("/webhooks", data={"url": listener.url})
    assert (nothing.status_code, "one event at the least" in nothing.text) == (422, True)
    page = http.post("/webhooks", data={"url": listener.url, "events": "job.failed"})
    assert re.search(r"<code id=\"secret\">whsec_", page.text)
    assert "whsec_" not in http.get("/webhooks").text
    (webhook,) = allowing.get("/v1/webhooks")["data"]
    assert http.post(f"/webhooks/{webhook['id']}/test").status_code == 303
    until(lambda: "test: arrived, 204" in http.get("/webhooks").text)
    http.post(f"/webhooks/{webhook['id']}/remove")
    assert allowing.get("/v1/webhooks")["data"] == []
