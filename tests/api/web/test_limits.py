"""Every limit is a setting; who meets one is told which, and what to change."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import redis
from PIL import Image
from sqlalchemy import update

from api.broker.held import PREFIX, plain_url
from api.datasets.checks import Checks
from api.errors import TooManyError
from api.settings import Settings
from api.store.database import now
from api.store.jobs import lifecycle
from api.store.tables.jobs import Job
from api.web.limits import ConcurrencyLimits, user_of
from tests.api.conftest import NO_BROKER, Server, serving
from tests.api.web.test_problems import check
from tests.waiting import PATIENCE, until

PROXY = "127.0.0.1"
LIMITS: dict[str, Any] = {
    "body_max_bytes": 2000,
    "json_max_depth": 8,
    "upload_max_bytes": 300_000,
    "upload_max_parts": 2,
    "unpacked_max_bytes": 200 * 2**20,
    "archive_max_ratio": 2,
    "archive_max_entries": 12,
    "image_max_side": 16,
    "max_classes": 3,
    "jobs_queued_per_user": 2,
    "jobs_per_user_hour": 4,
    "streams_per_user": 2,
    "streams_at_once": 3,
    "uploads_per_user": 1,
    "uploads_at_once": 2,
    "trusted_proxies": (PROXY,),
}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with a small number for each limit."""
    settings = Settings(data_dir=tmp_path_factory.mktemp("small"), broker_url=NO_BROKER, **LIMITS)
    with serving(settings) as server:
        yield server


def as_user(address: str) -> dict[str, str]:
    return {"X-Forwarded-For": address}


def names(response: httpx.Response, status: int, setting: str) -> dict[str, Any]:
    """The problem, which names the setting."""
    body = check(response, status)
    assert f"SAF_{setting.upper()}" in body["detail"], body["detail"]
    return body


def post(server: Server, body: Any, **headers: str) -> httpx.Response:
    return server.http.post("/v1/jobs", json={"dataset": "digits", **body}, headers=headers)


def test_a_body_that_is_too_large_is_refused_announced_or_not(small: Server) -> None:
    large = json.dumps({"dataset": "digits", "name": "x" * 3000}).encode()
    kind = {"content-type": "application/json"}
    names(small.http.post("/v1/jobs", content=large, headers=kind), 413, "body_max_bytes")
    pieces = iter([large[:1500], large[1500:]])
    names(small.http.post("/v1/jobs", content=pieces, headers=kind), 413, "body_max_bytes")


@pytest.mark.parametrize("shape", ["[" * 9, '{"a":' * 9, '{"a": "[[[[[[[[[", "b": ' + "[" * 8])
def test_a_body_that_is_too_deep_is_refused(small: Server, shape: str) -> None:
    kind = {"content-type": "application/json"}
    body = names(
        small.http.post("/v1/jobs", content=shape.encode(), headers=kind), 400, "json_max_depth"
    )
    assert body["code"] == "invalid_json"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/jobs", '{"dataset": "digits", "epochs": 1, "epochs": 50}'),
        ("/v1/jobs", r'{"dataset": "digits", "neuron": {"decay": 0.5, "dec\u0061y": 0.9}}'),
        ("/v1/sweeps", '{"job": {}, "over": {"/seed": [1], "/seed": [2]}}'),
        ("/v1/datasets/mine/choices", '{"layout": "N H W C", "layout": "N C H W"}'),
    ],
)
def test_a_key_that_stands_twice_in_a_body_is_refused_as_one_would_be_ignored(
    small: Server, path: str, body: str
) -> None:
    answer = small.http.post(path, content=body, headers={"content-type": "application/json"})
    problem = check(answer, 400)
    assert problem["code"] == "invalid_json"
    assert "twice in one object" in problem["detail"]


def test_brackets_in_a_text_are_no_depth_and_its_keys_none_of_the_body(small: Server) -> None:
    texts = {"name": '[[[[[[[[[\\"{{{{{{{{{{ {"a": 1, "a": 2}', "metadata": {"name": "another"}}
    answer = post(small, texts, **as_user("192.0.2.1"))
    assert answer.status_code == 201, answer.text


def npz(*shape: int, classes: int = 2, **more: Any) -> bytes:
    buffer = io.BytesIO()
    x = np.random.default_rng(0).integers(0, 255, (classes * 2, *shape), np.uint8)
    y = np.arange(classes * 2) % classes
    np.savez(buffer, x_train=x, y_train=y, x_test=x, y_test=y, **more)
    return buffer.getvalue()


def folder(count: int, side: int = 8) -> bytes:
    buffer, image = io.BytesIO(), io.BytesIO()
    Image.fromarray(np.zeros((side, side), np.uint8)).save(image, "PNG")
    with zipfile.ZipFile(buffer, "w") as archive:
        for index in range(count):
            archive.writestr(f"{'ab'[index % 2]}/{index}.png", image.getvalue())
    return buffer.getvalue()


def bomb() -> bytes:
    """80 MiB of zeros in 80 KiB."""
    return announced(80 * 4096, bytes(80 * 2**20))


