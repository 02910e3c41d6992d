"""A connection to one server: requests, repeated where that is safe, and errors in words."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

import httpx

from api.answers import ApiError, ClientError, UnreachableError

FIRST_PAUSE, LONGEST_PAUSE = 0.2, 5.0
BUSY = frozenset({429, 502, 503, 504})
LOOPBACK = ("localhost", "127.0.0.1", "::1")


class Connection:
    """Sends requests; those that may be repeated are, with growing pauses."""

    def __init__(
        self, url: str, *, timeout: float, retries: int, transport: httpx.BaseTransport | None
    ) -> None:
        """Raises `ClientError` where `url` is no address."""
        try:
            address = httpx.URL(url)
        except httpx.InvalidURL as error:
            raise ClientError(f"{url!r} is no address: {error}") from error
        if address.scheme not in ("http", "https") or not address.host:
            raise ClientError(f"{url!r} is no address; one looks like http://127.0.0.1:8000")
        self.url = url.rstrip("/")
        self._retries = retries
        self.http = httpx.Client(
            base_url=address,
            timeout=timeout,
            transport=transport,
            # A proxy of the environment does not lead to this machine.
            trust_env=address.host not in LOOPBACK,
        )

    def request(
        self, method: str, path: str, *, safe: bool = False, **options: Any
    ) -> httpx.Response:
        """One answer below 400. `safe`: it may be repeated though its method does not say so."""
        repeatable = (
            safe
            or method in ("GET", "HEAD", "DELETE")
            or "idempotency-key" in options.get("headers", {})
        )
        for attempt in range(self._retries + 1):
            last = attempt == self._retries
            pause = min(FIRST_PAUSE * 2**attempt, LONGEST_PAUSE)
            try:
                response = self.http.request(method, path, **options)
            except httpx.InvalidURL as error:
                raise ClientError(f"there is nothing by that name: {error}") from None
            except httpx.ConnectError as error:
                # Nothing was sent; but a stream of content cannot be sent a second time.
                if last or "files" in options:
                    raise self.unreachable(error) from error
            except httpx.TransportError as error:
                if last or not repeatable:
                    raise self.unreachable(error) from error
            else:
                if last or not repeatable or response.status_code not in BUSY:
                    return accepted(response)
                given = response.headers.get("retry-after", "")
                pause = min(float(given), LONGEST_PAUSE) if given.isdecimal() else pause
            time.sleep(pause)
        raise AssertionError("the last attempt returns or raises")

    def json(self, method: str, path: str, **options: Any) -> Any:
        """The JSON of an answer."""
        return self.request(method, path, **options).json()

    def pages(self, path: str, params: Mapping[str, Any]) -> Iterator[Any]:
        """Every entry of a list, page after page."""
        after: dict[str, str] = {}
        while True:
            page = self.json("GET", path, params={**params, **after})
            yield from page["data"]
            if not page.get("has_more"):
                return
            after = {"after": page["last_id"]}

    def unreachable(self, error: Exception) -> UnreachableError:
        """The error to raise for one of the network."""
        reason = str(error) or type(error).__name__
        return UnreachableError(f"no server answers at {self.url} ({reason})")


def accepted(response: httpx.Response) -> httpx.Response:
    """The response, or `ApiError` with the fields of its problem document."""
    if response.status_code < 400:
        return response
    try:
        problem = response.json()
    except ValueError:
        problem = None
    if not isinstance(problem, dict):
        problem = {"detail": response.text[:500]}
    raise ApiError(
        response.status_code,
        code=str(problem.get("code", "")),
        title=str(problem.get("title", response.reason_phrase)),
        detail=str(problem.get("detail", "")),
        request_id=str(problem.get("request_id", response.headers.get("x-request-id", ""))),
        errors=problem.get("errors", []),
    )
