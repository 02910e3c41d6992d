"""The part of the Python client that carries a job's network to other tools."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

from saf.client.connection import download as downloads
from saf.client.connection.transport import Connection
from saf.client.types import Artifact, ClientError, WaitTimeoutError

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 2.0
ENDED = ("succeeded", "failed")


class Export(dict[str, Any]):
    """A job's network written for another tool, and its certificate: the dictionary that the server
    sent, and what can be done with it."""

    def __init__(self, document: Mapping[str, Any], connection: Connection) -> None:
        super().__init__(document)
        self._connection = connection

    def __repr__(self) -> str:
        said = ""
        if self["certificate"] is not None:
            said = f": {self['certificate']['statement']}"
        elif self["error"] is not None:
            said = f": {self['error']['message']}"
        return f"Export({self['target']}, {self['verdict'] or self['status']}{said})"

    def __reduce__(self) -> tuple[Any, ...]:
        return dict, (dict(self),)  # a connection is not copied

    @property
    def has_ended(self) -> bool:
        """Whether it succeeded or failed, as far as this object knows."""
        return self["status"] in ENDED

    def refresh(self) -> Self:
        """Ask the server for its state."""
        found = self._connection.json("GET", self._path)
        self.clear()
        self.update(found)
        return self

    @property
    def said(self) -> str:
        """What it does or waits for, in words."""
        if self.get("waits_for"):
            return f"waits: {self['waits_for']}"
        words = {"queued": "waits for a worker", "running": "a worker writes and replays it"}
        return words.get(self["status"], str(self["status"]))

    def wait(
        self, *, timeout: float | None = None, on_change: Callable[[str], None] | None = None
    ) -> Self:
        """Wait until it has ended, whatever the end is; `on_change` is told in words what it does
        (`said`), each time that this is something else. Raises `WaitTimeoutError` after `timeout`
        seconds."""
        told = ""
        begun, pause = time.monotonic(), FIRST_PAUSE
        while not self.has_ended:
            if on_change is not None and self.said != told:
                told = self.said
                on_change(told)
            left = None if timeout is None else begun + timeout - time.monotonic()
            if left is not None and left <= 0:
                why = f" and waits: {self['waits_for']}" if self.get("waits_for") else ""
                raise WaitTimeoutError(
                    f"the export {self['id']} is {self['status']}{why}, after {timeout:g} s"
                )
            time.sleep(pause if left is None else min(pause, left))
            pause = min(2 * pause, LONGEST_PAUSE)
            self.refresh()
        return self

    def download(self, directory: Path | str) -> list[Path]:
        """Download its files into `directory`: the one that is loaded first, what else it needs,
        and the certificate last.

        Raises `ClientError` where there are none, `ChecksumError`, OSError.
        """
        if not self["artifacts"]:
            error = self["error"]
            why = f": {error['message']}; {error['hint']}" if error else ""
            raise ClientError(
                f"the export to {self['target']} is {self['status']} and has no files{why}"
            )
        by_name: dict[str, Artifact] = {
            each["name"].rpartition("/")[2]: each for each in self["artifacts"]
        }
        first = [each["name"] for each in self["certificate"]["files"] if each["name"] in by_name]
        names = [*first, *(name for name in by_name if name not in first)]
        return [
            downloads.download(
                self._connection.http,
                {
                    **by_name[name],
                    "name": name,
                    "url": self._connection.address(by_name[name]["url"]),
                },
                Path(directory),
            )
            for name in names
        ]

    def delete(self) -> None:
        """Delete it with its files; one that is queued or running ends."""
        self._connection.request("DELETE", self._path)

    @property
    def _path(self) -> str:
        return f"/v1/jobs/{self['job_id']}/exports/{self['id']}"


class Exports:
    """What a `Client` asks of exports."""

    _connection: Connection

    def export(
        self,
        job_id: str,
        target: str,
        *,
        samples: int = 1000,
        idempotency_key: str | None = None,
        **options: Any,
    ) -> Export:
        """Let a worker write the network of a job that has succeeded for `target`, and replay it
        there on so many samples; `wait` for it. `options` are settings of the target.

        `targets()` says which there are. Raises `ApiError`, with the layer and what to change,
        where the target cannot express the network.
        """
        body = {"target": target, "samples": samples, "options": options}
        path = f"/v1/jobs/{job_id}/exports"
        found = self._connection.change(path, key=idempotency_key, json=body)
        return Export(found, self._connection)

    def exports(self, job_id: str) -> list[Export]:
        """The exports of a job, the newest first."""
        found = self._connection.json("GET", f"/v1/jobs/{job_id}/exports")["data"]
        return [Export(each, self._connection) for each in found]

    def get_export(self, job_id: str, export: str) -> Export:
        """One export of a job, by its id; or the newest one to the target of that name."""
        found = self._connection.json("GET", f"/v1/jobs/{job_id}/exports/{export}")
        return Export(found, self._connection)
