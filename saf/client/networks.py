"""The part of the Python client that is for networks of one's own."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx

from saf.client.connection.transport import Connection


class Networks:
    """What a `Client` does with networks of one's own, to start jobs from."""

    _connection: Connection

    def upload_network(
        self,
        path: Path | str,
        *,
        name: str = "",
        dataset: str = "",
        idempotency_key: str | None = None,
        **reading: Any,
    ) -> dict[str, Any]:
        """Upload a `lif.safetensors`, an NIR file, or weights of a ReLU network as safetensors;
        `{"init": {"network": found["id"]}}` in a specification starts with its weights.

        `reading` says what NIR and weights leave open (`reader="sinabs"`, `dt=0.001`,
        `network={"name": "layers", …}`, `shape=(1, 8, 8)`: `saf.config.incoming.Reading`),
        `dataset` with which data thresholds are balanced; `assumptions` of the answer says what was
        taken to be so. Raises OSError where the file cannot be read, and `ApiError`, which says
        what is wrong or missing, where it is none of these.
        """
        file = Path(path)
        given = {"name": name, "dataset": dataset, **reading}
        data = {key: _text(value) for key, value in given.items() if value not in (None, "")}
        with file.open("rb") as content:
            found: dict[str, Any] = self._connection.change(
                "/v1/networks",
                key=idempotency_key,
                files={"file": (file.name, content)},
                data=data,
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


def _text(value: Any) -> str:
    """A value as a field of a form: objects as JSON, lists with commas."""
    if isinstance(value, Mapping):
        return json.dumps(value)
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
