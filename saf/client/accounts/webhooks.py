"""The part of the Python client that is for webhooks: `client.webhooks`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from saf.client.connection.transport import Connection

Entry = dict[str, Any]
"""A webhook or a message, as the server sent it."""


class Webhooks:
    """Addresses that are told when a job or a sweep ends, over the connection of a `Client`; raises
    what that raises."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(
        self,
        url: str,
        events: Sequence[str],
        *,
        sweep_jobs: bool | None = None,
        idempotency_key: str | None = None,
    ) -> Entry:
        """Make a webhook; `secret`, with which its messages are signed, is not shown again, but
        for ten minutes to the same request with the same key. A mail box (`mailto:…`) is told of
        the jobs of a sweep one by one with `sweep_jobs` alone."""
        body: dict[str, Any] = {"url": url, "events": list(events)}
        if sweep_jobs is not None:
            body["sweep_jobs"] = sweep_jobs
        found = self._connection.change("/v1/webhooks", key=idempotency_key, json=body)
        return cast(Entry, found)

    def list(self) -> list[Entry]:
        """All that one sees."""
        return cast(list[Entry], self._connection.json("GET", "/v1/webhooks")["data"])

    def get(self, webhook_id: str) -> Entry:
        """One of them."""
        return cast(Entry, self._connection.json("GET", f"/v1/webhooks/{webhook_id}"))

    def change(self, webhook_id: str, **changes: Any) -> Entry:
        """Change `url`, `events`, `sweep_jobs` or `enabled`; one that was disabled is told again
        with `enabled=True`."""
        path = f"/v1/webhooks/{webhook_id}"
        return cast(Entry, self._connection.json("PATCH", path, json=changes, safe=True))

    def test(self, webhook_id: str) -> Entry:
        """Send a message that says no more than that it arrives."""
        return cast(Entry, self._connection.change(f"/v1/webhooks/{webhook_id}/test"))

    def deliveries(self, webhook_id: str) -> Sequence[Entry]:
        """What was sent to it, the newest first, and what became of it."""
        found = self._connection.json("GET", f"/v1/webhooks/{webhook_id}/deliveries")
        return cast(Sequence[Entry], found["data"])

    def remove(self, webhook_id: str) -> None:
        """Remove it, and what of its messages has not arrived."""
        self._connection.request("DELETE", f"/v1/webhooks/{webhook_id}")
