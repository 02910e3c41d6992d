"""One POST to addresses that were looked at, which ends at a moment whatever comes by then."""

from __future__ import annotations

import ssl
import time
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import certifi
import httpcore


def post(
    url: str,
    addresses: Sequence[str],
    *,
    content: bytes,
    headers: Mapping[str, str],
    seconds: float,
) -> int:
    """Send a request to the first of the addresses that takes a connection; the status of the
    answer, of which nothing else is read. TLS asks for the name in `url`. Raises httpcore's
    TimeoutException, NetworkError and ProtocolError."""
    backend = _Backend(addresses, time.monotonic() + seconds)
    with (
        httpcore.ConnectionPool(ssl_context=_context(), network_backend=backend) as pool,
        pool.stream("POST", url, headers=list(headers.items()), content=content) as answer,
    ):
        return answer.status


class _Backend(httpcore.NetworkBackend):
    """Connects to some addresses, whatever the name."""

    def __init__(self, addresses: Sequence[str], deadline: float) -> None:
        self._addresses = addresses
        self._deadline = deadline
        self._sockets = httpcore.SyncBackend()

    def connect_tcp(
        self, host: str, port: int, timeout: float | None = None, *args: Any, **options: Any
    ) -> httpcore.NetworkStream:
        failed: Exception = httpcore.ConnectError(f"{host} has no address")
        for number, address in enumerate(self._addresses):
            # One that does not answer leaves time for the others.
            share = _left(self._deadline) / (len(self._addresses) - number)
            try:
                stream = self._sockets.connect_tcp(address, port, share)
                return _Stream(stream, self._deadline)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failed = error
        raise failed


class _Stream(httpcore.NetworkStream):
    """A connection that ends at the moment, also where a byte comes now and then."""

    def __init__(self, stream: httpcore.NetworkStream, deadline: float) -> None:
        self._stream = stream
        self._deadline = deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, _left(self._deadline))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, _left(self._deadline))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        stream = self._stream.start_tls(ssl_context, server_hostname, _left(self._deadline))
        return _Stream(stream, self._deadline)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


def _left(deadline: float) -> float:
    seconds = deadline - time.monotonic()
    if seconds <= 0:
        raise httpcore.ReadTimeout("no answer in time")
    return seconds


@cache
def _context() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())
    return context
