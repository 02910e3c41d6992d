"""Where a webhook may lead: to public addresses alone, unless the operator says otherwise."""

from __future__ import annotations

import ipaddress
import socket
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from urllib.parse import urlsplit

LONGEST = 2000
Address = IPv4Address | IPv6Address
# All of IPv6 that is in use; the rest is local or reserved. In it, ways through gateways that may
# lead anywhere, and what is_global knows or not by the version of Python.
_UNICAST = IPv6Network("2000::/3")
_SPECIAL = (
    *(IPv4Network("192.0.0.0/24"), IPv4Network("192.88.99.0/24")),
    *(IPv6Network("2001::/23"), IPv6Network("2002::/16"), IPv6Network("3fff::/20")),
)
_NAT64 = IPv6Network("64:ff9b::/96")  # the last four bytes are an IPv4 address
_ISATAP = (0x0000_5EFE, 0x0200_5EFE)  # before an IPv4 address in the last four bytes
_NOBODYS = {4: "192.0.2.1", 6: "2001:db8::1"}  # in documents alone
_ALLOWED_BY = "the operator of the service allows those by SAF_WEBHOOKS_PRIVATE=1"


class RefusedAddressError(ValueError):
    """Nothing is sent there; the message says why."""


def resolve(url: str, *, private: bool) -> list[str]:
    """The addresses of the host of an address, all of which were looked at: a message goes to them
    alone, so that a name which leads elsewhere at the next look does not get it.

    Raises RefusedAddressError for what is no address, leads nowhere, or, without `private`, to this
    machine or network. It does not say what a name leads to, nor whether there is such a name:
    whoever asks may not know the names of this network.
    """
    host, port = _host(url)
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        found = []
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    if addresses and (private or not any(is_private(each) for each in addresses)):
        return addresses
    if private:
        raise RefusedAddressError(f"{host} leads nowhere")
    if _is_literal(host):
        raise RefusedAddressError(f"{host} is no public address; {_ALLOWED_BY}")
    raise RefusedAddressError(
        f"{host} leads nowhere, or to an address of this machine or network; {_ALLOWED_BY}"
    )


def is_private(text: str) -> bool:
    """Whether an address is not one of the public internet, or is this machine's own."""
    if "%" in text:  # of one link
        return True
    address = ipaddress.ip_address(text)
    return not all(map(_is_public, _forms(address))) or _is_own(address)


def _host(url: str) -> tuple[str, int | str]:
    """Host and port of an address. RefusedAddressError."""
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
    return host, port or parts.scheme


def _is_literal(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _is_public(address: Address) -> bool:
    if isinstance(address, IPv6Address) and address not in _UNICAST:
        return False
    is_special = address.is_multicast or any(address in network for network in _SPECIAL)
    return address.is_global and not is_special


def _forms(address: Address) -> list[Address]:
    """The address that it stands for, or itself, and the one in it that a router may take."""
    if isinstance(address, IPv4Address):
        return [address]
    last = IPv4Address(int(address) & 0xFFFF_FFFF)
    if address.ipv4_mapped is not None or address in _NAT64:
        return [last]
    return [address, last] if int(address) >> 32 & 0xFFFF_FFFF in _ISATAP else [address]


def _is_own(address: Address) -> bool:
    """Whether this machine has an address: a socket can be bound to it, and not to any."""
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    address = mapped or address
    return _can_bind(str(address)) and not _can_bind(_NOBODYS[address.version])


def _can_bind(address: str) -> bool:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((address, 0))
    except OSError:
        return False
    return True