def wide() -> bytes:
    """Announces more than may come out, and holds nothing of it."""
    return announced(1_000_000, b"")


def announced(images: int, content: bytes) -> bytes:
    buffer, header = io.BytesIO(), io.BytesIO()
    shape = (images, 1, 16, 16)
    np.lib.format.write_array_header_1_0(
        header, {"descr": "|u1", "fortran_order": False, "shape": shape}
    )
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x_train.npy", header.getvalue() + content)
        for name in ("y_train", "x_test", "y_test"):
            small = io.BytesIO()
            np.save(small, np.zeros(2, np.uint8))
            archive.writestr(f"{name}.npy", small.getvalue())
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("setting", "status", "content", "file"),
    [
        ("upload_max_bytes", 413, lambda: bytes(350_000), "large.npz"),
        ("upload_max_bytes", 413, lambda: bytes(310_000), "a little large.npz"),
        ("unpacked_max_bytes", 422, wide, "wide.npz"),
        ("archive_max_ratio", 422, bomb, "bomb.npz"),
        ("archive_max_entries", 422, lambda: folder(13), "many.zip"),
        ("image_max_side", 422, lambda: folder(6, side=17), "wide.zip"),
        ("image_max_side", 422, lambda: npz(1, 4, 17), "wide.npz"),
        ("max_classes", 422, lambda: npz(1, 4, 4, classes=4), "classes.npz"),
    ],
)
def test_an_upload_beyond_a_limit_is_refused(
    small: Server, setting: str, status: int, content: Callable[[], bytes], file: str
) -> None:
    names(small.http.post("/v1/datasets", files={"file": (file, content())}), status, setting)
    assert list(small.service.part(Checks).directory.glob("*")) == []


def test_a_form_of_too_many_parts_is_refused(small: Server) -> None:
    fields = {"name": "mine", "format": "auto"}
    answer = small.http.post("/v1/datasets", files={"file": ("a.npz", b"")}, data=fields)
    names(answer, 422, "upload_max_parts")


def test_only_so_many_jobs_of_one_user_wait(small: Server) -> None:
    user = as_user("198.51.100.7")
    for _ in range(2):
        last = post(small, {}, **user)
        assert last.status_code == 201, last.text
    refused = post(small, {}, **user)
    names(refused, 429, "jobs_queued_per_user")
    assert int(refused.headers["retry-after"]) > 0
    assert post(small, {}, **as_user("198.51.100.8")).status_code == 201
    with small.service.database.writing() as session:
        lifecycle.cancel(session, last.json()["id"])
    key = {"Idempotency-Key": "again"}
    assert post(small, {}, **user, **key).status_code == 201
    assert post(small, {}, **user, **key).status_code == 200, "the same request takes no place"
    retry = small.http.post(f"/v1/jobs/{last.json()['id']}/retry", headers=user)
    names(retry, 429, "jobs_queued_per_user")


def test_only_so_many_jobs_of_one_user_come_within_an_hour(small: Server) -> None:
    user = as_user("203.0.113.9")

    def submit_and_cancel() -> httpx.Response:
        answer = post(small, {}, **user)
        if answer.status_code == 201:
            with small.service.database.writing() as session:
                lifecycle.cancel(session, answer.json()["id"])
        return answer

    jobs = [submit_and_cancel() for _ in range(4)]
    assert [job.status_code for job in jobs] == [201] * 4
    refused = submit_and_cancel()
    names(refused, 429, "jobs_per_user_hour")
    assert 3500 < int(refused.headers["retry-after"]) <= 3600
    with small.service.database.writing() as session:
        old = update(Job).where(Job.id == jobs[0].json()["id"]).values(created_at=now() - 3601)
        session.execute(old)
    assert submit_and_cancel().status_code == 201


def test_only_so_many_live_streams_are_open(small: Server) -> None:
    one, two = as_user("192.0.2.10"), as_user("192.0.2.11")
    live = {"Accept": "text/event-stream"}
    with ExitStack() as streams:
        for user in (one, one, two):
            stream = streams.enter_context(small.stream("/v1/stream", **user))
            assert stream.response.status_code == 200
        refused = small.http.get("/v1/stream", headers={**one, **live})
        names(refused, 429, "streams_per_user")
        assert int(refused.headers["retry-after"]) > 0
        names(small.http.get("/v1/stream", headers={**two, **live}), 429, "streams_at_once")
    assert small.service.settings.streams_at_once == 3

    def open_again() -> bool:
        with small.stream("/v1/stream", **one) as stream:
            return stream.response.status_code == 200

    until(open_again)


