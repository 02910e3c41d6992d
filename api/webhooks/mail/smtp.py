"""One mail to one address by the mail server of the settings."""

from __future__ import annotations

import re
import smtplib
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from email.message import EmailMessage
from email.utils import parseaddr
from typing import Any

import certifi

from api.settings import Settings
from api.webhooks.mail.addresses import NOT_OFFERED
from saf.printable import one_line

SECONDS = 30.0  # that all of it may take: less than others leave a message to who has taken it


def send(settings: Settings, mail: EmailMessage, recipient: str) -> tuple[int | None, str, bool]:
    """The last code of the server, what went wrong, empty where it took the mail, and whether it
    refused the recipient or the mail for good: then it is not asked again. What went wrong has the
    address of the recipient nowhere: others of a project see it, and the log.

    What it says of the service, that it is not signed in, may not send by this name, or does not
    speak TLS, is for the operator to repair, and is tried again.
    """
    if not settings.smtp_host:
        return None, NOT_OFFERED, False
    code, error, is_final = _sent(settings, mail, recipient)
    return code, re.sub(re.escape(recipient), "…", error, flags=re.IGNORECASE), is_final


def _sent(settings: Settings, mail: EmailMessage, recipient: str) -> tuple[int | None, str, bool]:
    try:
        with _session(settings) as server:
            server.send_message(mail, parseaddr(settings.smtp_sender)[1], [recipient])
    except smtplib.SMTPRecipientsRefused as refused:
        code, said = next(iter(refused.recipients.values()))
        return code, _said(code, said), code >= 500
    except smtplib.SMTPResponseException as refused:
        is_final = isinstance(refused, smtplib.SMTPDataError) and refused.smtp_code >= 500
        return refused.smtp_code, _said(refused.smtp_code, refused.smtp_error), is_final
    except TimeoutError:
        return None, "the mail server did not answer in time", False
    except ssl.SSLCertVerificationError as error:
        return (
            None,
            (
                f"the certificate of the mail server is not trusted: {error.verify_message}; the "
                "operator names its authority by SAF_SMTP_CA_FILE"
            ),
            False,
        )
    except (smtplib.SMTPException, OSError, ValueError) as error:
        return None, one_line(f"{type(error).__name__}: {error}"), False
    return 250, "", False


class _Timed(smtplib.SMTP):
    """A conversation that ends `SECONDS / 2` after it began, its greeting among it, also where a
    byte comes now and then: the time limit of a socket is that of each byte."""

    is_over = False

    def connect(
        self, host: str = "localhost", port: int = 0, source_address: Any = None
    ) -> tuple[int, bytes]:
        """Called when it is made. Raises TimeoutError, and what the mail server does."""
        self._ended = threading.Event()
        threading.Thread(target=self._cut, name="smtp", daemon=True).start()
        try:
            with self.in_time():
                return super().connect(host, port, source_address)
        except BaseException:
            self.close()
            raise

    @contextmanager
    def in_time(self) -> Iterator[None]:
        """What the mail server said in the block counts only if the time was not over: an answer
        that was cut off reads as another. Raises TimeoutError."""
        try:
            yield
        except (smtplib.SMTPException, OSError) as error:
            if self.is_over:
                raise TimeoutError from error
            raise
        if self.is_over:
            raise TimeoutError

    def close(self) -> None:
        """And let nothing wait for the end of its time."""
        self._ended.set()
        super().close()

    def _cut(self) -> None:
        self._ended.wait(SECONDS / 2)
        while not self._ended.is_set():  # also a socket that there is only later
            self.is_over = True
            if self.sock is not None:
                with suppress(OSError):
                    self.sock.shutdown(socket.SHUT_RDWR)
            self._ended.wait(0.1)


class _TimedTLS(_Timed, smtplib.SMTP_SSL):
    """The same, in TLS from the first byte."""


@contextmanager
def _session(settings: Settings) -> Iterator[smtplib.SMTP]:
    """A connection that has signed in. Raises TimeoutError where its time is over."""
    host, port, patience = settings.smtp_host, settings.smtp_port, SECONDS / 2
    if settings.smtp_tls == "tls":
        server: _Timed = _TimedTLS(host, port, timeout=patience, context=_context(settings))
    else:
        server = _Timed(host, port, timeout=patience)
    try:
        with server.in_time():
            if settings.smtp_tls == "starttls":
                server.starttls(context=_context(settings))
            if settings.smtp_user:
                server.login(settings.smtp_user, _password(settings))
            yield server
        with suppress(smtplib.SMTPException, OSError):  # it has the mail
            server.quit()
    finally:
        server.close()


def _context(settings: Settings) -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.load_verify_locations(settings.smtp_ca_file or certifi.where())
    return context


def _password(settings: Settings) -> str:
    """Read each time: it may be changed without a start."""
    file = settings.smtp_password_file
    return file.read_text(encoding="utf-8").rstrip("\r\n") if file is not None else ""


def _said(code: int, text: bytes | str) -> str:
    said = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
    return one_line(f"the mail server answered {code} {' '.join(said.split())}")[:500]
