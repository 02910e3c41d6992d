"""Requests to the provider: bounded in time and bytes, nothing followed, and no token in a log."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any

import httpx

from api.errors import UnavailableError

STEP_SECONDS = 5.0  # for the connection, and for each piece of an answer
WHOLE_SECONDS = 10.0
MOST_BYTES = 2**19
PLAIN = {"Accept": "application/json", "Accept-Encoding": "identity"}


class Fetcher:
    """A client of one provider."""

    def json(self, url: str, headers: Mapping[str, str] | None = None) -> dict[str, Any]:
        """The JSON object at an address. UnavailableError, with what came instead."""
        answer = self.send("GET", url, headers or {})
        if answer.status_code != 200:
            raise UnavailableError(f"the provider answers {answer.status_code} at {shown(url)}")
        try:
            found = json.loads(answer.content)
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            raise UnavailableError(f"the provider answers with no JSON object at {shown(url)}")
        return found

    def send(
        self, method: str, url: str, headers: Mapping[str, str], body: str | None = None
    ) -> httpx.Response:
        """The whole answer to a request. UnavailableError where there is none in time."""
        where = shown(url)
        deadline = time.monotonic() + WHOLE_SECONDS
        with httpx.Client(timeout=STEP_SECONDS) as client:
            try:
                given = client.build_request(
                    method, url, headers={**headers, **PLAIN}, content=body
                )
                answer = client.send(given, stream=True)
                try:
                    content = _read(answer, deadline, where)
                finally:
                    answer.close()
            except httpx.TimeoutException:
                raise UnavailableError(f"the provider does not answer in time at {where}") from None
            except (httpx.HTTPError, httpx.InvalidURL) as error:
                raise UnavailableError(
                    f"the provider cannot be reached at {where} ({type(error).__name__}: {error})"
                ) from None
        return httpx.Response(
            answer.status_code, headers=answer.headers, content=content, request=given
        )


def shown(url: str) -> str:
    """An address without what may stand behind it."""
    return url.partition("?")[0]


def _read(answer: httpx.Response, deadline: float, where: str) -> bytes:
    content = b""
    for piece in answer.iter_raw():
        content += piece
        if len(content) > MOST_BYTES:
            raise UnavailableError(
                f"the provider answers with more than {MOST_BYTES} bytes at {where}"
            )
        if time.monotonic() > deadline:
            raise UnavailableError(f"the provider does not answer in time at {where}")
    return content
