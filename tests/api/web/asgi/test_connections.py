"""Clients that do not keep up lose their place, and nobody else notices."""

from __future__ import annotations

import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from api.datasets.checks import Checks
from api.host.listener import listen
from api.jobs.live import Streams
from api.settings import Settings
from api.store.runs import logs
from api.web.asgi import connections, middleware
from tests.answers import answers
from tests.api.conftest import NO_BROKER, Server, serving
from tests.waiting import PATIENCE, until

OPEN_FILES = 200  # of the server; the test has more connections
LINE = "x" * 99 + "\n"


@pytest.fixture
def hasty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server that waits for nobody."""
    for name in ("HEAD_SECONDS", "SILENT_SECONDS", "REST_SECONDS", "READ_SECONDS"):
        monkeypatch.setattr(connections, name, 0.5)
    monkeypatch.setattr(connections, "LOOK_SECONDS", 0.1)
    monkeypatch.setattr(middleware, "BODY_SECONDS", 0.5)
    monkeypatch.setattr(middleware, "UPLOAD_PATIENCE", 0.5)
    with serving(Settings(data_dir=tmp_path, broker_url=NO_BROKER)) as server:
        yield server


def connect(server: Server, received: int | None = None) -> socket.socket:
    host, _, port = server.address.removeprefix("http://").partition(":")
    client = socket.socket()
    if received is not None:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, received)
    client.settimeout(PATIENCE)
    client.connect((host, int(port)))
    return client


def all_of(client: socket.socket) -> bytes:
    """What comes until the server ends the connection."""
    found = b""
    while True:
        try:
            piece = client.recv(2**16)
        except ConnectionResetError:
            return found
        if not piece:
            return found
        found += piece


def until_ended_by_the_server(client: socket.socket) -> None:
    """Wait for it without reading: what was sent is still on its way, so the client cannot see it,
    but the kernel has no established connection at the server's end any more."""
    ends = client.getpeername(), client.getsockname()
    here, there = (f"0100007F:{port:04X}" for _, port in ends)

    def is_established() -> bool:
        lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()]
        return any(fields[1:4] == [here, there, "01"] for fields in lines)

    until(lambda: not is_established())


def drip(client: socket.socket, text: bytes) -> bytes:
    """Send a byte now and then, until the server has had enough; what it answers."""
    try:
        for byte in text * 10_000:
            client.sendall(bytes([byte]))
            time.sleep(0.05)
            client.setblocking(False)
            try:
                if (piece := client.recv(2**16)) is not None:
                    client.settimeout(PATIENCE)
                    return piece + (all_of(client) if piece else b"")
            except BlockingIOError:
                client.settimeout(PATIENCE)
    except (BrokenPipeError, ConnectionResetError):
        return b""
    raise AssertionError("the server waits for ever")


def head(method: str, path: str, length: int, kind: str = "application/json") -> bytes:
    return (
        f"{method} {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: {kind}\r\n"
        f"content-length: {length}\r\n\r\n"
    ).encode()


def test_a_head_that_does_not_end_is_answered_408(hasty: Server) -> None:
    with connect(hasty) as client:
        client.sendall(b"GET /healthz HTTP/1.1\r\n")
        assert b" 408 " in drip(client, b"x-more: of it\r\n")
    assert hasty.get("/healthz") == {"status": "ok"}


