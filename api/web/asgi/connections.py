"""Connections of clients to the server, and what ends them: a client that does not keep up loses
its place.

uvicorn bounds the time between two requests of a connection. This adds the time that the head of a
request may take, the pace at which an answer is read, and how many connections there are at once:
`uvicorn --http api.web.asgi.connections:Connection`, or `saf web`, which does it and more. The time
of bodies is bounded in `api.web.asgi.middleware`.
"""

from __future__ import annotations

import asyncio
import logging
import resource
import socket
import time
from typing import TYPE_CHECKING, Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from api.settings import settings

if TYPE_CHECKING:
    from uvicorn.config import Config
    from uvicorn.server import ServerState

HEAD_SECONDS = 10.0  # from the first byte of a request to its body
SILENT_SECONDS = 30.0  # of a new connection: browsers open some before they need them
REST_SECONDS = 10.0  # in which a client stops to send a body that was answered before its end
READ_BYTES, READ_SECONDS = 2**15, 30.0  # of an answer, at the least, in so long
LOOK_SECONDS = 1.0
LOG_SECONDS = 60.0
# Of open files, for databases, stored files and connections that are about to be refused.
KEPT_FILES = 400
# What asyncio accepts in one go, before any of it can be refused.
ACCEPTED_AT_ONCE = 50
UNSENT_BYTES = 2**17  # of an answer that the kernel holds for a client that does not read
TIMED_OUT = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
FULL = (
    b"HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\nretry-after: 5\r\n"
    b"content-type: application/problem+json\r\ncontent-length: %d\r\n\r\n%b"
)
FULL_BODY = (
    b'{"type": "urn:saf:problem:unavailable", "title": "Unavailable", "status": 503, "detail": '
    b'"the server has as many connections as it may have; try again in a moment, or set '
    b'SAF_CONNECTIONS_AT_ONCE and the limit of open files on the server", "code": "unavailable", '
    b'"request_id": "", "errors": []}'
)
log = logging.getLogger(__name__)


