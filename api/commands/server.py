"""The server of the API: uvicorn, with connections that are bounded in number and in time."""

from __future__ import annotations

import argparse
import resource
import socket

import uvicorn

from api.host.listener import DEFAULT_PORT, WAITING, ListenError, listen
from api.local.serve import ServeError, check_accounts
from api.main import create_app
from api.settings import settings
from api.store.private import keep_private
from api.web.asgi.connections import ACCEPTED_AT_ONCE, KEPT_FILES, Connection

HEAD_BYTES = 2**15  # of a request: its line and its headers
OPEN_STREAMS_SECONDS = 3  # that responses under way may take when the server stops


class Server(uvicorn.Server):
    """Accepts few connections in one go, though many may wait."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for listener in sockets or ():
            listener.listen(WAITING)  # asyncio has said how many it accepts at once


def run(listener: socket.socket) -> None:
    """Serve the API on a socket until a signal ends it."""
    _open_files()
    config = uvicorn.Config(
        create_app(),
        http=Connection,
        ws="none",
        lifespan="on",
        backlog=ACCEPTED_AT_ONCE,
        h11_max_incomplete_event_size=HEAD_BYTES,
        timeout_keep_alive=settings().idle_seconds,
        timeout_graceful_shutdown=OPEN_STREAMS_SECONDS,
        # uvicorn would believe every client on loopback; `api.web.limits` decides.
        proxy_headers=False,
        access_log=False,
        log_config=None,  # that of `create_app` stays
        log_level="warning",
    )
    Server(config).run(sockets=[listener])


def main() -> None:
    """Serve the API on an address, or on a socket that is there already."""
    parser = argparse.ArgumentParser(prog="python -m api.commands.web", description=main.__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=DEFAULT_PORT)
    parser.add_argument("--fd", type=int, help="a listening socket of the parent process")
    asked = parser.parse_args()
    keep_private(settings())
    if asked.fd is not None:
        run(socket.socket(fileno=asked.fd))
        return
    try:
        check_accounts(asked.host, settings())
        run(listen(asked.host, asked.port))
    except (ListenError, ServeError) as error:
        raise SystemExit(str(error)) from error


def _open_files() -> None:
    """Raise the limit of open files to what the connections need, where the system allows it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = settings().connections_at_once + KEPT_FILES
    if soft != resource.RLIM_INFINITY and soft < needed:
        most = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
