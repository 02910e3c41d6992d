"""A network that can be cut: a TCP port in front of a server's Unix socket or port."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from pathlib import Path

BLOCK = 65_536
RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class Proxy:
    """Passes bytes on, unless it is told to stall, to delay or to cut.

    One proxy stands between one client process and one server, so that a single machine can lose
    its network while the others keep theirs.
    """

    def __init__(self, target: Path | int) -> None:
        """`target` is a Unix socket, or a port on loopback."""
        self._target = target
        self._passing = threading.Event()
        self._passing.set()
        self._refusing = False
        self._delay = 0.0
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def stall(self) -> None:
        """Take bytes and pass none on, as a cable that was pulled does."""
        self._passing.clear()

    def cut(self) -> None:
        """Reset every connection, and each new one."""
        self._refusing = True
        self._reset_all()

    def delay(self, seconds: float) -> None:
        """Hold every piece back for so long."""
        self._delay = seconds

    def heal(self) -> None:
        """Pass everything on again."""
        self._delay = 0.0
        self._refusing = False
        self._passing.set()

    def close(self) -> None:
        """End everything."""
        self._listener.close()
        self._passing.set()
        self._reset_all()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._connect, args=(client,), daemon=True).start()

    def _connect(self, client: socket.socket) -> None:
        is_port = isinstance(self._target, int)
        server = socket.socket(socket.AF_INET if is_port else socket.AF_UNIX)
        try:
            self._passing.wait()  # a cable that is pulled answers nothing, not even a refusal
            if self._refusing:
                raise ConnectionRefusedError
            server.connect(("127.0.0.1", self._target) if is_port else str(self._target))
        except OSError:
            server.close()
            _reset(client)
            return
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with self._lock:
            self._open |= {client, server}
        pumps = [
            threading.Thread(target=self._pump, args=pair, daemon=True)
            for pair in ((client, server), (server, client))
        ]
        for pump in pumps:
            pump.start()
        for pump in pumps:
            pump.join()
        with self._lock:
            self._open -= {client, server}
        client.close()
        server.close()

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        try:
            while received := source.recv(BLOCK):
                if self._delay:
                    time.sleep(self._delay)
                self._passing.wait()
                target.sendall(received)
        except OSError:
            _reset(source)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_RDWR)
        with contextlib.suppress(OSError):
            source.shutdown(socket.SHUT_RDWR)

    def _reset_all(self) -> None:
        with self._lock:
            for connection in self._open:
                with contextlib.suppress(OSError):
                    if connection.family == socket.AF_INET:
                        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
                    connection.shutdown(socket.SHUT_RDWR)


def _reset(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        connection.close()