def test_only_so_many_uploads_are_sent_at_once(small: Server) -> None:
    one, two, three = (as_user(f"192.0.2.{n}") for n in (20, 21, 22))
    file = {"file": ("mine.npz", npz(1, 4, 4))}
    with ExitStack() as held:
        for address in ("192.0.2.20", "192.0.2.21"):
            small.service.concurrency.acquire("upload", address)
            held.callback(small.service.concurrency.release, "upload", address)
        refused = small.http.post("/v1/datasets", files=file, headers=one)
        names(refused, 429, "uploads_per_user")
        assert int(refused.headers["retry-after"]) > 0
        names(small.http.post("/v1/datasets", files=file, headers=three), 429, "uploads_at_once")
    for user, name in ((one, "first"), (one, "second"), (two, "third")):
        answer = small.http.post("/v1/datasets", files=file, headers=user, data={"name": name})
        assert answer.status_code == 201, answer.text


@pytest.mark.parametrize(
    ("peer", "header", "user"),
    [
        ("192.0.2.5", "198.51.100.1", "192.0.2.5"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.1", "198.51.100.1", "198.51.100.1"),
        ("10.0.0.1", "6.6.6.6, 198.51.100.1", "198.51.100.1"),
        ("10.0.0.1", "198.51.100.1, 10.0.0.2", "198.51.100.1"),
        ("10.0.0.1", "6.6.6.6, nonsense", "10.0.0.1"),
        ("10.0.0.1", "6.6.6.6, nonsense, 10.0.0.2", "10.0.0.2"),
        ("2001:db8::1", "", "2001:db8::/64"),
        ("2001:db8::ffff:1", "", "2001:db8::/64"),
        ("::ffff:192.0.2.5", "", "192.0.2.5"),
        ("::1", "", "::1"),
    ],
)
def test_a_user_is_the_last_address_that_is_no_trusted_proxy(
    peer: str, header: str, user: str
) -> None:
    headers = [(b"x-forwarded-for", header.encode())] if header else []
    scope = {"type": "http", "client": (peer, 1), "headers": headers}
    assert user_of(scope, ("10.0.0.1", "10.0.0.2")) == user


def test_a_client_cannot_choose_who_it_is_where_no_proxy_is_trusted(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, broker_url=NO_BROKER, jobs_queued_per_user=1)
    with serving(settings) as server:
        assert post(server, {}, **as_user("192.0.2.1")).status_code == 201
        assert post(server, {}, **as_user("192.0.2.2")).status_code == 429


def of_one(data_dir: Path, broker_url: str) -> ConcurrencyLimits:
    """What one process of the API counts."""
    settings = Settings(data_dir=data_dir, broker_url=broker_url, uploads_per_user=2)
    return ConcurrencyLimits(settings)


def test_uploads_and_streams_of_all_processes_count_together(
    tmp_path: Path, broker_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.broker.held.ANSWER_SECONDS", PATIENCE)
    one, other = of_one(tmp_path, broker_url), of_one(tmp_path, broker_url)
    one.acquire("upload", "mia")
    other.acquire("upload", "mia")
    assert one.taken("upload", "mia") == 2
    for each in (one, other):
        with pytest.raises(TooManyError, match="mia has 2 uploads open already"):
            each.acquire("upload", "mia")
        each.acquire("upload", "otto")
        each.acquire("live stream", "mia")
    one.release("upload", "mia")
    until(lambda: other.taken("upload", "mia") == 1)
    other.acquire("upload", "mia")
    other.stop()  # gives back
    assert one.taken("upload", "mia") == 0
    assert one.taken("upload", "otto") == 1
    one.stop()


HOLDS_AND_IS_KILLED = """
import os, signal, sys
from pathlib import Path
from api.broker import held
held.HOLD_SECONDS = 2
from tests.api.web.test_limits import of_one
limits = of_one(Path(sys.argv[1]), sys.argv[2])
for _ in range(2):
    limits.acquire("upload", "mia")
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_process_held_is_free_after_a_while(
    tmp_path: Path, broker_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.broker.held.ANSWER_SECONDS", PATIENCE)
    monkeypatch.setattr("api.broker.held.RENEW_SECONDS", 0.2)
    command = [sys.executable, "-c", HOLDS_AND_IS_KILLED, str(tmp_path), broker_url]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    limits = of_one(tmp_path, broker_url)

    def acquired() -> bool:
        try:
            limits.acquire("upload", "mia")
        except TooManyError:
            return False
        return True

    until(acquired)
    until(acquired)
    with redis.Redis.from_url(plain_url(broker_url)) as broker:
        (key,) = broker.keys(f"{PREFIX}:*")

        def counts_until() -> float:
            return float(min(at for _, at in broker.zrange(key, 0, -1, withscores=True)))

        first = counts_until()
        until(lambda: counts_until() > first + 1)  # what lives is put off again and again
    assert limits.taken("upload", "mia") == 2
    limits.stop()


@pytest.mark.parametrize("url", ["", "redis://127.0.0.1:9/0", NO_BROKER])
def test_each_process_counts_while_the_broker_is_away(tmp_path: Path, url: str) -> None:
    limits = of_one(tmp_path, url)
    limits.acquire("upload", "mia")
    limits.acquire("upload", "mia")
    with pytest.raises(TooManyError):
        limits.acquire("upload", "mia")
    limits.release("upload", "mia")
    limits.acquire("upload", "mia")
    limits.stop()
