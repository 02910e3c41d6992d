"""The part of the Python client that is for saved searches: `client.searches`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast
from urllib.parse import parse_qs

from saf.client.connection.transport import Connection
from saf.client.types import ClientError

Entry = dict[str, Any]
"""A saved search, as the server sent it."""


class Searches:
    """Filters and order of the list of jobs under a name, over the connection of a `Client`; raises
    what that raises. `client.jobs(saved=name)` lists what one finds."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, name: str, query: str, *, idempotency_key: str | None = None) -> Entry:
        """Save a search: `query` is as in an address, such as `status=failed&tag=paper`. In a
        project (`Client(project=…)`) its members see it, too."""
        body = {"name": name, "query": query}
        found = self._connection.change("/v1/searches", key=idempotency_key, json=body)
        return cast(Entry, found)

    def list(self) -> list[Entry]:
        """All that one sees, by name."""
        return cast(list[Entry], self._connection.json("GET", "/v1/searches")["data"])

    def find(self, name_or_id: str) -> Entry:
        """The one of that name or id; ClientError where there is none, or where several people
        have given the name."""
        found = [one for one in self.list() if name_or_id in (one["name"], one["id"])]
        if len(found) == 1:
            return found[0]
        if not found:
            raise ClientError(f"there is no search {name_or_id}; `saf searches list` names all")
        ids = ", ".join(one["id"] for one in found)
        raise ClientError(f"{len(found)} searches are called {name_or_id}; say its id: {ids}")

    def parameters(self, name_or_id: str) -> dict[str, Sequence[str]]:
        """What it asks of the list of jobs."""
        return {**parse_qs(self.find(name_or_id)["query"])}

    def remove(self, search_id: str) -> None:
        """Delete one; the jobs that it finds stay."""
        self._connection.request("DELETE", f"/v1/searches/{search_id}")
