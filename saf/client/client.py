"""The Python client: everything that the service does, over HTTP.

    from saf.client import Client

    client = Client("http://127.0.0.1:8000")
    job = client.submit({"dataset": "digits", "method": {"name": "saf-f"}})
    job.wait()
    files = job.download("results")

What it returns are dictionaries, as the server sent them (`saf.client.types`); jobs, metrics and
some others also have methods (`saf.client.job`, `saf.client.documents`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from types import TracebackType
from typing import Any, Self, cast

import httpx

from saf.client.accounts import credentials
from saf.client.accounts.people import Accounts
from saf.client.accounts.webhooks import Webhooks
from saf.client.connection.stream import PATIENCE_SECONDS, Message, Position, as_messages, follow
from saf.client.connection.transport import Connection
from saf.client.datasets import Datasets
from saf.client.exports import Exports
from saf.client.job import Job
from saf.client.networks import Networks
from saf.client.results import Results
from saf.client.searches import Searches
from saf.client.settings import settings
from saf.client.sweeps import Sweeps
from saf.client.types import (
    ApiError,
    ChecksumError,
    ClientError,
    JobProgress,
    UnreachableError,
    Validation,
    WaitTimeoutError,
    Worker,
)

__all__ = [
    "ApiError",
    "ChecksumError",
    "Client",
    "ClientError",
    "Message",
    "UnreachableError",
    "WaitTimeoutError",
]

Specification = Mapping[str, Any]
"""The body of a job, as `saf.config.JobSpecification` describes it; defaults may be left out."""


class Client(Results, Datasets, Networks, Exports):
    """A connection to one server; a context manager. Not to be shared between threads.

    Every call raises `ApiError` when the server refuses and `UnreachableError` when none answers.
    Requests are repeated, `retries` times with growing pauses, where no answer came: those that
    make or change something under an idempotency key, so that they do it once.
    """

    def __init__(
        self,
        url: str = "http://127.0.0.1:8000",
        *,
        timeout: float = 30.0,
        retries: int = 4,
        token: str | None = None,
        project: str | None = None,
        headers: Mapping[str, str] | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        """`timeout` in seconds is for one answer; `transport` replaces the network.

        `token` is sent as `Authorization: Bearer`, `headers` with every request, `project` names
        the project that what is made belongs to; by default those of the settings, `SAF_TOKEN`,
        `SAF_HEADERS` and `SAF_PROJECT`, and without a token the one that `saf login` has kept for
        this server. Proxies (`HTTPS_PROXY`, `ALL_PROXY`,
        `NO_PROXY`) and certificate authorities (`SSL_CERT_FILE`) are those of the environment.
        Raises `ClientError` where one of these cannot be used.
        """
        self._connection = Connection(
            url,
            timeout=timeout,
            retries=retries,
            transport=transport,
            token=(settings().token or credentials.find(url)) if token is None else token,
            headers={
                **(settings().headers if headers is None else headers),
                **_of_project(settings().project if project is None else project),
            },
        )
        self.url = self._connection.url
        """Where the server is, without a user and a password."""
        self.sweeps = Sweeps(self._connection)
        self.accounts = Accounts(self._connection)
        self.webhooks = Webhooks(self._connection)
        self.searches = Searches(self._connection)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Client({self.url!r})"

    def close(self) -> None:
        """Close the connections."""
        self._connection.http.close()

    def submit(self, specification: Specification, *, idempotency_key: str | None = None) -> Job:
        """Submit a job. The same key with the same specification returns the same job."""
        body = dict(specification)
        return self._job(self._connection.change("/v1/jobs", key=idempotency_key, json=body))

    def validate(self, specification: Specification) -> Validation:
        """What a specification would need; nothing is submitted."""
        params = {"validate_only": "true"}
        found = self._connection.json(
            "POST", "/v1/jobs", json=dict(specification), params=params, safe=True
        )
        return cast(Validation, found)

    def get(self, job_id: str) -> Job:
        """One job."""
        return self._job(self._connection.json("GET", f"/v1/jobs/{job_id}"))

    def jobs(
        self,
        *,
        status: Sequence[str] = (),
        health: Sequence[str] = (),
        method: str = "",
        dataset: str = "",
        network: str = "",
        sweep: str = "",
        q: str = "",
        tags: Sequence[str] = (),
        favourite: bool | None = None,
        metadata: Mapping[str, str] | None = None,
        mine: bool = False,
        project: str = "",
        sort: str = "",
        saved: str = "",
        page: int = 100,
    ) -> Iterator[Job]:
        """All jobs that match, newest first; asks for one page after the other as needed.

        `sort` is another order, such as `name` or `-lif_accuracy`; `q` are words of names or ids;
        `mine` are those of whoever asks, `project` is the name of one; `tags` are all to be there;
        `saved` is the name or id of a saved search, to whose filters the others are added.
        """
        params: dict[str, Any] = {
            "limit": page,
            "status": list(status),
            "health": list(health),
            "method": method,
            "dataset": dataset,
            "network": network,
            "sweep": sweep,
            "q": q,
            "tag": list(tags),
            "favourite": "" if favourite is None else str(favourite).lower(),
            "mine": "true" if mine else "",
            "project": project,
            "sort": sort,
            **{f"metadata[{key}]": value for key, value in (metadata or {}).items()},
        }
        params = {name: value for name, value in params.items() if value}
        if saved:
            params = self.searches.parameters(saved) | params
        yield from map(self._job, self._connection.pages("/v1/jobs", params))

    def edit(self, job_id: str, **changes: Any) -> Job:
        """Change `name`, `notes` (Markdown), `tags` (all that it has from then on) and `favourite`
        of a job; the training and its specification stay as they are."""
        path = f"/v1/jobs/{job_id}"
        return self._job(self._connection.json("PATCH", path, json=changes, safe=True))

    def cancel(self, job_id: str) -> Job:
        """Cancel it; a running job is `cancelling` until its process is gone."""
        return self._ask(job_id, "cancel")

    def pause(self, job_id: str) -> Job:
        """Let it write a checkpoint and free its device."""
        return self._ask(job_id, "pause")

    def resume(self, job_id: str) -> Job:
        """Put a paused job back into the queue."""
        return self._ask(job_id, "resume")

    def retry(
        self, job_id: str, *, from_start: bool = False, idempotency_key: str | None = None
    ) -> Job:
        """Submit the specification of a failed or cancelled job again; returns the new job. The
        same key returns the same one.

        It goes on from the last checkpoint, `from_start` from the beginning.
        """
        path = f"/v1/jobs/{job_id}/retry"
        params = {"from_start": "true"} if from_start else {}
        return self._job(self._connection.change(path, key=idempotency_key, params=params))

    def continue_job(
        self, job_id: str, *, epochs: int, idempotency_key: str | None = None, **changes: Any
    ) -> Job:
        """Train a job that has succeeded for so many more epochs; returns the new job, which goes
        on where the other ended. The same key returns the same one.

        `changes` may be `learning_rate`, `schedule`, `patience` and `name`.
        """
        path = f"/v1/jobs/{job_id}/continue"
        body = {"epochs": epochs, **changes}
        return self._job(self._connection.change(path, key=idempotency_key, json=body))

    def delete(self, job_id: str) -> None:
        """Delete a job that has ended, and its files."""
        self._connection.request("DELETE", f"/v1/jobs/{job_id}")

    def watch(
        self, job_id: str, *, after: int = 0, patience: float = PATIENCE_SECONDS
    ) -> Iterator[Message]:
        """The job as it happens, up to and with the message `done`.

        A broken stream is opened again after the last event that came; where none can be had, the
        server is asked at intervals. Raises `UnreachableError` after `patience` seconds without
        an answer.
        """
        return self._follow(job_id, Position(after=after), patience)

    def wait(
        self,
        job_id: str,
        *,
        timeout: float | None = None,
        progress: Callable[[JobProgress], None] = lambda _: None,
    ) -> Job:
        """Wait for the end of a job and return it, whatever the end is.

        `progress` is called with each change. Raises `WaitTimeoutError` when the job has not ended
        after `timeout` seconds (noticed up to 15 s later where nothing happens).
        """
        position = Position(deadline=None if timeout is None else time.monotonic() + timeout)
        with closing(self._follow(job_id, position, PATIENCE_SECONDS)) as followed:
            for message in followed:
                if message.kind == "done":
                    if message.data.get("deleted"):
                        raise ClientError(f"job {job_id} was deleted")
                    return self._job(message.data)
                if message.kind == "progress":
                    progress(cast(JobProgress, message.data))
        raise WaitTimeoutError(f"job {job_id} has not ended after {timeout:.0f} s; it goes on")

    def changes(
        self, *, snapshot: bool = True, patience: float = PATIENCE_SECONDS
    ) -> Iterator[Message]:
        """What happens to the newest jobs, without an end: `job` with the changing part of each,
        `deleted` with its id. With `snapshot` it begins with all of them, after a broken stream as
        well. Raises `UnreachableError` after `patience` seconds without an answer."""
        path = f"/v1/stream?snapshot={'true' if snapshot else 'false'}"
        return follow(self._connection, path, None, Position(), patience)

    def networks(self) -> list[dict[str, Any]]:
        """The networks that a job can ask for, with the schema of their settings."""
        return self._listed("/v1/networks")

    def methods(self) -> list[dict[str, Any]]:
        """The methods that a job can be trained by, likewise."""
        return self._listed("/v1/methods")

    def neurons(self) -> list[dict[str, Any]]:
        """The neuron models, likewise."""
        return self._listed("/v1/neurons")

    def surrogates(self) -> list[dict[str, Any]]:
        """The surrogate gradients, likewise."""
        return self._listed("/v1/surrogates")

    def targets(self) -> list[dict[str, Any]]:
        """The tools and chips that a network can be exported to, with what each can and cannot
        express."""
        return self._listed("/v1/exports")

    def workers(self) -> list[Worker]:
        """Who works for the service: those that live first."""
        return cast(list[Worker], self._listed("/v1/workers"))

    def is_alive(self) -> bool:
        """Whether the server answers; what it needs itself is another matter (`readiness`)."""
        return bool(self._connection.json("GET", "/healthz")["status"] == "ok")

    def readiness(self) -> dict[str, Any]:
        """The state of database, broker and storage. Raises `ApiError` with the reason, and one of
        `errors` for each that does not answer."""
        return cast(dict[str, Any], self._connection.json("GET", "/readyz"))

    def numbers(self) -> str:
        """The numbers of the server for Prometheus, as text."""
        return self._connection.request("GET", "/metrics").text

    def address(self, path: str) -> str:
        """The whole address of a path in a document, such as `job["urls"]["page"]`."""
        return self._connection.address(path)

    def _ask(self, job_id: str, what: str) -> Job:
        return self._job(self._connection.change(f"/v1/jobs/{job_id}/{what}"))

    def _job(self, document: Mapping[str, Any]) -> Job:
        return Job(document, self)

    def _listed(self, path: str) -> list[dict[str, Any]]:
        return cast(list[dict[str, Any]], self._connection.json("GET", path)["data"])

    def _follow(
        self, job_id: str, position: Position, patience: float
    ) -> Generator[Message, None, None]:
        def look(position: Position) -> Iterator[Message]:
            job = self.get(job_id)
            return as_messages(job, self.events(job_id, after=position.after), position)

        path = f"/v1/jobs/{job_id}/events"
        return follow(self._connection, path, look, position, patience)


def _of_project(name: str) -> dict[str, str]:
    return {"Saf-Project": name} if name else {}
