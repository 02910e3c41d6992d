"""The service under a path of a server: `SAF_ROOT_PATH=/saf` behind a proxy.

Addresses that leave the service begin with the prefix: links of pages, addresses in documents,
redirects. Requests come in with it or, from a proxy that takes it away, without; everything inside
sees them without. Redirects name no scheme and no host, so that those of the proxy stay.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from contextvars import ContextVar

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

root: ContextVar[str] = ContextVar("root", default="")
"""The prefix of the application that answers; empty where there is none."""
LEAVES = "leaves"
"""What an endpoint says in the state of a request that it answers with a redirect to another
service, which may be on the same server."""
_ORIGIN = re.compile(r"https?://([^/?#]*)")


def at(path: str) -> str:
    """The address of something of this service, by its path inside."""
    return root.get() + path


class Prefix:
    """Takes the prefix from requests and puts it before the addresses of redirects."""

    def __init__(self, app: ASGIApp, *, prefix: str, trusted_proxies: Collection[str]) -> None:
        """`prefix` is empty or begins with a slash and does not end with one."""
        self._app = app
        self._prefix = prefix
        self._trusted = frozenset(trusted_proxies)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        root.set(self._prefix)
        scope = {**scope, "app_root_path": self._prefix, "scheme": self._scheme(scope)}
        path: str = scope["path"]
        if self._prefix and (path + "/").startswith(self._prefix + "/"):
            scope["path"] = path[len(self._prefix) :] or "/"
            raw = scope.get("raw_path")
            if raw is not None:
                scope["raw_path"] = raw[len(self._prefix) :] or b"/"
        host = Headers(scope=scope).get("host", "")
        state = scope.setdefault("state", {})

        async def send_in_place(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                location = headers.get("location")
                if location is not None and not state.get(LEAVES):
                    headers["location"] = self._in_place(location, host)
            await send(message)

        await self._app(scope, receive, send_in_place)

    def _scheme(self, scope: Scope) -> str:
        """That of the client, as a trusted proxy tells it."""
        client = scope.get("client")
        if client and client[0] in self._trusted:
            told = Headers(scope=scope).get("x-forwarded-proto", "").strip().lower()
            if told in ("http", "https"):
                return told
        return str(scope["scheme"])

    def _in_place(self, location: str, host: str) -> str:
        """An address of this service as a path of the server; another stays as it is."""
        origin = _ORIGIN.match(location)
        if origin is not None:
            if origin[1] != host:
                return location
            location = location[origin.end() :] or "/"
        if not location.startswith("/") or location.startswith("//"):
            return location
        if self._prefix and (location + "/").startswith(self._prefix + "/"):
            return location
        return self._prefix + location
