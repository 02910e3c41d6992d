"""One mail to a real server: TLS, passwords, refusals."""

from __future__ import annotations

import itertools
import json
import socket
import ssl
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from api.settings import Settings
from api.webhooks.mail import configured, smtp
from api.webhooks.mail.message import compose
from tests.api.webhooks.mail.conftest import Mailbox, mail_server, mailing, port_of

NEWS = {
    "type": "job.failed",
    "data": {
        "id": "job_1",
        "object": "job",
        "name": "größe\r\nBcc: all@lab.example\u202e",
        "status": "failed",
        "error": {"message": "no images", "hint": "send some"},
    },
}


def sent(settings: Settings, to: str = "anna@lab.example", **news: Any) -> Any:
    mail = compose(
        settings,
        id_="msg_1",
        webhook_id="whk_1",
        secret="whsec_x",
        url=f"mailto:{to}",
        body=json.dumps({**NEWS, **news}),
    )
    return smtp.send(settings, mail, to)


def test_a_name_becomes_no_header_and_the_mail_says_how_to_stop_it(
    tmp_path: Path, box: Mailbox
) -> None:
    controller = mail_server(box)
    try:
        assert sent(mailing(tmp_path, port_of(controller))) == (250, "", False)
    finally:
        controller.stop()
    (mail,) = box.mails
    assert mail["Bcc"] is None
    assert mail["Subject"].startswith("Job größe")
    assert "\u202e" not in mail["Subject"]
    assert (mail["From"], mail["To"]) == ("Trainer <saf@lab.example>", "anna@lab.example")
    assert mail["Message-ID"] == "<msg_1@lab.example>"
    stop = str(mail["List-Unsubscribe"])
    assert stop.startswith("<http://trainer.lab.example/mail/stop/whk_1.")
    assert f"List-Unsubscribe: {stop}\r\n".encode() in box.raw[0]
    assert mail["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert mail.get_content_type() == "text/plain"
    text = mail.get_content()
    assert "What to do: send some" in text
    assert "http://trainer.lab.example/jobs/job_1" in text
    assert "whsec_" not in text


@pytest.mark.filterwarnings("ignore:Requiring AUTH:UserWarning")
@pytest.mark.parametrize("way", ["starttls", "tls"])
def test_a_certificate_that_nobody_vouches_for_is_refused_unless_it_is_named(
    tmp_path: Path, box: Mailbox, certificate: tuple[ssl.SSLContext, Path], way: str
) -> None:
    context, pem = certificate
    password = tmp_path / "password"
    password.write_text("right horse\n")
    more: dict[str, Any] = {"authenticator": box.authenticate, "auth_required": True}
    if way == "starttls":
        more |= {"tls_context": context, "require_starttls": True}
    else:
        # It knows not that what it is in is TLS.
        more |= {"ssl_context": context, "auth_require_tls": False}
    controller = mail_server(box, **more)
    given = {
        "smtp_host": "localhost",
        "smtp_tls": way,
        "smtp_user": "saf",
        "smtp_password_file": password,
    }
    try:
        code, error, is_final = sent(mailing(tmp_path, port_of(controller), **given))
        assert (code, is_final) == (None, False)
        assert "SAF_SMTP_CA_FILE" in error
        assert box.signed_in == []
        trusting = mailing(tmp_path, port_of(controller), smtp_ca_file=pem, **given)
        assert sent(trusting) == (250, "", False)
        assert box.signed_in == [b"right horse"]
        password.write_text("wrong horse")
        code, error, is_final = sent(trusting)
        assert (code, is_final) == (535, False), "the operator repairs it, and it is sent again"
        assert "wrong" not in error
    finally:
        controller.stop()
    assert len(box.raw) == 1


@pytest.mark.parametrize("way", ["none", "starttls", "tls"])
@pytest.mark.parametrize("says", [b"220-Be patient\r\n", b"220 here\r\n"])
def test_a_server_that_answers_byte_by_byte_is_left_in_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, says: bytes, way: str
) -> None:
    """Each byte comes within the time limit of the socket; the last ones come never."""
    monkeypatch.setattr(smtp, "SECONDS", 0.8)
    ended = threading.Event()

    def drip(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection, suppress(OSError):
            for byte in itertools.chain(says, itertools.cycle(b"250-still here\r\n")):
                connection.send(bytes([byte]))
                if ended.wait(0.02):
                    return

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=drip, args=(listener,), daemon=True)
        thread.start()
        given = {"smtp_tls": way, "smtp_host": "127.0.0.1"}
        try:
            code, error, is_final = sent(mailing(tmp_path, listener.getsockname()[1], **given))
        finally:
            ended.set()
        thread.join()
    assert (code, is_final) == (None, False)
    if way != "tls":  # there the bytes are no TLS
        assert error == "the mail server did not answer in time"


def test_who_is_unknown_there_is_refused_for_good(tmp_path: Path, box: Mailbox) -> None:
    controller = mail_server(box)
    try:
        code, error, is_final = sent(mailing(tmp_path, port_of(controller)), "gone@lab.example")
    finally:
        controller.stop()
    assert (code, is_final) == (550, True)
    # Without the address, which others of a project are not told.
    assert error == "the mail server answered 550 5.1.1 <…> no such user here"


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"public_url": ""}, "SAF_PUBLIC_URL"),
        ({"public_url": "trainer"}, "SAF_PUBLIC_URL is no address"),
        ({"public_url": "http://lab.example/saf"}, "SAF_ROOT_PATH is empty"),
        ({"smtp_sender": "me"}, "SAF_SMTP_SENDER"),
        ({"smtp_sender": "a@b.c\r\nBcc: x@y.z"}, "SAF_SMTP_SENDER"),
        ({"smtp_user": "saf"}, "SAF_SMTP_PASSWORD_FILE"),
        ({"smtp_password_file": "/nowhere"}, "names no file"),
        (
            {"smtp_user": "saf", "smtp_password_file": __file__, "smtp_host": "mail.lab.example"},
            "SAF_SMTP_TLS=none would send the password",
        ),
    ],
)
def test_settings_that_cannot_be_end_the_start(
    tmp_path: Path, given: dict[str, Any], told: str
) -> None:
    with pytest.raises(ValueError, match=told):
        configured.check(mailing(tmp_path, 25, **given))
    configured.check(mailing(tmp_path, 25))
