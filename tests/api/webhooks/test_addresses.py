"""Where messages may go: not into the service's own network, however its addresses are written, and
not to where a name leads at a second look."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from api.webhooks import addresses
from api.webhooks.addresses import RefusedAddressError, is_private, resolve
from tests.api.conftest import Server
from tests.api.webhooks.test_sending import Listener, allowing, deliveries, hurried, listener, make
from tests.waiting import until

__all__ = ["allowing", "hurried", "listener"]
PRIVATE = (
    *("0.0.0.0", "0.1.2.3", "10.1.2.3", "100.64.0.1", "127.0.0.1", "169.254.169.254"),
    *("172.16.0.1", "192.168.1.1", "198.18.0.1", "224.0.0.1", "239.1.1.1", "240.0.0.1"),
    *("255.255.255.255", "192.0.0.1", "192.0.0.8", "192.0.0.192", "192.88.99.1"),
    *("192.0.2.1", "198.51.100.1", "203.0.113.5"),  # of documentation
)
NOT_PUBLIC = (
    *PRIVATE,
    *(f"::ffff:{each}" for each in PRIVATE),
    *(f"64:ff9b::{each}" for each in PRIVATE),  # NAT64
    *("64:ff9b:1::1", "64:ff9b:1::8.8.8.8"),  # NAT64 of a network
    *("::", "::1", "::10.1.2.3", "::8.8.8.8", "::ffff:0:10.0.0.1"),
    *("fe80::1", "fe80::1%eth0", "2606:4700::1%eth0", "fec0::1", "fc00::1", "fd00::1"),
    *("ff02::1", "ff0e::1", "100::1", "5f00::1", "4000::1", "2001:db8::1", "3fff::1"),
    *("2002:7f00:1::", "2002:a01:203::", "2002:808:808::"),  # 6to4
    *("2001:0:a01:203::1", "2001:0:4136:e378:8000:63bf:f5fe:fdfc"),  # Teredo
    *("2001:2::1", "2001:10::1", "2001:20::1"),
    *("2606:4700::5efe:10.0.0.1", "2606:4700::200:5efe:10.0.0.1"),  # ISATAP
)
PUBLIC = (
    *("8.8.8.8", "93.184.216.34", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8"),
    *("2606:4700:4700::1111", "2a00:1450:4001::1"),
)


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_what_is_not_of_the_public_internet_is_refused(address: str) -> None:
    assert is_private(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_are_not(address: str) -> None:
    assert not is_private(address)


def test_an_address_that_this_machine_has_is_refused_even_where_it_is_public(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(addresses, "_is_public", lambda _: True)
    for own in ("127.0.0.1", "127.0.0.3", "::ffff:127.0.0.1"):
        assert is_private(own)
    assert not is_private("93.184.216.34")


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("http://127.0.0.1/", "is no public address"),
        ("http://[::1]/", "is no public address"),
        ("http://[64:ff9b::10.1.2.3]/", "is no public address"),
        ("http://localhost:8000/v1/jobs", "address of this machine or network"),
        ("http://2130706433/", "address of this machine or network"),
        ("http://127.1/", "address of this machine or network"),
        ("http://nowhere.invalid/", "leads nowhere, or to an address of this machine"),
        ("http://example.org/a b", "not ASCII"),
        ("http://exämple.org/", "not ASCII"),
        ("ftp://example.org/", "is no address"),
        ("file:///etc/passwd", "is no address"),
        ("example.org", "is no address"),
        ("http://user:secret@93.184.216.34/", "user or password"),
    ],
)
def test_what_is_refused_says_why(url: str, told: str) -> None:
    with pytest.raises(RefusedAddressError, match=told):
        resolve(url, private=False)


class Names:
    """A name server that says something else each time."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *answers: str) -> None:
        self.asked = 0
        self._answers = answers
        self._real = socket.getaddrinfo
        monkeypatch.setattr(socket, "getaddrinfo", self._answer)

    def _answer(self, host: Any, port: Any, *rest: Any, **more: Any) -> Any:
        if host != "vault.lab.example":
            return self._real(host, port, *rest, **more)
        self.asked += 1
        answer = self._answers[min(self.asked, len(self._answers)) - 1]
        family = socket.AF_INET6 if ":" in answer else socket.AF_INET
        return [(family, socket.SOCK_STREAM, 6, "", (answer, port))]


def test_what_a_name_of_the_network_leads_to_is_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    said = set()
    for hidden in ("10.9.8.7", "fd00::9", "64:ff9b::10.9.8.7"):
        Names(monkeypatch, hidden)
        with pytest.raises(RefusedAddressError) as refused:
            resolve("http://vault.lab.example/", private=False)
        said.add(str(refused.value))
    monkeypatch.undo()
    with pytest.raises(RefusedAddressError) as refused:
        resolve("http://vault.lab.example/", private=False)
    # Nor whether there is such a name.
    assert said == {str(refused.value)}


def test_a_message_goes_to_the_address_that_was_looked_at(
    allowing: Server, listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = Names(monkeypatch, "127.0.0.1", "127.0.0.1", "127.0.0.2")
    url = listener.url.replace("localhost", "vault.lab.example")
    webhook = make(allowing, url, "job.failed")
    assert names.asked == 1
    allowing.http.post(f"/v1/webhooks/{webhook['id']}/test")
    until(lambda: listener.came)
    # A second look at the same try would have led to where nobody listens.
    assert names.asked == 2
    assert listener.came[0][0]["host"].startswith("vault.lab.example")
    until(lambda: deliveries(allowing, webhook)[0]["delivered_at"])
    allowing.http.post(f"/v1/webhooks/{webhook['id']}/test")
    until(lambda: deliveries(allowing, webhook)[0]["error"].startswith("ConnectError"))


def test_an_address_that_becomes_private_gets_no_message(monkeypatch: pytest.MonkeyPatch) -> None:
    Names(monkeypatch, "93.184.216.34", "169.254.169.254")
    assert resolve("https://vault.lab.example/", private=False) == ["93.184.216.34"]
    with pytest.raises(RefusedAddressError):
        resolve("https://vault.lab.example/", private=False)


def test_all_addresses_of_a_name_must_be_public(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, 443))
        for each in ("93.184.216.34", "10.0.0.1")
    ]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    with pytest.raises(RefusedAddressError):
        resolve("https://vault.lab.example/", private=False)
    assert "10.0.0.1" in resolve("https://vault.lab.example/", private=True)
