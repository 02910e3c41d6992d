"""The server that commands talk to, as the options before a command and the settings name it."""

from __future__ import annotations

from collections.abc import Sequence
from contextvars import ContextVar

import typer

from saf.client.client import Client
from saf.client.settings import settings

address: ContextVar[str] = ContextVar("address", default="")
"""What `--url` gave; empty: that of the settings."""
headers: ContextVar[dict[str, str]] = ContextVar("headers", default={})  # noqa: B039
"""What `--header` gave, beside those of the settings."""


def server_address() -> str:
    """The address of the server, from `--url` or the settings."""
    return address.get() or settings().url


def server_client() -> Client:
    """A connection to the server."""
    return Client(server_address(), retries=2, headers=settings().headers | headers.get())


def read_headers(given: Sequence[str]) -> dict[str, str]:
    """`NAME:VALUE`s as headers. Raises typer.BadParameter, without the value."""
    found = {}
    for each in given:
        name, colon, value = each.partition(":")
        if not colon or not name.strip():
            raise typer.BadParameter("write NAME:VALUE", param_hint="--header")
        found[name.strip()] = value.strip()
    return found
