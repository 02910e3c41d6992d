"""A connection to one server: requests, repeated where that is safe, and errors in words."""

from __future__ import annotations

import math
import os
import re
import ssl
import time
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

import httpx

from saf.client.connection import proxies
from saf.client.types import ApiError, ClientError, UnreachableError
from saf.config.json_pointer import pointer
from saf.redaction import Redaction

FIRST_PAUSE, LONGEST_PAUSE = 0.2, 5.0
BUSY = frozenset({429, 502, 503, 504})
_TOKEN = re.compile(r"[\x21-\x7e]+")
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~\-]+")
_HEADER_VALUE = re.compile(r"[\x20-\x7e\xa0-\xff]*")


class Connection:
    """Sends requests; those that may be repeated are, with growing pauses."""

    def __init__(
        self,
        url: str,
        *,
        timeout: float,
        retries: int,
        transport: httpx.BaseTransport | None,
        token: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """`token` is sent as `Authorization: Bearer`, `headers` with every request.

        Proxies and certificates are those of the environment. Raises `ClientError` where one of
        these, or `url`, cannot be used.
        """
        address = _address(url)
        # Without user and password: it is printed.
        self.url = f"{address.scheme}://{address.netloc.decode()}{address.path}".rstrip("/")
        self._retries = retries
        self._redaction = Redaction([token, address.password])
        if token:
            address = address.copy_with(username="", password="")
        try:
            proxy = None if transport else proxies.proxy_of(address)
            self.http = httpx.Client(
                base_url=address,
                timeout=timeout,
                transport=transport,
                headers=_headers(token, headers or {}),
                trust_env=False,  # read here: what it says is also for this machine
                proxy=proxy,
                verify=_certificates() if address.scheme == "https" else True,
            )
        except ImportError as error:
            raise ClientError(
                f"the proxy that leads to {self.url} is a SOCKS proxy, for which socksio is "
                f"missing: pip install socksio, or except {address.host} by NO_PROXY"
            ) from error
        except ValueError as error:
            raise ClientError(str(error)) from error

    def address(self, path: str) -> str:
        """Where something of the server is, by a path of its documents. One that begins with the
        path under which the service is reached is whole."""
        host = re.match(r"https?://[^/]+", self.url)
        assert host is not None
        prefix = self.url[host.end() :]
        if prefix and (path + "/").startswith(prefix + "/"):
            path = path[len(prefix) :]
        return self.url + path

    def request(
        self, method: str, path: str, *, safe: bool = False, **options: Any
    ) -> httpx.Response:
        """One answer below 300. `safe`: it may be repeated though its method does not say so.

        A request that deletes, and is repeated because its answer was lost, has deleted what is no
        longer there.
        """
        if "json" in options:
            _check_json(options["json"])
        lost = False
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
                if last:  # else it is repeated, whatever it is: nothing was sent
                    raise self.unreachable(error) from error
            except httpx.TransportError as error:
                if last or not repeatable:
                    raise self.unreachable(error) from error
                lost = True
            else:
                if lost and method == "DELETE" and response.status_code == 404:
                    return response
                if last or not repeatable or response.status_code not in BUSY:
                    return accepted(response)
                given = response.headers.get("retry-after", "")
                pause = min(float(given), LONGEST_PAUSE) if given.isdecimal() else pause
            time.sleep(pause)
        raise AssertionError("the last attempt returns or raises")

    def json(self, method: str, path: str, **options: Any) -> Any:
        """The JSON of an answer."""
        response = self.request(method, path, **options)
        try:
            return response.json()
        except ValueError as error:
            kind = response.headers.get("content-type", "something without a type")
            raise ClientError(
                f"what answers at {self.url} is not this service: it sent {kind} where JSON is due"
            ) from error

    def change(self, path: str, *, key: str | None = None, **options: Any) -> Any:
        """The JSON of the answer to a POST that makes or changes something. It is sent with a key,
        so that it can be repeated where the answer was lost, and is answered as the first time."""
        headers = {"idempotency-key": key or uuid.uuid4().hex}
        return self.json("POST", path, headers=headers, **options)

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
        reason = self._redaction.text(str(error) or type(error).__name__)
        if "CERTIFICATE_VERIFY_FAILED" in reason:
            reason += "; SSL_CERT_FILE names the file of a certificate authority of one's own"
        return UnreachableError(f"no server answers at {self.url} ({reason})")


def accepted(response: httpx.Response) -> httpx.Response:
    """The response, or `ApiError` with the fields of its problem document."""
    if response.status_code < 300:
        return response
    if response.status_code < 400:
        target = response.headers.get("location", "nowhere")
        raise ClientError(
            f"{response.url.copy_with(username='', password='')} is not where the service is: it "
            f"leads to {Redaction().text(target)}; give the address there"
        )
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


def _address(url: str) -> httpx.URL:
    try:
        address = httpx.URL(url.strip())
    except httpx.InvalidURL as error:
        shown = Redaction().text(repr(url))
        raise ClientError(f"{shown} is no address: {Redaction().text(str(error))}") from None
    if address.scheme not in ("http", "https") or not address.host:
        shown = Redaction().text(repr(url))
        raise ClientError(f"{shown} is no address; one looks like http://127.0.0.1:8000")
    return address


def _headers(token: str, headers: Mapping[str, str]) -> dict[str, str]:
    """Those of every request. Raises ValueError, without a value, as it may be a secret."""
    for name, value in headers.items():
        if not _HEADER_NAME.fullmatch(name) or not _HEADER_VALUE.fullmatch(value):
            raise ValueError(f"the header {name!a} cannot be sent: its name or value is none")
    if token and not _TOKEN.fullmatch(token):
        raise ValueError("the token (SAF_TOKEN) holds a space or a character that no token has")
    return dict(headers) | ({"authorization": f"Bearer {token}"} if token else {})


def _certificates() -> ssl.SSLContext:
    """The certificate authorities to believe: of `SSL_CERT_FILE` and `SSL_CERT_DIR`, else those
    that come with httpx. Raises ValueError."""
    file, folder = os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR")
    if not (file or folder):
        return httpx.create_ssl_context(trust_env=False)
    try:
        return ssl.create_default_context(cafile=file or None, capath=folder or None)
    except OSError as error:  # also ssl.SSLError
        named = f"SSL_CERT_FILE ({file})" if file else f"SSL_CERT_DIR ({folder})"
        reason = error.strerror or str(error)
        raise ValueError(f"the certificates of {named} cannot be read: {reason}") from error


def _check_json(value: Any, path: tuple[str | int, ...] = ()) -> None:
    """Raise `ClientError` that names the first value, by its pointer, which JSON does not have."""
    place = pointer(path) or "the body"
    match value:
        case None | bool() | int() | str():
            return
        case float():
            if not math.isfinite(value):
                raise ClientError(f"{place} is {value}, which JSON does not have; give a number")
        case Mapping():
            for key, entry in value.items():
                if not isinstance(key, str):
                    raise ClientError(f"{place} has the key {key!r}; keys of JSON are texts")
                _check_json(entry, (*path, key))
        case list() | tuple():
            for index, entry in enumerate(value):
                _check_json(entry, (*path, index))
        case _:
            kind = type(value).__name__
            raise ClientError(
                f"{place} is of type {kind}, which JSON does not have; give a text, a number, "
                "true, false, null, a list or an object"
            )
