"""A reverse proxy in front of a service, which shows it under a path of its server: nginx."""

from __future__ import annotations

import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.waiting import PATIENCE, until

NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
SETTINGS = """
daemon off; master_process off; pid {directory}/nginx.pid; error_log {directory}/error.log;
events {{ worker_connections 64; }}
http {{
  access_log {directory}/access.log;
  client_body_temp_path {directory}/body; proxy_temp_path {directory}/proxy;
  fastcgi_temp_path {directory}/f; uwsgi_temp_path {directory}/u; scgi_temp_path {directory}/s;
  client_max_body_size 100m;
  server {{
    listen 127.0.0.1:{port};
    location {prefix}/ {{
      proxy_pass {upstream};
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header Host $http_host;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_set_header X-Forwarded-Proto {scheme};
      proxy_buffering off;
    }}
  }}
}}
"""


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def listens(port: int) -> bool:
    """Whether somebody takes connections at a port of this machine."""
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def proxied(
    directory: Path, upstream: str, prefix: str, *, strips: bool, scheme: str = "http"
) -> Iterator[str]:
    """The address of the service through the proxy, which takes the prefix away or does not."""
    assert NGINX is not None
    port = free_port()
    settings = directory / "nginx.conf"
    settings.write_text(
        SETTINGS.format(
            directory=directory,
            port=port,
            prefix=prefix,
            upstream=f"{upstream}/" if strips else upstream,
            scheme=scheme,
        )
    )
    with (directory / "nginx.out").open("wb") as out:
        process = subprocess.Popen(
            [NGINX, "-p", str(directory), "-c", str(settings)], stdout=out, stderr=out
        )
    try:
        until(lambda: process.poll() is not None or listens(port))
        assert process.poll() is None, (directory / "nginx.out").read_text()
        yield f"http://127.0.0.1:{port}{prefix}"
    finally:
        process.terminate()
        process.wait(PATIENCE)