def test_the_second_head_of_a_connection_is_bounded_like_the_first(hasty: Server) -> None:
    with connect(hasty) as client:
        client.sendall(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n")
        assert b" 200 " in client.recv(2**16)
        assert b" 408 " in drip(client, b"GET /healthz HTTP/1.1\r\n")


def test_a_connection_that_sends_nothing_is_ended(hasty: Server) -> None:
    with connect(hasty) as client:
        assert all_of(client) == b""


def test_a_body_that_does_not_end_is_answered_408(hasty: Server) -> None:
    with connect(hasty) as client:
        client.sendall(head("POST", "/v1/jobs", 1000))
        answer = drip(client, b"{")
    assert b" 408 " in answer
    assert b"too_slow" in answer


def test_an_upload_that_does_not_go_on_is_answered_408_and_leaves_nothing(hasty: Server) -> None:
    with connect(hasty) as client:
        form = "multipart/form-data; boundary=b"
        client.sendall(head("POST", "/v1/datasets", 10_000_000, form))
        client.sendall(
            b'--b\r\ncontent-disposition: form-data; name="file"; filename="a.zip"\r\n\r\nPK'
        )
        assert b" 408 " in all_of(client)
    until(lambda: not list(hasty.service.part(Checks).directory.glob("*")))
    answer = hasty.http.post("/v1/datasets", files={"file": ("a.zip", b"PK")})
    assert answer.status_code == 422, "its place is free"


def test_a_body_that_was_answered_before_its_end_is_not_read_for_ever(hasty: Server) -> None:
    with connect(hasty) as client:
        client.sendall(head("POST", "/v1/jobs", 10**9))
        answer = drip(client, b"{")
    assert b" 413 " in answer


def test_a_live_stream_that_nobody_reads_is_ended(hasty: Server) -> None:
    job = hasty.submit()
    with hasty.service.database.writing() as session:
        logs.append(session, job["id"], 1, LINE * 100_000)
    with connect(hasty, received=4096) as client:
        client.sendall(
            f"GET {job['urls']['logs']} HTTP/1.1\r\nhost: localhost\r\n"
            "accept: text/event-stream\r\n\r\n".encode()
        )
        assert client.recv(64).startswith(b"HTTP/1.1 200")
        until_ended_by_the_server(client)
    until(lambda: hasty.service.part(Streams).watched == 0)


@pytest.mark.slow
def test_an_answer_that_nobody_reads_is_ended(hasty: Server) -> None:
    job = hasty.submit()
    with hasty.service.database.writing() as session:
        logs.append(session, job["id"], 1, LINE * 100_000)
    with connect(hasty, received=4096) as client:
        path = job["urls"]["logs"]
        client.sendall(f"GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n".encode())
        until_ended_by_the_server(client)
        assert len(all_of(client)) < len(LINE) * 100_000


def test_idle_connections_beyond_the_open_files_take_no_place_from_those_that_ask(
    tmp_path: Path,
) -> None:
    listener = listen("127.0.0.1", 0)
    address = listener.getsockname()
    errors = tmp_path / "errors"
    with errors.open("wb") as output:
        server = subprocess.Popen(
            [sys.executable, "-m", "api.commands.web", "--fd", str(listener.fileno())],
            pass_fds=(listener.fileno(),),
            env={"SAF_DATA_DIR": str(tmp_path), "BROKER_URL": NO_BROKER, "PATH": ""},
            stderr=output,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (OPEN_FILES, OPEN_FILES)),
        )
    listener.close()
    url = f"http://{address[0]}:{address[1]}/v1/jobs"
    try:
        with ExitStack() as idle:
            for number in range(3 * OPEN_FILES):
                client = idle.enter_context(socket.create_connection(address, timeout=PATIENCE))
                if number % 2:
                    client.sendall(b"GET /")
            for _ in range(10):
                assert httpx.get(url, timeout=PATIENCE).status_code == 200
        assert httpx.get(url, timeout=PATIENCE).status_code == 200
        assert server.poll() is None
    finally:
        server.kill()
        server.wait()
    said = errors.read_text()
    assert said.count("most there may be") + said.count("no more files") == 1, said[-3000:]
    assert "Traceback" not in said


def test_the_command_serves_the_api_and_says_when_its_port_is_taken(tmp_path: Path) -> None:
    with listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        command = [sys.executable, "-m", "saf.cli", "web", "--port", str(port)]
        environment = {"SAF_DATA_DIR": str(tmp_path), "BROKER_URL": NO_BROKER, "PATH": ""}
        ended = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert ended.returncode == 1
    assert f"port {port} of 127.0.0.1 cannot be had" in " ".join(ended.stderr.split())
    with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as server:
        until(lambda: answers(f"http://127.0.0.1:{port}/healthz"))
        server.terminate()
        assert server.wait(PATIENCE) == -signal.SIGTERM


def test_an_answer_does_not_wait_for_the_acknowledgement_of_its_head() -> None:
    """asyncio sees to it for listeners that it makes, not for one that is handed on."""
    with listen("127.0.0.1", 0) as listener, socket.create_connection(listener.getsockname()):
        accepted, _ = listener.accept()
        with accepted:
            connections.bound(accepted)
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
