"""Who is told by mail, of what, and how a mail box is confirmed, tried and stopped."""

from __future__ import annotations

import re
import socket
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller

from api.store.webhooks.tables import Webhook
from tests.api.accounts.people import make_lab, opened, with_keys
from tests.api.conftest import Server, serving
from tests.api.webhooks.mail.conftest import PUBLIC, Mailbox, mail_server, mailing, port_of
from tests.api.webhooks.test_sending import Listener
from tests.waiting import until

ANNA = "mailto:anna@lab.example"


def add(server: Server, url: str = ANNA, *events: str, **more: Any) -> dict[str, Any]:
    body = {"url": url, "events": list(events) or ["job.failed"], **more}
    answer = server.http.post("/v1/webhooks", json=body)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


def link_in(box: Mailbox, number: int, purpose: str) -> str:
    until(lambda: len(box.raw) > number)
    text = box.mails[number].get_content()
    found = re.search(rf"{PUBLIC}(/mail/{purpose}/\S+)", text)
    assert found, text
    return found[1]


def confirmed(server: Server, box: Mailbox, *events: str, **more: Any) -> dict[str, Any]:
    made = add(server, ANNA, *events, **more)
    assert server.http.post(link_in(box, len(box.raw), "confirm")).status_code == 200
    return made


