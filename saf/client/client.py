"""The Python client: everything that the service does, over HTTP.

    from saf.client.client import Client

    with Client("http://127.0.0.1:8000") as client:
        job = client.submit({"dataset": "digits", "method": {"name": "saf-f"}})
        job = client.wait(job["id"])
        files = client.download(job["id"], "results")

Documents are the dictionaries of `saf.client.types`, where the errors stand too.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from itertools import takewhile
from math import inf
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast

import httpx

from saf.client import download as downloads
from saf.client.settings import settings
from saf.client.sse import Message, messages
from saf.client.sweeps import Sweeps
from saf.client.transport import BUSY, FIRST_PAUSE, Connection, accepted
from saf.client.types import (
    TERMINAL,
    ApiError,
    Artifact,
    ChecksumError,
    ClientError,
    Dataset,
    Event,
    Job,
    JobProgress,
    Metrics,
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

SILENCE_SECONDS = 40.0  # the server says something every 15 s; a stream silent for longer is dead
POLL_SECONDS = 1.0
PATIENCE_SECONDS = 120.0  # with a server that does not answer
STREAMS_TRIED = 3  # in a row without any message, before it is asked at intervals instead

Specification = Mapping[str, Any]
"""The body of a job, as `saf.config.JobSpecification` describes it; defaults may be left out."""


class Client:
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
        headers: Mapping[str, str] | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        """`timeout` in seconds is for one answer; `transport` replaces the network.

        `token` is sent as `Authorization: Bearer`, `headers` with every request; by default those
        of the settings, `SAF_TOKEN` and `SAF_HEADERS`. Proxies (`HTTPS_PROXY`, `ALL_PROXY`,
        `NO_PROXY`) and certificate authorities (`SSL_CERT_FILE`) are those of the environment.
        Raises `ClientError` where one of these cannot be used.
        """
        self._connection = Connection(
            url,
            timeout=timeout,
            retries=retries,
            transport=transport,
            token=settings().token if token is None else token,
            headers=settings().headers if headers is None else headers,
        )
        self.url = self._connection.url
        """Where the server is, without a user and a password."""
        self.sweeps = Sweeps(self._connection)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._connection.http.close()

    def submit(self, specification: Specification, *, idempotency_key: str | None = None) -> Job:
        """Submit a job. The same key with the same specification returns the same job."""
        body = dict(specification)
        return cast(Job, self._connection.change("/v1/jobs", key=idempotency_key, json=body))

    def validate(self, specification: Specification) -> Validation:
        """What a specification would need; nothing is submitted."""
        params = {"validate_only": "true"}
        found = self._connection.json(
            "POST", "/v1/jobs", json=dict(specification), params=params, safe=True
        )
        return cast(Validation, found)

    def get(self, job_id: str) -> Job:
        """One job."""
        return cast(Job, self._connection.json("GET", f"/v1/jobs/{job_id}"))

    def jobs(
        self,
        *,
        status: Sequence[str] = (),
        health: Sequence[str] = (),
        method: str = "",
        dataset: str = "",
        q: str = "",
        metadata: Mapping[str, str] | None = None,
        page: int = 100,
    ) -> Iterator[Job]:
        """All jobs that match, newest first; asks for one page after the other as needed."""
        params: dict[str, Any] = {
            "limit": page,
            "status": list(status),
            "health": list(health),
            "method": method,
            "dataset": dataset,
            "q": q,
            **{f"metadata[{key}]": value for key, value in (metadata or {}).items()},
        }
        params = {name: value for name, value in params.items() if value}
        yield from self._connection.pages("/v1/jobs", params)

    def cancel(self, job_id: str) -> Job:
        """Cancel it; a running job is `cancelling` until its process is gone."""
        return self._ask(job_id, "cancel")

    def pause(self, job_id: str) -> Job:
        """Let it write a checkpoint and free its device."""
        return self._ask(job_id, "pause")

    def resume(self, job_id: str) -> Job:
        """Put a paused job back into the queue."""
        return self._ask(job_id, "resume")

    def retry(self, job_id: str, *, idempotency_key: str | None = None) -> Job:
        """Submit the specification of a failed or cancelled job again; returns the new job. The
        same key returns the same one."""
        path = f"/v1/jobs/{job_id}/retry"
        return cast(Job, self._connection.change(path, key=idempotency_key))

    def continue_job(
        self, job_id: str, *, epochs: int, idempotency_key: str | None = None, **changes: Any
    ) -> Job:
        """Train a job that has succeeded for so many more epochs; returns the new job, which goes
        on where the other ended. The same key returns the same one.

        `changes` may be `learning_rate`, `schedule`, `patience` and `name`.
        """
        path = f"/v1/jobs/{job_id}/continue"
        body = {"epochs": epochs, **changes}
        return cast(Job, self._connection.change(path, key=idempotency_key, json=body))

    def delete(self, job_id: str) -> None:
        """Delete a job that has ended, and its files."""
        self._connection.request("DELETE", f"/v1/jobs/{job_id}")

    def events(self, job_id: str, *, after: int = 0) -> list[Event]:
        """The timeline of a job after a sequence number."""
        found: list[Event] = []
        while True:
            page = self._connection.json(
                "GET", f"/v1/jobs/{job_id}/events", params={"after": after}
            )
            found += page["data"]
            if not page["has_more"]:
                return found
            after = int(page["last_id"])

    def watch(
        self, job_id: str, *, after: int = 0, patience: float = PATIENCE_SECONDS
    ) -> Iterator[Message]:
        """The job as it happens, up to and with the message `done`.

        A broken stream is opened again after the last event that came; where none can be had, the
        server is asked at intervals. Raises `UnreachableError` after `patience` seconds without
        an answer.
        """
        return self._follow(job_id, _Watching(after=after), patience)

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
        watching = _Watching(deadline=None if timeout is None else time.monotonic() + timeout)
        with closing(self._follow(job_id, watching, PATIENCE_SECONDS)) as followed:
            for message in followed:
                if message.kind == "done":
                    if message.data.get("deleted"):
                        raise ClientError(f"job {job_id} was deleted")
                    return cast(Job, message.data)
                if message.kind == "progress":
                    progress(cast(JobProgress, message.data))
        raise WaitTimeoutError(f"job {job_id} has not ended after {timeout:.0f} s; it goes on")

    def metrics(
        self,
        job_id: str,
        names: Sequence[str] = (),
        *,
        max_points: int = 2000,
        from_step: int = 0,
        to_step: int | None = None,
    ) -> Metrics:
        """Metrics of a job, all or the named ones, down-sampled without losing a peak."""
        params: dict[str, Any] = {"max_points": max_points, "from_step": from_step}
        if names:
            params["names"] = list(names)
        if to_step is not None:
            params["to_step"] = to_step
        return cast(
            Metrics, self._connection.json("GET", f"/v1/jobs/{job_id}/metrics", params=params)
        )

    def logs(self, job_id: str, *, tail: int | None = None) -> str:
        """What a job printed, or its last `tail` lines."""
        params = {} if tail is None else {"tail": tail}
        return self._connection.request("GET", f"/v1/jobs/{job_id}/logs", params=params).text

    def artifacts(self, job_id: str) -> list[Artifact]:
        """The files that a job left behind, by name."""
        return cast(
            list[Artifact], self._connection.json("GET", f"/v1/jobs/{job_id}/artifacts")["data"]
        )

    def download(
        self,
        job_id: str,
        directory: Path | str,
        names: Sequence[str] = (),
        *,
        report: downloads.Reported = lambda _artifact, _bytes: None,
    ) -> list[Path]:
        """Download the files of a job, all or the named ones, into `directory`.

        Each goes on where an earlier try stopped and is verified by its SHA-256. `report` is
        called with an artifact and how many of its bytes are there. Raises `ChecksumError`,
        OSError, and `ClientError` for a name that the job does not have.
        """
        found = {artifact["name"]: artifact for artifact in self.artifacts(job_id)}
        missing = [name for name in names if name not in found]
        if missing:
            there = ", ".join(found) or "no file yet"
            raise ClientError(f"job {job_id} has no file {missing[0]!r}; it has {there}")
        return [
            downloads.download(
                self._connection.http, self._whole(found[name]), Path(directory), report
            )
            for name in names or found
        ]

    def datasets(self) -> Iterator[Dataset]:
        """The catalogue and the uploaded data sets."""
        yield from self._connection.pages("/v1/datasets", {})

    def dataset(self, dataset_id: str) -> Dataset:
        """One data set."""
        return cast(Dataset, self._connection.json("GET", f"/v1/datasets/{dataset_id}"))

    def upload_dataset(
        self,
        path: Path | str,
        *,
        name: str = "",
        format: str = "auto",
        idempotency_key: str | None = None,
    ) -> Dataset:
        """Upload a file, an archive or a folder (which is packed) and return the data set.

        Checking goes on after a large upload: the status is `checking`, `ready` or `invalid`.
        Raises OSError where the path cannot be read.
        """
        fields = {"format": format} | ({"name": name} if name else {})
        patient = httpx.Timeout(30.0, read=None, write=None)
        with _one_file(Path(path)) as file, file.open("rb") as content:
            found = self._connection.change(
                "/v1/datasets",
                key=idempotency_key,
                files={"file": (file.name, content)},
                data=fields,
                timeout=patient,
            )
        return cast(Dataset, found)

    def wait_dataset(self, dataset_id: str) -> Dataset:
        """Wait until an uploaded data set is checked: `ready`, or `invalid` with `problems`."""
        while (found := self.dataset(dataset_id))["status"] == "checking":
            time.sleep(POLL_SECONDS / 2)
        return found

    def workers(self) -> list[Worker]:
        """Who works for the service: those that live first."""
        return cast(list[Worker], self._connection.json("GET", "/v1/workers")["data"])

    def address(self, path: str) -> str:
        """The whole address of a path in a document, such as `job["urls"]["page"]`."""
        return self._connection.address(path)

    def _ask(self, job_id: str, what: str) -> Job:
        return cast(Job, self._connection.change(f"/v1/jobs/{job_id}/{what}"))

    def _whole(self, artifact: Artifact) -> Artifact:
        return {**artifact, "url": self.address(artifact["url"])}

    def _follow(
        self, job_id: str, watching: _Watching, patience: float
    ) -> Generator[Message, None, None]:
        """Messages up to `done`, or until the time of `watching` is over."""
        barren, pause = 0, FIRST_PAUSE
        failing_since: float | None = None
        while not (watching.done or watching.is_over()):
            streaming = barren < STREAMS_TRIED
            try:
                barren += streaming  # taken back by the first message
                for message in (self._streamed if streaming else self._polled)(job_id, watching):
                    barren, pause = 0 if streaming else barren, FIRST_PAUSE
                    failing_since = None
                    yield message
            except (httpx.TransportError, UnreachableError, ApiError) as error:
                if isinstance(error, ApiError) and error.status not in BUSY:
                    raise
                failing_since = failing_since or time.monotonic()
                if time.monotonic() - failing_since > patience:
                    raise self._connection.unreachable(error) from error
                if isinstance(error, httpx.ConnectError):
                    barren = 0  # nobody there says nothing about streams
            if not watching.done:
                time.sleep(pause)
                pause = min(2 * pause, POLL_SECONDS)

    def _streamed(self, job_id: str, watching: _Watching) -> Iterator[Message]:
        headers = {"accept": "text/event-stream", "last-event-id": str(watching.after)}
        timeout = httpx.Timeout(30.0, read=min(SILENCE_SECONDS, watching.left()))
        path = f"/v1/jobs/{job_id}/events"
        with self._connection.http.stream(
            "GET", path, headers=headers, timeout=timeout
        ) as response:
            if response.status_code >= 400:
                response.read()
                accepted(response)
            if not response.headers.get("content-type", "").startswith("text/event-stream"):
                return
            lines = takewhile(lambda _: not watching.is_over(), response.iter_lines())
            for message in messages(lines):
                watching.note(message)
                yield message
                if watching.done:
                    return

    def _polled(self, job_id: str, watching: _Watching) -> Iterator[Message]:
        """What a stream would say, as far as one look shows it."""
        job = self.get(job_id)
        for event in self.events(job_id, after=watching.after):
            message = Message(kind="event", data=event, sequence=event["sequence"])
            watching.note(message)
            yield message
        message = Message(kind="done" if job["status"] in TERMINAL else "progress", data=job)
        watching.note(message)
        yield message


class _Watching:
    """Where the viewer of a stream is, and until when it looks."""

    def __init__(self, *, after: int = 0, deadline: float | None = None) -> None:
        self.after = after
        self.done = False
        self._deadline = deadline

    def left(self) -> float:
        """Seconds, some even when the time is over."""
        return inf if self._deadline is None else max(0.05, self._deadline - time.monotonic())

    def is_over(self) -> bool:
        return self._deadline is not None and time.monotonic() > self._deadline

    def note(self, message: Message) -> None:
        self.after = max(self.after, message.sequence or 0)
        self.done = self.done or message.kind == "done"


@contextmanager
def _one_file(path: Path) -> Iterator[Path]:
    """The file at `path`, or the folder there as a zip for as long as the block lasts."""
    if not path.is_dir():
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="saf-upload-") as directory:
        name = path.resolve().name or "dataset"
        yield Path(shutil.make_archive(str(Path(directory) / name), "zip", path))
