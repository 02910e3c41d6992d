"""Webhooks at which nothing arrives, receivers that are slow, names that lead to several addresses,
and senders that are killed."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpcore
import pytest

from api.settings import Settings
from api.store.database import Database
from api.store.ids import new_id
from api.store.jobs import lifecycle
from api.store.tables.jobs import Job, Sweep
from api.store.webhooks import outbox
from api.store.webhooks.tables import Delivery, Webhook
from api.webhooks import connection
from tests.api.conftest import Server
from tests.api.webhooks.test_sending import (
    Listener,
    allowing,
    deliveries,
    hurried,
    listener,
    make,
    whole,
)
from tests.waiting import PATIENCE, until

__all__ = ["allowing", "hurried", "listener"]
SENDER = """
import sys, time
from pathlib import Path
from api.settings import Settings
from api.store.database import Database
from api.webhooks import sender
sender.LOOK_SECONDS, sender.LEASE_SECONDS, sender.ANSWER_SECONDS = 0.05, 1.0, 30.0
settings = Settings(data_dir=Path(sys.argv[1]), webhooks_private=True)
sender.Sender(Database(settings.database), settings).start()
time.sleep(600)
"""


def test_a_webhook_at_which_nothing_arrives_is_disabled_and_told_again_when_enabled(
    allowing: Server, listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.webhooks.sender.DISABLE_SECONDS", 0.0)
    webhook = make(allowing, listener.url, "job.succeeded")
    listener.answers = 307
    allowing.http.post(f"/v1/webhooks/{webhook['id']}/test")
    until(lambda: whole(allowing, webhook)["disabled_at"])
    off = whole(allowing, webhook)
    assert "redirects are not followed" in off["disabled_why"]
    assert off["failing_since"]
    (waiting,) = deliveries(allowing, webhook)
    assert (waiting["tries"], waiting["delivered_at"]) == (1, None)
    listener.answers = 204
    path = f"/v1/webhooks/{webhook['id']}"
    on = allowing.http.patch(path, json={"enabled": True, "events": ["job.failed"]}).json()
    assert (on["disabled_at"], on["disabled_why"], on["events"]) == (None, None, ["job.failed"])
    until(lambda: deliveries(allowing, webhook)[0]["delivered_at"])
    for body, pointer in (({}, ""), ({"secret": "x"}, "/secret"), ({"url": "ftp://x"}, "/url")):
        refused = allowing.http.patch(path, json=body)
        assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, pointer)


def test_a_data_set_that_was_checked_is_told(allowing: Server, listener: Listener) -> None:
    webhook = make(allowing, listener.url, "dataset.invalid", "dataset.ready")
    sent = {"file": ("broken.npz", b"no archive")}
    allowing.http.post("/v1/datasets", files=sent, data={"name": "broken"})
    until(lambda: listener.came)
    (told,) = deliveries(allowing, webhook)
    assert told["type"] == "dataset.invalid"
    assert '"name": "broken", "status": "invalid"' in told["body"]


class Slow:
    """A receiver that sends a byte of its answer now and then, without an end."""

    def __init__(self) -> None:
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.socket.settimeout(0.05)
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self._answer)
        self.thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.socket.getsockname()[1]}/"

    def close(self) -> None:
        self.ended.set()
        self.thread.join()
        self.socket.close()

    def _answer(self) -> None:
        while not self.ended.is_set():
            with suppress(OSError):
                taken, _ = self.socket.accept()
                with taken:
                    taken.sendall(b"HTTP/1.1 200 OK\r\n")
                    while not self.ended.wait(0.02):
                        taken.sendall(b"a")


@pytest.fixture
def slow() -> Iterator[Slow]:
    slow = Slow()
    yield slow
    slow.close()


def test_a_receiver_that_drips_is_given_up_and_keeps_no_other_from_its_messages(
    allowing: Server, listener: Listener, slow: Slow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.webhooks.sender.ANSWER_SECONDS", 0.3)
    dripping = make(allowing, slow.url, "job.failed")
    make(allowing, listener.url, "job.failed")
    allowing.submit()
    allowing.fail(allowing.run())
    until(lambda: listener.came)
    until(lambda: "no answer within 0.3 s" in deliveries(allowing, dripping)[0]["error"])


def test_the_next_address_of_a_name_is_tried_and_no_other_is_asked_for(listener: Listener) -> None:
    port = listener.server_address[1]
    url = f"http://nowhere.invalid:{port}/hook"
    headers = {"host": "nowhere.invalid"}
    # Nothing listens at the first one; the name itself leads nowhere.
    status = connection.post(
        url, ["127.0.0.2", "127.0.0.1"], content=b"{}", headers=headers, seconds=PATIENCE
    )
    assert (status, listener.came[0][0]["host"]) == (204, "nowhere.invalid")
    with pytest.raises(httpcore.ConnectError):
        connection.post(url, ["127.0.0.2"], content=b"", headers=headers, seconds=PATIENCE)


def test_a_message_that_was_under_way_when_its_sender_was_killed_comes_from_the_next(
    tmp_path: Path, sqlite_url: str
) -> None:
    settings = Settings(data_dir=tmp_path, database_url=sqlite_url)
    database = Database(settings.database)
    held = socket.create_server(("127.0.0.1", 0))
    port = held.getsockname()[1]
    with database.writing() as session:
        hook = Webhook(
            id=new_id("whk"), url=f"http://127.0.0.1:{port}/", events=[], created_at=1.0,
            secret="whsec_" + 32 * "A",
        )  # fmt: skip
        session.add(hook)
        session.flush()
        messages = {outbox.put_test(session, hook).id for _ in range(3)}
    environment = settings.environment()
    command = [sys.executable, "-c", SENDER, str(tmp_path)]
    first = subprocess.Popen(command, env=environment)
    taken, _ = held.accept()  # it has the request, and gets no answer
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    taken.close()
    held.close()
    listener = Listener(port)
    second = subprocess.Popen(command, env=environment)
    try:
        until(lambda: len(listener.came) >= 3)
    finally:
        second.kill()
        second.wait()
        listener.close()
    assert {headers["webhook-id"] for headers, _ in listener.came} == messages
    database.dispose()


def test_of_two_jobs_that_end_at_the_same_moment_the_end_of_their_sweep_is_told_once(
    database: Database,
) -> None:
    def job(sweep_id: str) -> Job:
        return Job(
            id=new_id("job"), name="", specification={}, method="m", network="n", dataset="d",
            priority=5, parameters=1, memory_bytes=1, latest={}, sweep_id=sweep_id,
        )  # fmt: skip

    with database.writing() as session:
        sweep = Sweep(
            id=new_id("swp"), name="both", request={}, request_sha256=64 * "0", created_at=1.0
        )
        hook = Webhook(
            id=new_id("whk"), url="http://127.0.0.1:9/", events=["sweep.ended"], secret="whsec_AA",
            created_at=1.0,
        )  # fmt: skip
        session.add_all([sweep, hook])
        jobs = [job(sweep.id) for _ in range(2)]
        for each in jobs:
            lifecycle.submit(session, each)
        ids = [each.id for each in jobs]
    if database.engine.dialect.name == "postgresql":
        # Neither transaction sees the other's.
        with database.writing() as one, database.writing() as other:
            lifecycle.cancel(one, ids[0])
            lifecycle.cancel(other, ids[1])
    else:
        for id_ in ids:
            with database.writing() as session:
                lifecycle.cancel(session, id_)
    for _ in range(2):
        with database.writing() as session:
            outbox.sweeps_ended(session)
    with database.reading() as session:
        (told,) = session.query(Delivery).all()
        assert '"counts": {"cancelled": 2}' in told.body
