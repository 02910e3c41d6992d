"""Whose turn it is: one message at a time to a webhook, the oldest, and some of each user's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from api.store.accounts.tables import User
from api.store.database import Database
from api.store.ids import new_id
from api.store.webhooks import deliveries, outbox
from api.store.webhooks.tables import Delivery, Webhook
from tests.api.accounts.people import Lab, make_lab, with_keys
from tests.api.conftest import serving
from tests.api.webhooks.test_failing import Slow, slow
from tests.api.webhooks.test_sending import Listener, hurried, listener
from tests.waiting import until

__all__ = ["hurried", "listener", "slow"]
SENDER = "api.webhooks.sender"


def stored(database: Database, messages: dict[str, int]) -> dict[str, str]:
    """A webhook for each name, with so many messages that are due; who it belongs to is the part of
    the name before a slash."""
    made = {}
    with database.writing() as session:
        for owner in {name.partition("/")[0] for name in messages}:
            session.add(User(id=f"usr_{owner}", name=owner, is_admin=False, created_at=1))
        for name, number in messages.items():
            hook = Webhook(
                id=new_id("whk"), owner_id=f"usr_{name.partition('/')[0]}", url=f"http://{name}",
                secret="whsec_eA==", events=["job.failed"], created_at=1,
            )  # fmt: skip
            session.add(hook)
            session.flush()
            for _ in range(number):
                outbox.put_test(session, hook)
            made[name] = hook.id
    return made


def take(database: Database, most: int = 100, of_one_user: int = 100, **more: Any) -> list[Any]:
    """What is taken, as pairs of a webhook's name and the number of its try."""
    with database.writing() as session:
        return deliveries.take(session, most, seconds=60, of_one_user=of_one_user, **more)


def named(taken: list[Any]) -> list[str]:
    return [webhook.url.removeprefix("http://") for _, webhook in taken]


def arrived(database: Database, taken: tuple[Any, Any]) -> None:
    delivery, webhook = taken
    with database.writing() as session:
        deliveries.tried(
            session,
            (delivery.id, delivery.tries),
            (webhook.id, webhook.sending_until),
            status=204,
            error="",
            again_in=None,
            disable_seconds=1e6,
            is_gone=False,
        )


def test_a_webhook_with_many_messages_hides_no_other(database: Database) -> None:
    stored(database, {"mia/full": 500, "ada/one": 1})
    assert sorted(named(take(database))) == ["ada/one", "mia/full"]


def test_a_webhook_gets_one_message_at_a_time_in_their_order(database: Database) -> None:
    stored(database, {"mia/hook": 3})
    came = []
    for _ in range(3):
        (taken,) = take(database)
        came.append(taken[0].id)
        assert take(database) == []  # whoever asks: another process, too
        with database.reading() as session:
            assert not deliveries.has_news(session)
        arrived(database, taken)
    assert came == sorted(came)
    assert take(database) == []


def test_a_webhook_whose_sender_is_gone_is_sent_to_after_its_lease(database: Database) -> None:
    stored(database, {"mia/hook": 1})
    with database.writing() as session:
        ((first, webhook),) = deliveries.take(session, 1, seconds=-1, of_one_user=1)
    lost = (first, webhook)
    (again,) = take(database)
    assert (again[0].id, again[0].tries) == (first.id, 2)
    arrived(database, lost)  # too late: it says nothing, and frees nothing
    with database.reading() as session:
        held = session.get_one(Webhook, webhook.id)
        assert held.sending_until == again[1].sending_until
        assert session.get_one(Delivery, first.id).delivered_at is None


def test_some_of_a_users_webhooks_are_sent_to_at_once(database: Database) -> None:
    names = {f"mia/{number}": 1 for number in range(20)}
    stored(database, names | {"ada/1": 1, "ada/2": 1})
    taken = take(database, of_one_user=4)
    assert sorted(each.partition("/")[0] for each in named(taken)) == 2 * ["ada"] + 4 * ["mia"]
    assert take(database, of_one_user=4) == []
    arrived(database, next(each for each in taken if named([each])[0].startswith("mia")))
    assert len(take(database, of_one_user=4)) == 1


def test_users_to_whom_the_fewest_are_under_way_come_first(database: Database) -> None:
    stored(database, {**{f"mia/{number}": 1 for number in range(9)}, "ada/1": 1, "otto/1": 1})
    assert {each.partition("/")[0] for each in named(take(database, 3))} == {"mia", "ada", "otto"}
    assert take(database, but_of=["usr_mia"]) == []
    assert len(take(database)) == 8


@contextmanager
def lab_that_sends(tmp_path: Path) -> Iterator[Lab]:
    settings = with_keys(tmp_path, f"sqlite:///{tmp_path / 'lab.sqlite3'}", webhooks_private=True)
    with serving(settings) as server:
        yield make_lab(server)


def test_twenty_webhooks_that_do_not_answer_hold_up_nobody_else(
    tmp_path: Path, listener: Listener, slow: Slow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"{SENDER}.ANSWER_SECONDS", 600.0)  # longer than the test
    monkeypatch.setattr(f"{SENDER}.AT_ONCE", 3)
    monkeypatch.setattr(f"{SENDER}.OF_ONE_USER", 2)
    with lab_that_sends(tmp_path) as lab:
        for who, number, url in (("mia", 20, slow.url), ("ada", 1, listener.url)):
            for _ in range(number):
                body = {"url": url, "events": ["job.failed"]}
                made = lab.ask(who, "POST", "/v1/webhooks", json=body).json()
                lab.ask(who, "POST", f"/v1/webhooks/{made['id']}/test")
        until(lambda: len(listener.came) == 1)
        lab.ask("ada", "POST", f"/v1/webhooks/{made['id']}/test")
        until(lambda: len(listener.came) == 2)
        slow.close()
        monkeypatch.setattr(f"{SENDER}.ANSWER_SECONDS", 0.0)
