"""The servers of docs/operating/proxy.md before a service, with TLS, by the very files that the
chapter shows: names, ports and paths alone are of the test."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from tests.certificates import self_signed
from tests.reverse_proxy import NGINX, free_port
from tests.waiting import PATIENCE, until

FILES = Path(__file__).parents[1] / "docs" / "operating"
PREFIX = "/saf"
CADDY = shutil.which("caddy")
PROGRAMS = {"nginx": NGINX, "caddy": CADDY}
AROUND = """
daemon off; master_process off; pid {directory}/nginx.pid; error_log {directory}/error.log;
events {{ worker_connections 64; }}
http {{
  access_log off;
  client_body_temp_path {directory}/body; proxy_temp_path {directory}/proxy;
  fastcgi_temp_path {directory}/f; uwsgi_temp_path {directory}/u; scgi_temp_path {directory}/s;
  {server}
}}
"""


@contextmanager
def fronted(program: str, directory: Path, upstream: str) -> Iterator[str]:
    """The address of the service behind that program, https and a path."""
    found = PROGRAMS[program]
    assert found is not None
    port, plain = free_port(), free_port()
    certificate, key = self_signed(directory)
    replaced = {
        "/etc/ssl/saf/fullchain.pem": str(certificate),
        "/etc/ssl/saf/privkey.pem": str(key),
        "127.0.0.1:8000": urlsplit(upstream).netloc,
        "listen 443": f"listen 127.0.0.1:{port}",
        "listen 80;": f"listen 127.0.0.1:{plain};",
        "https://trainer.example.org": f"https://localhost:{port}",
        "trainer.example.org": "localhost",
    }
    name = {"nginx": "nginx.conf", "caddy": "Caddyfile"}[program]
    text = (FILES / name).read_text()
    for old, new in replaced.items():
        text = text.replace(old, new)
    file = directory / name
    if program == "nginx":
        file.write_text(AROUND.format(directory=directory, server=text))
        command = [found, "-p", str(directory), "-c", str(file)]
    else:
        off = "{\n\tadmin off\n\tauto_https disable_redirects\n\tskip_install_trust\n}\n"
        file.write_text(off + text)
        command = [found, "run", "--config", str(file), "--adapter", "caddyfile"]
    home = {"HOME": str(directory), "XDG_DATA_HOME": str(directory)}
    said = directory / f"{program}.out"
    with said.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, env=os.environ | home)
    address = f"https://localhost:{port}{PREFIX}"
    try:
        until(lambda: process.poll() is not None or _answers(address), said=said.read_text)
        assert process.poll() is None, said.read_text()
        yield address
    finally:
        process.terminate()
        process.wait(PATIENCE)


def _answers(address: str) -> bool:
    try:
        return httpx.get(f"{address}/healthz", verify=False, timeout=PATIENCE).status_code == 200
    except httpx.TransportError:
        return False
