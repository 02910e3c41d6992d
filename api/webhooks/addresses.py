"""Where a webhook may lead: to public addresses alone, unless the operator says otherwise."""

from __future__ import annotations

import ipaddress
import socket
from urllib.parse import urlsplit

LONGEST = 2000


class RefusedAddressError(ValueError):
    """Nothing is sent there; the message says why."""


def resolve(url: str, *, private: bool) -> tuple[str, str]:
    """The name of the host of an address, and an address of it to connect to: the one that was
    looked at, so that a name which leads elsewhere at the next look does not get the message.

    Raises RefusedAddressError for what is no address, leads nowhere, or, without `private`, to this
    machine or network.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise RefusedAddressError(f"is no address: {error}") from error
    if parts.scheme not in ("http", "https") or not host or len(url) > LONGEST:
        raise RefusedAddressError("is no address; one looks like https://example.org/hook")
    if parts.username or parts.password:
        raise RefusedAddressError("holds a user or password; put a secret into the path instead")
    try:
        found = socket.getaddrinfo(host, port or parts.scheme, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise RefusedAddressError(f"{host} leads nowhere: {error}") from error
    addresses = [str(entry[4][0]) for entry in found]
    refused = [each for each in addresses if not private and not _is_public(each)]
    if refused:
        raise RefusedAddressError(
            f"{host} is {refused[0]}, an address of this machine or network; the operator of the "
            "service allows those by SAF_WEBHOOKS_PRIVATE=1"
        )
    return host, addresses[0]


def _is_public(address: str) -> bool:
    parsed = ipaddress.ip_address(address.partition("%")[0])
    mapped = getattr(parsed, "ipv4_mapped", None)
    return (mapped or parsed).is_global and not parsed.is_multicast
