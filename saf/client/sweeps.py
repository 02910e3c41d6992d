"""The part of the Python client that is for sweeps: `client.sweeps`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from math import inf
from typing import Any, Literal, cast

from saf.client.connection.transport import Connection
from saf.client.documents import Sweep
from saf.client.types import SweepValidation, WaitTimeoutError

POLL_SECONDS = 1.0

Over = Mapping[str, Sequence[Any]]
"""Values by JSON pointers into the specification: `{"/seed": [0, 1, 2]}`."""
Mode = Literal["grid", "zip"]


class Sweeps:
    """Many jobs from one request, over the connection of a `Client`; raises what that raises."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def submit(
        self,
        over: Over,
        specification: Mapping[str, Any] | None = None,
        *,
        name: str = "",
        mode: Mode = "grid",
        idempotency_key: str | None = None,
    ) -> Sweep:
        """Submit a job for each combination of values, or none of them."""
        body = _body(over, specification, name, mode)
        return Sweep(self._connection.change("/v1/sweeps", key=idempotency_key, json=body))

    def validate(
        self,
        over: Over,
        specification: Mapping[str, Any] | None = None,
        *,
        name: str = "",
        mode: Mode = "grid",
    ) -> SweepValidation:
        """What a sweep would be; nothing is submitted."""
        body = _body(over, specification, name, mode)
        params = {"validate_only": "true"}
        found = self._connection.json("POST", "/v1/sweeps", json=body, params=params, safe=True)
        return cast(SweepValidation, found)

    def get(self, sweep_id: str) -> Sweep:
        """A sweep and its table."""
        return Sweep(self._connection.json("GET", f"/v1/sweeps/{sweep_id}"))

    def csv(self, sweep_id: str) -> str:
        """The table as CSV, a line for each job."""
        params = {"format": "csv"}
        return self._connection.request("GET", f"/v1/sweeps/{sweep_id}", params=params).text

    def list(
        self,
        *,
        mine: bool = False,
        project: str = "",
        tags: Sequence[str] = (),
        favourite: bool | None = None,
        page: int = 100,
    ) -> Iterator[Sweep]:
        """All sweeps, newest first, without their tables; those of whoever asks, of the project of
        that name, with all of these tags, or favourites (False: others) alone."""
        of = {
            "mine": "true" if mine else "",
            "project": project,
            "tag": [*tags],
            "favourite": "" if favourite is None else str(favourite).lower(),
        }
        params = {"limit": page, **{name: value for name, value in of.items() if value}}
        yield from map(Sweep, self._connection.pages("/v1/sweeps", params))

    def wait(
        self,
        sweep_id: str,
        *,
        timeout: float | None = None,
        progress: Callable[[Sweep], None] = lambda _: None,
    ) -> Sweep:
        """Wait until all of its jobs have ended and return it.

        `progress` is called with each answer, one a second. Raises `WaitTimeoutError` after
        `timeout` seconds.
        """
        deadline = inf if timeout is None else time.monotonic() + timeout
        while True:
            found = self.get(sweep_id)
            progress(found)
            if found["ended"] == found["jobs_total"]:
                return found
            if time.monotonic() > deadline:
                raise WaitTimeoutError(
                    f"sweep {sweep_id} has not ended after {timeout:.0f} s; it goes on"
                )
            time.sleep(POLL_SECONDS)

    def edit(self, sweep_id: str, **changes: Any) -> Sweep:
        """Change `name`, `notes` (Markdown), `tags` (all that it has from then on) and `favourite`
        of a sweep; its jobs stay as they are."""
        path = f"/v1/sweeps/{sweep_id}"
        return Sweep(self._connection.json("PATCH", path, json=changes, safe=True))

    def cancel(self, sweep_id: str) -> Sweep:
        """Cancel its jobs that have not ended."""
        return Sweep(self._connection.change(f"/v1/sweeps/{sweep_id}/cancel"))

    def delete(self, sweep_id: str) -> None:
        """Delete a sweep whose jobs have ended, and them with their files."""
        self._connection.request("DELETE", f"/v1/sweeps/{sweep_id}")


def _body(
    over: Over, specification: Mapping[str, Any] | None, name: str, mode: Mode
) -> dict[str, Any]:
    values = {place: list(of_one) for place, of_one in over.items()}
    return {"name": name, "job": dict(specification or {}), "over": values, "mode": mode}
