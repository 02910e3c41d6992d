"""Where a webhook may lead: to public addresses alone, unless the operator says otherwise."""

from __future__ import annotations

import ipaddress
import socket
from ipaddress import IPv4Address, IPv6Address, IPv6Network
from urllib.parse import urlsplit

LONGEST = 2000
Address = IPv4Address | IPv6Address
_NAT64 = IPv6Network("64:ff9b::/96")  # the last four bytes are an IPv4 address


class RefusedAddressError(ValueError):
    """Nothing is sent there; the message says why."""


def resolve(url: str, *, private: bool) -> list[str]:
    """The addresses of the host of an address, all of which were looked at: a message goes to them
    alone, so that a name which leads elsewhere at the next look does not get it.

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
    if not url.isascii() or any(letter <= " " or letter == "\x7f" for letter in url):
        raise RefusedAddressError(
            "holds a space or a letter that is not ASCII; write those with %, of a name with xn--"
        )
    if parts.username or parts.password:
        raise RefusedAddressError("holds a user or password; put a secret into the path instead")
    try:
        found = socket.getaddrinfo(host, port or parts.scheme, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise RefusedAddressError(f"{host} leads nowhere: {error}") from error
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    refused = [each for each in addresses if not private and not _is_public(each)]
    if refused:
        raise RefusedAddressError(
            f"{host} is {refused[0]}, an address of this machine or network; the operator of the "
            "service allows those by SAF_WEBHOOKS_PRIVATE=1"
        )
    return addresses


def _is_public(text: str) -> bool:
    address = ipaddress.ip_address(text.partition("%")[0])
    return all(each.is_global and not each.is_multicast for each in _forms(address))


def _forms(address: Address) -> list[Address]:
    """The address, or the one that it stands for, and any that it leads to through a gateway."""
    if isinstance(address, IPv4Address):
        return [address]
    if address.ipv4_mapped is not None:
        return [address.ipv4_mapped]
    inside = [address.sixtofour, address.teredo[1] if address.teredo else None]
    if address in _NAT64:
        inside.append(IPv4Address(int(address) & 0xFFFF_FFFF))
    return [address, *(each for each in inside if each is not None)]
