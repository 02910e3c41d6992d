"""The client as people set their machines up: proxies, certificates, tokens."""

from __future__ import annotations

import base64
import datetime
import http.server
import ipaddress
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from api.main import create_app
from api.settings import Settings
from saf.client.client import Client, ClientError, UnreachableError
from saf.client.connection.proxies import is_excepted, proxy_of
from tests.api.conftest import NO_BROKER, Server
from tests.waiting import PATIENCE, until

VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR")


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


class Proxy:
    """A forward proxy that leads every name to one server, and remembers what it was asked."""

    def __init__(self, target: str) -> None:
        asked: list[tuple[str, Mapping[str, str]]] = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                asked.append((self.path, dict(self.headers)))
                answer = httpx.get(
                    target + httpx.URL(self.path).path, trust_env=False, timeout=PATIENCE
                )
                self.send_response(answer.status_code)
                self.send_header("content-type", answer.headers["content-type"])
                self.send_header("content-length", str(len(answer.content)))
                self.end_headers()
                self.wfile.write(answer.content)

            def log_message(self, *_: Any) -> None:
                pass

        self.asked = asked
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def proxy(shared: Server) -> Iterator[Proxy]:
    running = Proxy(shared.address)
    yield running
    running.close()


@pytest.mark.parametrize("form", ["http://{}", "{}", "http://me:pass%20word@{}"])
@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
def test_a_proxy_of_the_environment_leads_to_the_server(
    proxy: Proxy, monkeypatch: pytest.MonkeyPatch, name: str, form: str
) -> None:
    monkeypatch.setenv(name, form.format(proxy.address))
    with Client("http://saf.test:1234") as client:
        assert [one["id"] for one in client.datasets()]
    path, headers = proxy.asked[0]
    assert path.startswith("http://saf.test:1234/v1/datasets")
    if "@" in form:
        given = headers["Proxy-Authorization"].removeprefix("Basic ")
        assert base64.b64decode(given) == b"me:pass word"


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_no_proxy_leads_to_this_machine(
    shared: Server, proxy: Proxy, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://{proxy.address}")
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:1")
    with Client(shared.address.replace("127.0.0.1", host)) as client:
        assert list(client.datasets())
    assert proxy.asked == []


@pytest.mark.parametrize(
    ("exceptions", "host", "port", "excepted"),
    [
        ("*", "saf.example.org", 80, True),
        ("other.org, *", "saf.example.org", 80, True),
        ("saf.example.org", "saf.example.org", 80, True),
        ("example.org", "saf.example.org", 80, True),
        (".example.org", "saf.example.org", 80, True),
        (".example.org", "example.org", 80, True),
        ("*.example.org", "saf.example.org", 80, True),
        ("EXAMPLE.ORG", "Saf.Example.org.", 80, True),
        ("ample.org", "saf.example.org", 80, False),
        ("example.org.evil", "saf.example.org", 80, False),
        ("a.b other.org\texample.org", "saf.example.org", 80, True),
        ("example.org:8000", "example.org", 8000, True),
        ("example.org:8000", "example.org", 80, False),
        ("http://example.org/", "example.org", 80, True),
        ("10.0.0.0/8", "10.1.2.3", 80, True),
        ("10.0.0.0/8", "11.1.2.3", 80, False),
        ("10.1.2.3", "10.1.2.3", 80, True),
        ("10.1.2.3:81", "10.1.2.3", 80, False),
        ("fd00::/8", "fd12::1", 80, True),
        ("[fd12::1]", "fd12::1", 80, True),
        ("[fd12::1]:8000", "[fd12::1]", 8000, True),
        ("[fd12::1]:8000", "fd12::1", 80, False),
        ("fd12::1", "fd12:0::1", 80, True),
        ("10.0.0.0/8", "saf.example.org", 80, False),
        ("not/a/network", "10.1.2.3", 80, False),
        ("", "saf.example.org", 80, False),
        (",, ,", "saf.example.org", 80, False),
    ],
)
def test_exceptions_are_understood_in_all_their_forms(
    exceptions: str, host: str, port: int, excepted: bool
) -> None:
    assert is_excepted(host, port, exceptions) is excepted
    if not host.endswith("."):
        shown = f"[{host}]" if ":" in host and not host.startswith("[") else host
        environment = {"http": "http://proxy:3128", "no": exceptions}
        found = proxy_of(httpx.URL(f"http://{shown}:{port}"), environment)
        assert (found is None) is excepted


def test_a_socks_proxy_without_its_package_and_others_that_cannot_be_are_told_in_words(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "socksio", None)
    for name in ("socks5://me:secret@127.0.0.1:1080", "socks://127.0.0.1:1080"):
        monkeypatch.setenv("ALL_PROXY", name)
        with pytest.raises(ClientError, match="socksio is missing: pip install socksio") as told:
            Client("http://saf.example.org")
        assert "secret" not in str(told.value)
    for name in ("ftp://127.0.0.1", "socks4://127.0.0.1:1080", "http://", "http://[::1"):
        monkeypatch.setenv("ALL_PROXY", name)
        with pytest.raises(ClientError, match="HTTP_PROXY or ALL_PROXY names is"):
            Client("http://saf.example.org")
    monkeypatch.setenv("NO_PROXY", "example.org")
    Client("http://saf.example.org").close()


@contextmanager
def with_tls(directory: Path) -> Iterator[tuple[int, Path]]:
    """The API with a certificate for this machine: its port, and the file of the certificate."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    begin = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin - datetime.timedelta(days=1))
        .not_valid_after(begin + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName(
                [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
            ),
            critical=False,
        )
        .sign(key, hashes.SHA256())
    )
    public, private = directory / "certificate.pem", directory / "key.pem"
    public.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    config = uvicorn.Config(
        create_app(Settings(data_dir=directory, broker_url=NO_BROKER)),
        port=0,
        log_config=None,
        ssl_certfile=public,
        ssl_keyfile=private,
        timeout_graceful_shutdown=2,
    )
    running = uvicorn.Server(config)
    thread = threading.Thread(target=running.run)
    thread.start()
    try:
        until(lambda: running.started or not thread.is_alive())
        yield running.servers[0].sockets[0].getsockname()[1], public
    finally:
        running.should_exit = True
        thread.join()


def test_a_certificate_of_ones_own_is_believed_on_this_machine_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with with_tls(tmp_path) as (port, certificate):
        for host in ("localhost", "127.0.0.1"):
            with (
                pytest.raises(UnreachableError, match="SSL_CERT_FILE names the file"),
                Client(f"https://{host}:{port}", retries=0) as client,
            ):
                list(client.datasets())
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        for host in ("localhost", "127.0.0.1"):
            with Client(f"https://{host}:{port}") as client:
                assert list(client.datasets())


def test_certificates_that_cannot_be_read_are_told_with_their_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "nothing.pem"))
    with pytest.raises(ClientError, match=r"SSL_CERT_FILE .* cannot be read"):
        Client("https://localhost:1")
    (tmp_path / "nothing.pem").write_text("no certificate")
    with pytest.raises(ClientError, match=r"SSL_CERT_FILE .* cannot be read"):
        Client("https://localhost:1")
    Client("http://localhost:1").close()


@contextmanager
def seen(status: int = 200, **headers: str) -> Iterator[tuple[str, list[dict[str, str]]]]:
    """A server that remembers the headers of what it was asked."""
    asked: list[dict[str, str]] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append({name.lower(): value for name, value in self.headers.items()})
            self.send_response(status)
            for name, value in {"content-type": "application/json", **headers}.items():
                self.send_header(name, value)
            body = (
                b'{"data": [], "has_more": false}'
                if headers.get("content-type") is None
                else b"<p>"
            )
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def saf(*arguments: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "saf.cli", *arguments],
        capture_output=True,
        env={**os.environ, **environment},
        timeout=PATIENCE,
    )


def test_a_token_and_headers_go_with_every_request_of_client_and_commands() -> None:
    with seen() as (address, asked):
        with Client(f"http://{address}", token="saf_1", headers={"X-Team": "vision"}) as client:
            list(client.jobs())
        # The token is worth more than a user in the address.
        with Client(f"http://me:pw@{address}", token="saf_2") as client:
            list(client.jobs())
        with Client(f"http://me:pw@{address}") as client:
            list(client.jobs())
        done = saf(
            *("--url", f"http://{address}", "--header", "X-Two: a b", "list"),
            SAF_TOKEN="saf_3",
            SAF_HEADERS='{"X-One": "1"}',
        )
        assert done.returncode == 0, done.stderr
    assert [one.get("authorization") for one in asked] == [
        "Bearer saf_1",
        "Bearer saf_2",
        f"Basic {base64.b64encode(b'me:pw').decode()}",
        "Bearer saf_3",
    ]
    assert asked[0]["x-team"] == "vision"
    assert (asked[3]["x-one"], asked[3]["x-two"]) == ("1", "a b")


def test_no_password_of_an_address_and_no_token_is_printed() -> None:
    address = "http://me:pass-word@127.0.0.1:9"
    with Client(address, retries=0) as client:
        assert client.url == "http://127.0.0.1:9"
        with pytest.raises(UnreachableError) as told:
            client.get("job_1")
    assert "pass-word" not in str(told.value)
    for bad in ("ftp://me:pass-word@host", "http://me:pass-word@:x", "http://me:pass-word@"):
        with pytest.raises(ClientError) as told:  # type: ignore[assignment]
            Client(bad)
        assert "pass-word" not in str(told.value), bad
    for token in ("two words", "line\nbreak", "ünïcode"):
        with pytest.raises(ClientError, match="token") as told:  # type: ignore[assignment]
            Client("http://127.0.0.1:9", token=token)
        assert token not in str(told.value)
    for done in (
        saf("--url", address, "list"),
        saf("list", SAF_URL=address),
        saf("list", SAF_URL="http://127.0.0.1:9", SAF_TOKEN="pass-word\n2"),
        saf("--header", "pass-word", "list"),
    ):
        assert done.returncode in (1, 2, 3)
        assert b"pass-word" not in done.stderr + done.stdout
        assert b"Traceback" not in done.stderr


def test_an_address_that_leads_elsewhere_or_is_no_service_is_told() -> None:
    with (
        seen(308, location="https://saf.example.org/v1/jobs") as (address, _),
        Client(f"http://{address}") as client,
        pytest.raises(ClientError, match=r"leads to https://saf\.example\.org/v1/jobs"),
    ):
        list(client.jobs())
    with (
        seen(**{"content-type": "text/html"}) as (address, _),  # type: ignore[arg-type]
        Client(f"http://{address}") as client,
        pytest.raises(ClientError, match="sent text/html where JSON is due"),
    ):
        list(client.jobs())


@pytest.mark.parametrize(
    ("value", "place"),
    [
        ({"seed": {1, 2}}, "/seed is of type set"),
        ({"network": {"features": [4, Path("x")]}}, "/network/features/1 is of type PosixPath"),
        ({"neuron": {"decay": float("nan")}}, "/neuron/decay is nan"),
        ({"optimizer": {"learning_rate": float("inf")}}, "/optimizer/learning_rate is inf"),
        ({"metadata": {1: "a"}}, "/metadata has the key 1"),
        ({"metadata": {"a/b": b"x"}}, "/metadata/a~1b is of type bytes"),
    ],
)
def test_a_value_that_json_does_not_have_is_named(
    shared: Server, value: dict[str, Any], place: str
) -> None:
    with Client(shared.address) as client:
        for send in (client.submit, client.validate):
            with pytest.raises(ClientError, match=place):
                send({"dataset": "digits", **value})
        with pytest.raises(ClientError, match=f"/job{place}"):
            client.sweeps.submit({"/seed": [1]}, value)
        client.submit({"dataset": "digits", "augment": ()})
