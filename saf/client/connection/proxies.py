"""Which proxy leads to a server, as `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY` say it.

`NO_PROXY` is understood in all forms in use: `*`, names with their subdomains with and without a
leading dot or `*.`, ports, addresses, networks in CIDR notation; between commas or spaces.
"""

from __future__ import annotations

import ipaddress
import re
import urllib.request
from collections.abc import Mapping

import httpx

DEFAULT_PORTS = {"http": 80, "https": 443}
KINDS = ("http", "https", "socks5", "socks5h")


def proxy_of(address: httpx.URL, environment: Mapping[str, str] | None = None) -> str | None:
    """The proxy for an address; None for this machine and for what is excepted.

    `environment` has the proxies by scheme and the exceptions under `no`, by default those of this
    process and its system. Raises ValueError, in words, for a proxy that cannot be used.
    """
    found = urllib.request.getproxies() if environment is None else environment
    proxy = (found.get(address.scheme) or found.get("all") or "").strip()
    port = address.port or DEFAULT_PORTS[address.scheme]
    if not proxy or is_here(address.host) or is_excepted(address.host, port, found.get("no", "")):
        return None
    if "://" not in proxy:
        proxy = f"http://{proxy}"
    proxy = re.sub(r"^socks://", "socks5://", proxy, flags=re.IGNORECASE)
    try:
        parsed = httpx.URL(proxy)
    except httpx.InvalidURL:
        parsed = httpx.URL("")
    if parsed.scheme not in KINDS or not parsed.host:
        kind = f"of the kind {parsed.scheme}://" if parsed.scheme else "no address"
        raise ValueError(
            f"the proxy that {address.scheme.upper()}_PROXY or ALL_PROXY names is {kind}; give "
            f"http://, https:// or socks5://HOST:PORT, or except {address.host} by NO_PROXY"
        )
    return proxy


def is_here(host: str) -> bool:
    """Whether a name or address is this machine itself."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    found = _address(host)
    return found is not None and found.is_loopback


def is_excepted(host: str, port: int, exceptions: str) -> bool:
    """Whether one of the exceptions of `NO_PROXY` is about this host and port."""
    host = host.lower().rstrip(".").strip("[]")
    return any(
        _is_about(entry, host, port) for entry in re.split(r"[,\s]+", exceptions.lower()) if entry
    )


def _is_about(entry: str, host: str, port: int) -> bool:
    if entry == "*":
        return True
    entry = re.sub(r"^\w+://", "", entry).rstrip("/")
    name, of_port = _split(entry)
    if of_port is not None and of_port != port:
        return False
    found = _address(host)
    if found is not None:
        try:
            return found in ipaddress.ip_network(name, strict=False)
        except ValueError:
            return False
    name = name.removeprefix("*").strip(".")
    return bool(name) and (host == name or host.endswith(f".{name}"))


def _split(entry: str) -> tuple[str, int | None]:
    """A name or address, and the port behind it."""
    if entry.startswith("["):  # [::1]:8000
        name, _, rest = entry[1:].partition("]")
        return name + (rest if rest.startswith("/") else ""), _port(rest.lstrip(":"))
    name, colon, port = entry.rpartition(":")
    if colon and ":" not in name and port.isdecimal():
        return name, _port(port)
    return entry, None  # ::1 has no port


def _port(text: str) -> int | None:
    return int(text) if text.isdecimal() else None


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return None
