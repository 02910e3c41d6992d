"""The socket that a server listens on."""

from __future__ import annotations

import socket

DEFAULT_PORT = 8000
PORTS_TRIED = 100
WAITING = 1024  # connections that the kernel keeps until they are accepted


class ListenError(Exception):
    """There is no listening there; the message says what to change."""


def listen(host: str, port: int | None) -> socket.socket:
    """A socket that listens; port 0 takes any free one, None the first free one from 8000 on.

    It is kept while the web process is started again, so that no port is lost and no request is
    refused. Raises `ListenError`.
    """
    tried = [*range(DEFAULT_PORT, DEFAULT_PORT + PORTS_TRIED), 0] if port is None else [port]
    try:
        family, kind, *_, address = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        raise ListenError(f"{host} is no address of this machine: {error.strerror}") from error
    for number in tried:
        listener = socket.socket(family, kind)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((address[0], number, *address[2:]))
            listener.listen(WAITING)
            return listener
        except OSError as error:
            reason = error.strerror
            listener.close()
    hint = "; choose another with --port, or leave it out to get a free one" if port else ""
    raise ListenError(f"port {port} of {host} cannot be had: {reason}{hint}")