def last(server: Server, webhook: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = server.get(f"/v1/webhooks/{webhook['id']}/deliveries")["data"][0]
    return found


def test_the_codes_of_links_are_in_no_log(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        for ask in (server.http.get, server.http.post):
            assert ask("/mail/stop/whk_1.fedcba987654").status_code == 404
    ours = [vars(record) for record in caplog.records if record.name.startswith("api.")]
    assert any("/mail/stop/… 404" in str(each["msg"] % each["args"]) for each in ours)
    assert "fedcba987654" not in str(ours)


def test_what_is_no_link_waits_for_nobody_who_writes(server: Server) -> None:
    with server.service.database.writing():
        for purpose in ("confirm", "stop"):
            assert server.http.post(f"/mail/{purpose}/whk_1.no").status_code == 404


def test_a_mail_box_gets_nothing_before_somebody_there_has_said_whose_it_is(
    server: Server, box: Mailbox
) -> None:
    made = add(server)
    assert (made["secret"], made["confirmed_at"], made["sweep_jobs"]) == (None, None, False)
    server.submit()
    server.fail(server.run())
    refused = server.http.post(f"/v1/webhooks/{made['id']}/test")
    assert (refused.status_code, "not confirmed" in refused.json()["detail"]) == (409, True)
    path = link_in(box, 0, "confirm")
    assert "It is mine" in server.http.get(path).text
    assert server.get(f"/v1/webhooks/{made['id']}")["confirmed_at"] is None, "looking says nothing"
    assert server.http.post(path[:-1] + "x").status_code == 404
    assert "is confirmed" in server.http.post(path).text
    server.submit(name="second")
    server.fail(server.run())
    until(lambda: len(box.raw) == 2)
    assert box.mails[1]["Subject"] == "Job second failed"
    assert add(server)["confirmed_at"], "the box is known by now"


def test_a_link_in_the_mail_stops_them_without_signing_in(server: Server, box: Mailbox) -> None:
    made = confirmed(server, box, "job.failed")
    server.http.post(f"/v1/webhooks/{made['id']}/test")
    stop = link_in(box, 1, "stop")
    assert "Stop these mails?" in server.http.get(stop).text
    one_click = {"List-Unsubscribe": "One-Click"}
    assert server.http.post(stop, data=one_click).status_code == 200
    off = server.get(f"/v1/webhooks/{made['id']}")
    assert off["disabled_why"] == "stopped by a link in a mail"
    server.submit()
    server.fail(server.run())
    assert {one["type"] for one in [last(server, made)]} == {"test"}


def test_who_has_stopped_mails_is_asked_before_any_come_again(server: Server, box: Mailbox) -> None:
    made = confirmed(server, box, "job.failed")
    another = add(server, ANNA, "job.failed")
    server.http.post(f"/v1/webhooks/{made['id']}/test")
    stop = link_in(box, 1, "stop")
    assert "has to confirm it anew" in server.http.post(stop).text
    assert server.get(f"/v1/webhooks/{another['id']}")["disabled_at"], "theirs to the same box, too"
    assert "Switch on" in server.http.get("/account").text
    assert server.http.post(f"/webhooks/{made['id']}/enable").status_code == 303
    again = server.http.patch(f"/v1/webhooks/{made['id']}", json={"enabled": True}).json()
    assert (again["disabled_at"], again["confirmed_at"]) == (None, None)
    server.submit()
    server.fail(server.run())
    until(lambda: len(box.raw) == 3)
    assert box.mails[2]["Subject"] == "Is this your address?"
    assert add(server)["confirmed_at"] is None, "nor by a new one"
    until(lambda: len(box.raw) == 4)
    with server.service.database.writing() as session:  # long ago, but the question is new
        row = session.get(Webhook, made["id"])
        assert row is not None
        row.created_at -= 30 * 86_400
    assert server.http.post(link_in(box, 2, "confirm")).status_code == 200
    server.http.post(f"/v1/webhooks/{made['id']}/test")
    until(lambda: len(box.raw) == 5)
    assert box.mails[4]["Subject"] == "A test"


def test_a_sweep_is_one_mail_unless_each_job_is_asked_for(server: Server, box: Mailbox) -> None:
    confirmed(server, box, "job.failed", "job.succeeded", "sweep.ended")
    each = add(server, ANNA, "job.failed", sweep_jobs=True)
    sweep = {"job": {"dataset": "digits"}, "over": {"/seed": [0, 1]}, "name": "both"}
    server.http.post("/v1/sweeps", json=sweep)
    server.fail(server.run())
    server.succeed(server.run())
    until(lambda: len(box.raw) == 3)
    subjects = sorted(mail["Subject"] for mail in box.mails[1:])
    assert subjects[1] == "Sweep both has ended"
    assert subjects[0].endswith("failed")
    (ended,) = [mail for mail in box.mails if mail["Subject"].startswith("Sweep")]
    assert {"failed: 1", "succeeded: 1"} <= set(ended.get_content().splitlines())
    assert last(server, each)["type"] == "job.failed"


def test_what_a_server_that_is_down_does_not_take_comes_later_and_550_is_shown(
    server: Server, box: Mailbox, post: Controller
) -> None:
    made = confirmed(server, box, "job.failed")
    port = port_of(post)
    post.stop()
    server.submit(name="late")
    server.fail(server.run())
    until(lambda: "refused" in last(server, made)["error"])
    again = mail_server(box, port)
    try:
        until(lambda: last(server, made)["delivered_at"])
        assert last(server, made)["tries"] > 1
        assert box.mails[-1]["Subject"] == "Job late failed"
        gone = add(server, "mailto:gone@lab.example")
        until(lambda: last(server, gone)["status"] == 550)
        refused = last(server, gone)
        assert (refused["next_at"], refused["tries"]) == (None, 1)
        assert "given up: the mail server answered 550" in server.http.get("/webhooks").text
    finally:
        again.stop()


def test_a_mail_server_that_says_nothing_holds_up_no_webhook(
    tmp_path: Path, sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.webhooks.sender.AT_ONCE", 2)
    monkeypatch.setattr("api.webhooks.sender.MAILS_AT_ONCE", 1)
    listener = Listener()
    silent = socket.create_server(("127.0.0.1", 0))
    more = {"database_url": sqlite_url, "webhooks_private": True}
    with serving(mailing(tmp_path, silent.getsockname()[1], **more)) as server:
        try:
            opened(server)
            for name in ("anna", "otto"):
                add(server, f"mailto:{name}@lab.example")
            hook = add(server, listener.url)
            server.http.post(f"/v1/webhooks/{hook['id']}/test")
            until(lambda: listener.came)
        finally:
            silent.close()  # who waits for it hears that nobody is there
            listener.close()


def test_few_mails_ask_boxes_that_may_be_anybodys(server: Server, box: Mailbox) -> None:
    for number in range(5):
        add(server, f"mailto:victim{number}@lab.example")
    body = {"url": "mailto:victim9@lab.example", "events": ["job.failed"]}
    refused = server.http.post("/v1/webhooks", json=body)
    assert refused.status_code == 429
    assert int(refused.headers["retry-after"]) > 3000
    for url in ("mailto:", "mailto:a b@lab.example", "mailto:a@lab.example?bcc=b@lab.example"):
        refused = server.http.post("/v1/webhooks", json=body | {"url": url})
        assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "/url")


def test_where_no_mail_is_sent_a_mail_box_is_refused(shared: Server) -> None:
    body = {"url": ANNA, "events": ["job.failed"]}
    refused = shared.http.post("/v1/webhooks", json=body)
    assert (refused.status_code, "SAF_SMTP_HOST" in refused.json()["detail"]) == (422, True)
    assert "SAF_SMTP_HOST" in shared.http.get("/account").text


def test_each_adds_their_own_on_the_page_of_the_account(
    tmp_path: Path, box: Mailbox, post: Controller
) -> None:
    url = f"sqlite:///{tmp_path / 'lab.sqlite3'}"
    more = mailing(tmp_path, port_of(post)).model_dump(
        include={"smtp_host", "smtp_port", "smtp_tls", "smtp_sender", "public_url"}
    )
    with serving(with_keys(tmp_path, url, **more)) as server:
        lab = make_lab(server)
        form = {"address": "mia@lab.example", "told": ["a training failed", "a sweep has ended"]}
        assert lab.ask("mia", "POST", "/account/mail", data=form).status_code == 303
        page = lab.ask("mia", "GET", "/account").text
        assert "waits for the link" in page
        assert "mia@lab.example" not in lab.ask("root", "GET", "/account").text
        server.http.post(link_in(box, 0, "confirm"))
        assert "mia, a user of" in box.mails[0].get_content()
        assert "Send a test mail to mia@lab.example" in lab.ask("mia", "GET", "/account").text
        # What is known of one is not of another.
        body = {"url": "mailto:mia@lab.example", "events": ["job.failed"]}
        assert lab.ask("otto", "POST", "/v1/webhooks", json=body).json()["confirmed_at"] is None
        nothing = lab.ask("mia", "POST", "/account/mail", data={"address": "mia@lab.example"})
        assert nothing.status_code == 422