def most_connections(wanted: int) -> int:
    """Limit of connections, by the setting and by the open files that the system allows."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files == resource.RLIM_INFINITY:
        return wanted
    return max(1, min(wanted, max(files - KEPT_FILES, files // 2)))


class Guard:
    """Watches over all connections of one server."""

    def __init__(self, loop: asyncio.AbstractEventLoop, connections: set[Any], most: int) -> None:
        self._loop = loop
        self._connections = connections
        self._most = most
        self._logged = -LOG_SECONDS
        self.idle: dict[Connection, None] = {}
        """Those without a request, the longest without one first."""
        self.receiving: dict[Connection, None] = {}
        """Those whose request has a body that is not whole yet, the oldest request first."""
        loop.set_exception_handler(self._on_exception)
        loop.call_later(LOOK_SECONDS, self._look)

    def admit(self, newcomer: Connection) -> None:
        """Make room for a new connection, or refuse it."""
        if len(self._connections) <= self._most:
            return
        self._say(f"there are {self._most} connections, the most there may be")
        for waiting in (self.idle, self.receiving):
            # Of those that are idle the newcomer is the last one.
            longest = next(iter(waiting), newcomer)
            if longest is not newcomer:
                longest.cut()
                return
        newcomer.refuse()

    def _look(self) -> None:
        now = self._loop.time()
        for connection in [*self._connections]:
            if isinstance(connection, Connection):
                connection.look(now)
        self._loop.call_later(LOOK_SECONDS, self._look)

    def _on_exception(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        # asyncio tells it for every connection that it cannot accept, and tries again in a second.
        if "out of system resource" in context["message"]:
            self._say("no more files can be opened, so that no connection is accepted")
        else:
            loop.default_exception_handler(context)

    def _say(self, what: str) -> None:
        if time.monotonic() - self._logged > LOG_SECONDS:
            self._logged = time.monotonic()
            log.warning(
                "%s; idle ones are closed (SAF_CONNECTIONS_AT_ONCE, limit of open files)", what
            )


class Connection(H11Protocol):
    """One connection, limited by the `Guard` of its server."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        guard: Guard | None = getattr(server_state, "guard", None)
        if guard is None:
            most = most_connections(settings().connections_at_once)
            guard = Guard(self.loop, server_state.connections, most)
            server_state.guard = guard  # type: ignore[attr-defined]
        self._guard = guard
        self._made = self.loop.time()
        self._asked: float | None = None  # when the head of a request began to come
        self._answered: float | None = None  # when the last response was complete
        self._unread: tuple[float, int] | None = None  # since when so many bytes are not read
        self._closing: float | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._guard.idle[self] = None
        bound(transport.get_extra_info("socket"))
        self._guard.admit(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._guard.idle.pop(self, None)
        self._guard.receiving.pop(self, None)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._asked is None and self._waits_for_request:
            self._asked = self.loop.time()
        super().data_received(data)
        if not self._waits_for_request:
            self._asked = self._answered = None
            self._guard.idle.pop(self, None)
            if self.conn.their_state is h11.SEND_BODY and not _is_upload(self.scope):
                self._guard.receiving.setdefault(self)
            else:
                self._guard.receiving.pop(self, None)

    def on_response_complete(self) -> None:
        self._answered = self.loop.time()
        super().on_response_complete()
        if self._waits_for_request:
            self._guard.receiving.pop(self, None)
            self._guard.idle[self] = None
            if self.conn.trailing_data[0]:  # the next request has begun
                self._asked = self._answered

    def pause_writing(self) -> None:
        self._unread = (self.loop.time(), self.transport.get_write_buffer_size())
        super().pause_writing()

    def resume_writing(self) -> None:
        self._unread = None
        super().resume_writing()

    def look(self, now: float) -> None:
        """End the connection if its client does not keep up."""
        if self.transport.is_closing():
            self._closing = self._closing or now
            if now - self._closing > READ_SECONDS:
                self.transport.abort()
        elif self._unread is not None:
            since, before = self._unread
            left = self.transport.get_write_buffer_size()
            if before - left >= READ_BYTES:
                self._unread = (now, left)
            elif now - since > READ_SECONDS:
                self.transport.abort()
        elif self._waits_for_request:
            if self._asked is not None and now - self._asked > HEAD_SECONDS:
                self.transport.write(TIMED_OUT)
                self.transport.close()
            elif self.cycle is None and self._asked is None and now - self._made > SILENT_SECONDS:
                self.transport.close()  # with an answer a browser would show it for its next page
            elif (
                self._answered is not None
                and self.conn.their_state is h11.SEND_BODY
                and now - self._answered > REST_SECONDS
            ):
                self.transport.abort()

    def cut(self) -> None:
        """Give the place to somebody else, at once."""
        self._guard.idle.pop(self, None)
        self._guard.receiving.pop(self, None)
        self.transport.abort()

    def refuse(self) -> None:
        """Say that there is no place."""
        self._guard.idle.pop(self, None)
        self.transport.write(FULL % (len(FULL_BODY), FULL_BODY))
        self.transport.close()

    @property
    def _waits_for_request(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _should_upgrade(self) -> bool:
        return False  # there are no web sockets here; the request is answered as it is


def _is_upload(scope: Any) -> bool:
    path = str(scope["path"])
    return path.endswith(("/v1/datasets", "/v1/networks", "/v1/uploads")) or "/v1/uploads/" in path


def bound(connection: socket.socket | None) -> None:
    """Bound what the kernel holds for a client that is gone or does not read, and let it wait for
    nothing else: without this every answer comes 40 ms late."""
    if connection is None or connection.family not in (socket.AF_INET, socket.AF_INET6):
        return
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for name, value in (("TCP_NOTSENT_LOWAT", UNSENT_BYTES), ("TCP_USER_TIMEOUT", 60_000)):
        option = getattr(socket, name, None)
        if option is not None:  # not every system has it
            connection.setsockopt(socket.IPPROTO_TCP, option, value)
