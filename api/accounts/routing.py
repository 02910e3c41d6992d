"""Which route the application takes for a request, found before it does."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI, Request
from fastapi.routing import iter_route_contexts
from starlette.routing import BaseRoute, Mount

from api.errors import NotFoundError

READING = frozenset({"GET", "HEAD"})


@dataclass(frozen=True, kw_only=True)
class Found:
    """The route of a request: the template of its address, and what stands in its parameters."""

    template: str
    method: str
    parameters: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class _Route:
    template: str
    pattern: Any
    methods: frozenset[str]  # empty: those of files


def operations(app: FastAPI) -> Iterator[tuple[str, str]]:
    """Method and template of every route, of included routers and mounted files, too."""
    for route in _routes(app.routes):
        for method in sorted(route.methods or {"GET"}):
            yield method, route.template


class Routes:
    """The routes of an application, in the order in which it asks them."""

    def __init__(self, app: FastAPI) -> None:
        self._routes = list(_routes(app.routes))

    def find(self, method: str, path: str) -> Found | None:
        """The first that takes the request; None where the answer is 404, 405 or a redirect."""
        for route in self._routes:
            match = route.pattern.match(path)
            if match is not None and method in (route.methods or READING):
                return Found(template=route.template, method=method, parameters=match.groupdict())
        return None


async def check_decided(request: Request) -> None:
    """Refuse to run an endpoint about which `api.accounts.guard` has decided nothing."""
    decided = request.scope.get("state", {}).get("decided")
    if decided not in (EVERYTHING, getattr(request.scope.get("route"), "path", None)):
        raise NotFoundError("there is nothing at this address")


EVERYTHING = "*"
"""What is decided where there are no accounts."""


def _routes(routes: Sequence[BaseRoute]) -> Iterator[_Route]:
    for route in iter_route_contexts(routes):
        if route.path_format is None:
            raise TypeError(f"{route.original_route!r} is a route of a kind that is not known here")
        is_mount = isinstance(route.original_route, Mount)
        yield _Route(
            template=route.path_format,
            pattern=route.path_regex,
            methods=frozenset() if is_mount else frozenset(route.methods or ()),
        )
