"""A real mail server, and services that send by it."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import suppress
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, LoginPassword

from api.settings import Settings
from tests.api.conftest import NO_BROKER, Server, serving
from tests.certificates import self_signed
from tests.reverse_proxy import free_port
from tests.waiting import until

SENDER = "Trainer <saf@lab.example>"
PUBLIC = "http://trainer.lab.example"


class Mailbox:
    """What a mail server takes; a recipient `gone@…` is unknown there."""

    def __init__(self) -> None:
        self.raw: list[bytes] = []
        self.signed_in: list[bytes] = []

    @property
    def mails(self) -> list[EmailMessage]:
        return [message_from_bytes(each, policy=default) for each in self.raw]

    async def handle_RCPT(  # noqa: N802 (aiosmtpd calls it)
        self, server: Any, session: Any, envelope: Any, address: str, options: list[str]
    ) -> str:
        if address.startswith("gone@"):
            return f"550 5.1.1 <{address.upper()}> no such user here"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(  # noqa: N802
        self, server: Any, session: Any, envelope: Any
    ) -> str:
        self.raw.append(envelope.original_content)
        return "250 kept"

    def authenticate(
        self, _: Any, __: Any, ___: Any, ____: Any, given: LoginPassword
    ) -> AuthResult:
        self.signed_in.append(given.password)
        return AuthResult(success=given.password == b"right horse", handled=False)


def mail_server(box: Mailbox, port: int = 0, **more: Any) -> Controller:
    controller = Controller(box, hostname="127.0.0.1", port=port or free_port(), **more)
    controller.start()
    return controller


def port_of(controller: Controller) -> int:
    return int(controller.port)


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.webhooks.sender.LOOK_SECONDS", 0.05)
    monkeypatch.setattr("api.webhooks.sender.PAUSES", (0.1,) * 100)


@pytest.fixture
def box() -> Mailbox:
    return Mailbox()


@pytest.fixture
def post(box: Mailbox) -> Iterator[Controller]:
    controller = mail_server(box)
    yield controller
    with suppress(AssertionError):  # a test has stopped it
        controller.stop()


def mailing(directory: Path, port: int, **more: Any) -> Settings:
    given = {
        "data_dir": directory,
        "broker_url": NO_BROKER,
        "smtp_host": "127.0.0.1",
        "smtp_port": port,
        "smtp_tls": "none",
        "smtp_sender": SENDER,
        "public_url": PUBLIC,
    }
    return Settings(**{**given, **more})


@pytest.fixture
def server(tmp_path: Path, post: Controller, database_url: str) -> Iterator[Server]:
    with serving(mailing(tmp_path, port_of(post), database_url=database_url)) as server:
        until(lambda: not server.service.opening.reason)
        yield server


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, Path]:
    """What a mail server of a lab shows, signed by itself, and the file that says so."""
    pem, private = self_signed(tmp_path_factory.mktemp("tls"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem, private)
    return context, pem
