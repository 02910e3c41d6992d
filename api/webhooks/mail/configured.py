"""Whether the settings of mail can be: at the start, before the first mail."""

from __future__ import annotations

import ipaddress
from email.utils import parseaddr
from urllib.parse import urlsplit

from api.settings import Settings
from api.webhooks.mail.addresses import is_box


def check(settings: Settings) -> None:
    """ValueError, with what to change. Nothing is asked of the mail server."""
    if settings.public_url:
        _check_url(settings)
    if not settings.smtp_host:
        return
    if not settings.public_url:
        raise ValueError("SAF_SMTP_HOST needs SAF_PUBLIC_URL, for the links in mails")
    sender = parseaddr(settings.smtp_sender)[1]
    if not is_box(sender) or not settings.smtp_sender.isprintable():
        raise ValueError(
            "SAF_SMTP_SENDER is no address; one looks like saf@example.org, or "
            "Trainer <saf@example.org>"
        )
    for setting, file in (
        ("SAF_SMTP_PASSWORD_FILE", settings.smtp_password_file),
        ("SAF_SMTP_CA_FILE", settings.smtp_ca_file),
    ):
        if file is not None and not file.is_file():
            raise ValueError(f"{setting} names no file: {file}")
    if settings.smtp_user and settings.smtp_password_file is None:
        raise ValueError("SAF_SMTP_USER needs SAF_SMTP_PASSWORD_FILE, a file with the password")
    if settings.smtp_user and settings.smtp_tls == "none" and not _is_loopback(settings.smtp_host):
        raise ValueError(
            "SAF_SMTP_TLS=none would send the password of SAF_SMTP_USER readable through the "
            "network; let it be starttls or tls"
        )


def _check_url(settings: Settings) -> None:
    parts = urlsplit(settings.public_url)
    is_plain = not (parts.query or parts.fragment or parts.username or parts.password)
    if parts.scheme not in ("http", "https") or not parts.hostname or not is_plain:
        raise ValueError("SAF_PUBLIC_URL is no address; one looks like https://example.org/saf")
    if parts.path != settings.root_path:
        raise ValueError(
            f"SAF_PUBLIC_URL ends with {parts.path or 'no path'}, and SAF_ROOT_PATH is "
            f"{settings.root_path or 'empty'}: people would not find the pages"
        )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
