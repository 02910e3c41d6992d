"""The log: no line is forged, no secret is in it, and ids follow a job through all processes."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest

from api.settings import Settings
from api.store.runs import logs
from api.store.tables.jobs import Status
from api.telemetry import log
from saf.redaction import Redaction, secrets_of
from tests.api.conftest import Server, serving
from tests.waiting import PATIENCE, until

LINE = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+Z api [A-Z]+ \[[^\n]*\] [^\n]*")
BELOW = re.compile(r"    \| [^\n]*")


class Written:
    """What is logged while it listens."""

    def __init__(self, format_: Literal["console", "json"], *secrets: str) -> None:
        self._stream = io.StringIO()
        self.handler = logging.StreamHandler(self._stream)
        self.handler.setFormatter(log.formatter("api", format_, secrets=secrets))

    def __enter__(self) -> Written:
        logging.getLogger().addHandler(self.handler)
        self._level = logging.getLogger("api").level
        logging.getLogger("api").setLevel(logging.INFO)
        return self

    def __exit__(self, *_: object) -> None:
        logging.getLogger().removeHandler(self.handler)
        logging.getLogger("api").setLevel(self._level)

    @property
    def text(self) -> str:
        return self._stream.getvalue()

    @property
    def objects(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.text.split("\n") if line]


@pytest.fixture
def written() -> Iterator[Written]:
    with Written("console") as written:
        yield written


def ask(server: Server, target: bytes, *headers: bytes) -> bytes:
    """The answer to a request that no client would send."""
    address = server.address.removeprefix("http://").split(":")
    with socket.create_connection((address[0], int(address[1])), timeout=PATIENCE) as connection:
        lines = [b"GET " + target + b" HTTP/1.1", b"Host: localhost", *headers]
        connection.sendall(b"\r\n".join([*lines, b"Connection: close", b"", b""]))
        return b"".join(iter(lambda: connection.recv(65536), b""))


HOSTILE = [
    b"/a%0A2026-11-29T00:00:00Z%20api%20INFO%20[-]%20forged",
    b"/a%0D%0Aforged",
    b"/a%1B[2J%1B]0;forged%07",
    b"/a%C2%9B31mforged",
    b"/a%C2%85forged",
    b"/a%E2%80%AEdegrof",
    b"/a%E2%80%A8forged",
    b"/a%FF%FEforged",
]


@pytest.mark.parametrize("target", HOSTILE)
def test_no_address_forges_a_line_or_steers_a_terminal(
    shared: Server, written: Written, target: bytes
) -> None:
    ask(shared, target, b"X-Request-ID: mine-1", b"User-Agent: \x1b[2J", b"Referer: a\x9bb")
    until(lambda: "mine-1" in written.text)
    lines = written.text.removesuffix("\n").split("\n")
    assert all(LINE.fullmatch(line) for line in lines), lines
    assert all(line.isprintable() for line in lines), lines


def test_neither_a_name_nor_an_exception_forges_a_line(written: Written) -> None:
    forged = "2026-11-29T00:00:00.000000Z api INFO [-] forged"
    try:
        raise ValueError(f"no such file\n{forged}\x1b[2J")
    except ValueError:
        logging.getLogger("api.x").exception("the job %s failed", f"a\n{forged}\u202e")
    first, *below = written.text.removesuffix("\n").split("\n")
    assert LINE.fullmatch(first)
    assert below
    assert all(BELOW.fullmatch(line) for line in below)
    assert all(line.isprintable() for line in (first, *below))
    assert r"the job a\n2026" in first


def test_json_is_an_object_a_line_whatever_is_logged() -> None:
    with Written("json") as written:
        try:
            raise ValueError("a\nb\x9b\u2028")
        except ValueError:
            logging.getLogger("api.x").exception("failed: %s", "c\nd", extra={"path": "/e\n"})
    (found,) = written.objects
    assert written.text.isascii()
    assert found["event"] == "failed: c\nd"
    assert found["path"] == "/e\n"
    assert found["exception"].endswith("ValueError: a\nb\x9b\u2028")
    assert (found["level"], found["process"], found["logger"]) == ("error", "api", "api.x")
    assert {name: found[name] for name in log.IDS} == dict.fromkeys(log.IDS)


def test_a_request_is_one_line_with_its_id_and_static_files_are_none(
    shared: Server,
) -> None:
    with Written("json") as written:
        page = shared.http.get("/", headers={"Accept": "text/html"})
        style = re.search(r'href="(/static/[^"]+\.css)"', page.text)
        assert style is not None
        assert shared.http.get(style.group(1)).status_code == 200
        assert shared.http.get("/static/nothing.css").status_code == 404
        shared.http.get("/v1/jobs", headers={"X-Request-ID": "mine-2"})
        until(lambda: "mine-2" in written.text)
    requests = [entry for entry in written.objects if "status" in entry]
    found = [(entry["method"], entry["path"], entry["status"]) for entry in requests]
    assert found == [
        ("GET", "/", 200),
        ("GET", "/static/nothing.css", 404),
        ("GET", "/v1/jobs", 200),
    ]
    assert requests[-1]["request_id"] == "mine-2"
    assert requests[-1]["user"] is None


def test_what_is_logged_for_a_job_has_its_id(shared: Server) -> None:
    with Written("json") as written:
        headers = {"X-Request-ID": "mine-3"}
        job_id = shared.http.post("/v1/jobs", json={}, headers=headers).json()["id"]
        shared.http.post(f"/v1/jobs/{job_id}/cancel", headers={"X-Request-ID": "mine-4"})
        until(lambda: "mine-4" in written.text)
    of_job = [entry["request_id"] for entry in written.objects if entry["job_id"] == job_id]
    assert of_job == ["mine-3", "mine-4"]


def test_a_very_long_message_is_cut(written: Written) -> None:
    logging.getLogger("api.x").warning("x" * 100_000)
    assert len(written.text) < 17_000
    assert "[83616 characters left out]" in written.text


SECRET = "s3cret/p@ss"


@pytest.mark.parametrize(
    "text",
    [
        f"postgresql+psycopg://saf:{SECRET}@db:5432/saf refused",
        f"redis://:{SECRET}@broker/0",
        f"connecting with password={SECRET} host=db",
        f'{{"token": "{SECRET}", "a": 1}}',
        f"GET /x?X-Amz-Signature={SECRET}&a=1",
        f"authorization: Bearer {SECRET}",
        f"AWS_SECRET_ACCESS_KEY={SECRET}",
        f"api_key: {SECRET}",
    ],
)
def test_no_secret_is_logged(text: str) -> None:
    for format_ in ("console", "json"):
        with Written(format_) as written:
            logging.getLogger("api.x").warning(text, extra={"detail": [text]})
            try:
                raise ValueError(text)
            except ValueError:
                logging.getLogger("api.x").exception("it failed")
        assert "p@ss" not in written.text, written.text
        assert "s3cret" not in written.text, written.text


def test_known_secrets_are_left_out_wherever_they_stand() -> None:
    secrets = secrets_of(
        "postgresql://u:p%40ssword@h/d", environment={"PGPASSWORD": "hunter22", "HOME": "/root"}
    )
    clean = Redaction(secrets).text
    assert (
        clean("the p@ssword, p%40ssword and hunter22 of /root") == "the ***, *** and *** of /root"
    )


def test_addresses_without_a_password_stay() -> None:
    for text in ("http://127.0.0.1:8000/jobs", "see http://h:80/a@b", "a token of thanks", "12:30"):
        assert Redaction().text(text) == text


def test_a_field_by_the_name_of_a_secret_is_hidden() -> None:
    with Written("json") as written:
        logging.getLogger("api.x").warning("x", extra={"token": "abc", "headers": {"Cookie": "d"}})
    (found,) = written.objects
    assert (found["token"], found["headers"]) == ("***", {"Cookie": "***"})


@pytest.mark.parametrize(
    "program",
    [["uvicorn", "--factory", "api.main:create_app"], ["api.commands.web"]],
    ids=["uvicorn", "saf"],
)
def test_a_server_logs_in_one_format_however_it_is_started(
    tmp_path: Path, program: list[str]
) -> None:
    environment = {**os.environ, "SAF_DATA_DIR": str(tmp_path), "SAF_LOG_FORMAT": "json"}
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", *program, "--port", str(port)]

    def sent(request: bytes) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)) as there:
            there.sendall(request)
            return bool(there.recv(65536))
        return False

    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        try:
            until(lambda: sent(b"GET /a%0Aforged HTTP/1.1\r\nHost: localhost\r\n\r\n"))
            assert sent(b"no request\r\n\r\n")
        finally:
            process.send_signal(signal.SIGTERM)
        assert process.stderr is not None
        objects = [json.loads(line) for line in process.stderr]
    assert {entry["process"] for entry in objects} == {"api"}
    assert [entry["path"] for entry in objects if "path" in entry] == ["/a\nforged"]


@pytest.mark.slow
def test_the_ids_of_a_request_follow_its_job_to_the_training_process(
    settings: Settings, tmp_path: Path
) -> None:
    """API, worker and training process, each a real one but for the arithmetic."""
    from tests.worker.conftest import WorkerProcess

    settings = settings.model_copy(update={"log_format": "json"})
    with serving(settings) as server:
        job = server.http.post(
            "/v1/jobs",
            json={"dataset": "digits", "metadata": {"steps": "3"}},
            headers={"X-Request-ID": "from-a-person"},
        ).json()
        worker = WorkerProcess(settings, tmp_path / "worker.log")
        try:
            until(lambda: server.get(f"/v1/jobs/{job['id']}")["status"] == Status.succeeded)
        finally:
            worker.end()
        with server.service.database.reading() as session:
            printed = logs.read(session, job["id"]).text
    assert f"attempt 1 of {job['id']}, asked for by request from-a-person" in printed
    told = [json.loads(line) for line in worker.log().splitlines()]
    of_training = [entry for entry in told if entry["logger"] == "worker.processes.child"]
    assert of_training
    for entry in of_training:
        assert (entry["request_id"], entry["user"]) == ("from-a-person", None)
        assert (entry["job_id"], entry["attempt"]) == (job["id"], 1)
