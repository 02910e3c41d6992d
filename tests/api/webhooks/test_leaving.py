"""Who has left a project, or whose account is closed, is told and sees nothing more of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import select

from api.store.accounts import projects, users
from api.store.webhooks import deliveries
from api.store.webhooks.tables import Delivery
from tests.api.accounts.people import Lab
from tests.api.webhooks.test_sending import Listener, hurried, listener
from tests.api.webhooks.test_turns import lab_that_sends
from tests.waiting import until

__all__ = ["hurried", "listener"]


def told(lab: Lab, listener: Listener, who: str, project: str = "") -> str:
    """A webhook of somebody, in a project or alone."""
    headers = {"saf-project": project} if project else {}
    body = {"url": f"{listener.url}&{who}", "events": ["job.cancelled"]}
    answer = lab.ask(who, "POST", "/v1/webhooks", json=body, headers=headers)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def leave(lab: Lab, who: str, project: str) -> None:
    with lab.server.service.database.writing() as session:
        projects.remove(session, projects.find(session, project), users.find(session, who))


def disable(lab: Lab, who: str) -> None:
    with lab.server.service.database.writing() as session:
        users.change(session, users.find(session, who), disabled=True)


def given_up(lab: Lab, webhook: str) -> str:
    """Why the only message of a webhook is not sent any more; empty: it is."""
    with lab.server.service.database.reading() as session:
        (message,) = session.scalars(select(Delivery).where(Delivery.webhook_id == webhook))
        return "" if message.next_at else message.error


def test_no_message_is_stored_for_who_has_left(tmp_path: Path, listener: Listener) -> None:
    with lab_that_sends(tmp_path) as lab:
        for who, project in (("mia", "vision"), ("ada", "vision"), ("otto", "")):
            told(lab, listener, who, project)
        shared = lab.job("ada", "vision")
        ottos = lab.job("otto")
        disable(lab, "otto")
        leave(lab, "mia", "vision")
        for job in (shared, ottos):
            lab.ask("root", "POST", f"/v1/jobs/{job}/cancel")
        until(lambda: listener.came)
        with lab.server.service.database.reading() as session:
            assert session.query(Delivery).count() == 1
        assert listener.came[0][0][":path"].endswith("&ada")


@pytest.mark.parametrize("how", ["leaves", "is disabled"])
def test_what_was_stored_before_is_not_sent(
    tmp_path: Path, listener: Listener, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.webhooks.sender.PAUSES", (0.1,) * 600)
    listener.answers = 500  # so that it is tried again
    with lab_that_sends(tmp_path) as lab:
        webhook = told(lab, listener, "mia", "vision")
        lab.ask("ada", "POST", f"/v1/jobs/{lab.job('ada', 'vision')}/cancel")
        until(lambda: listener.came)
        leave(lab, "mia", "vision") if how == "leaves" else disable(lab, "mia")
        assert until(lambda: given_up(lab, webhook)) == deliveries.NOT_TOLD
        listener.answers = 204
        with lab.server.service.database.writing() as session:
            users.change(session, users.find(session, "mia"), disabled=False)
            (message,) = session.scalars(select(Delivery).where(Delivery.webhook_id == webhook))
            assert message.delivered_at is None
            assert not deliveries.has_news(session)


def test_an_admin_who_is_none_any_more_is_told_nothing_of_a_project(
    tmp_path: Path, listener: Listener
) -> None:
    with lab_that_sends(tmp_path) as lab:
        webhook = told(lab, listener, "root", "vision")
        with lab.server.service.database.writing() as session:
            users.change(session, users.find(session, "otto"), is_admin=True)
            users.change(session, users.find(session, "admin"), is_admin=False)
        lab.ask("ada", "POST", f"/v1/webhooks/{webhook}/test")
        assert until(lambda: given_up(lab, webhook)) == deliveries.NOT_TOLD
        assert listener.came == []


def test_who_has_left_sees_no_messages_and_may_remove_the_webhook(
    tmp_path: Path, listener: Listener
) -> None:
    with lab_that_sends(tmp_path) as lab:
        webhook = told(lab, listener, "mia", "vision")
        path = f"/v1/webhooks/{webhook}"
        job = lab.job("ada", "vision")
        lab.ask("ada", "POST", f"/v1/jobs/{job}/cancel")
        until(lambda: listener.came)
        for who in ("mia", "ada", "vera", "root"):
            (message,) = lab.ask(who, "GET", f"{path}/deliveries").json()["data"]
            assert job in message["body"], who
        assert lab.ask("otto", "GET", f"{path}/deliveries").status_code == 404
        cookies = {"headers": {"accept": "text/html"}}
        assert "job.cancelled: arrived" in lab.ask("mia", "GET", "/webhooks", **cookies).text
        leave(lab, "mia", "vision")
        for method, of in (("GET", "deliveries"), ("POST", "test")):
            refused = lab.ask("mia", method, f"{path}/{of}")
            assert refused.status_code == 404
            assert "are for who belongs to its project" in refused.json()["detail"]
        seen = lab.ask("mia", "GET", "/webhooks", **cookies).text
        assert listener.url.partition("?")[0] in seen
        assert "job.cancelled: arrived" not in seen
        assert lab.ask("ada", "GET", f"{path}/deliveries").json()["data"]
        assert lab.ask("mia", "DELETE", path).status_code == 204
