"""The part of the Python client that is for networks of one's own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

from saf.client.connection.transport import Connection


class Networks:
    """What a `Client` does with networks of one's own, to start jobs from."""

    _connection: Connection

    def upload_network(
        self, path: Path | str, *, name: str = "", idempotency_key: str | None = None
    ) -> dict[str, Any]:
        """Upload a `lif.safetensors`; `{"init": {"network": found["id"]}}` in a specification
        starts with its weights. Raises OSError where it cannot be read, and `ApiError`, which says
        what is wrong, where it is no such file."""
        file = Path(path)
        with file.open("rb") as content:
            found: dict[str, Any] = self._connection.change(
                "/v1/networks",
                key=idempotency_key,
                files={"file": (file.name, content)},
                data={"name": name} if name else {},
                timeout=httpx.Timeout(30.0, read=None, write=None),
            )
        return found

    def uploaded_networks(
        self, *, mine: bool = False, project: str = "", page: int = 100
    ) -> Iterator[dict[str, Any]]:
        """The uploaded networks, the newest first; asks for one page after the other as needed."""
        of = {"mine": "true" if mine else "", "project": project}
        params = {"limit": page, **{name: value for name, value in of.items() if value}}
        yield from self._connection.pages("/v1/networks/uploaded", params)

    def uploaded_network(self, network_id: str) -> dict[str, Any]:
        """One of them, with what a job that starts from it takes over."""
        found: dict[str, Any] = self._connection.json("GET", f"/v1/networks/{network_id}")
        return found

    def delete_network(self, network_id: str) -> None:
        """Remove it; jobs that start from it keep its file until they have ended."""
        self._connection.request("DELETE", f"/v1/networks/{network_id}")
