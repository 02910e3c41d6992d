"""The part of the Python client that is about what a job left and how its network answers."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, cast

from saf.client.connection import download as downloads
from saf.client.connection.stream import PATIENCE_SECONDS, Position, follow
from saf.client.connection.transport import Connection
from saf.client.documents import (
    Comparison,
    Metrics,
    Prediction,
    SpikeStatistics,
    identifiers,
)
from saf.client.types import Artifact, ClientError, Event

Jobs = Iterable[str | Mapping[str, Any]]
"""Jobs by their ids or as documents."""


class Results:
    """What a `Client` asks of jobs without changing them."""

    _connection: Connection

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
        return Metrics(self._connection.json("GET", f"/v1/jobs/{job_id}/metrics", params=params))

    def metrics_csv(self, job_id: str) -> str:
        """Every point of every metric of a job, as CSV."""
        return self._text(f"/v1/jobs/{job_id}/metrics", {"format": "csv"})

    def spike_stats(self, job_id: str, *, after_step: int = -1) -> SpikeStatistics:
        """How the neurons of each layer of a job fired while it trained, after a step."""
        params = {"after_step": after_step} if after_step >= 0 else {}
        return SpikeStatistics(
            self._connection.json("GET", f"/v1/jobs/{job_id}/vitals", params=params)
        )

    def logs(self, job_id: str, *, tail: int | None = None, q: str = "") -> str:
        """What a job printed, or its last `tail` lines, or those lines that hold `q`."""
        params: dict[str, Any] = {} if tail is None else {"tail": tail}
        return self._text(f"/v1/jobs/{job_id}/logs", params | ({"q": q} if q else {}))

    def follow_logs(
        self, job_id: str, *, after: int = 0, patience: float = PATIENCE_SECONDS
    ) -> Iterator[str]:
        """What a job prints, piece by piece, until it has ended.

        Raises `UnreachableError` after `patience` seconds without an answer.
        """
        path, position = f"/v1/jobs/{job_id}/logs", Position(after=after)
        for message in follow(self._connection, path, None, position, patience):
            if message.kind != "done":
                yield str(message.data["text"])

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

    def predict(
        self,
        job_id: str,
        *,
        sample: int | None = None,
        image: Path | str | bytes | None = None,
        pixels: Any = None,
        series: Any = None,
        detail: bool = False,
    ) -> Prediction:
        """What the network of a job says of one sample, on the server; until the job has
        succeeded, that of its newest checkpoint.

        Exactly one of: `sample`, the number of one in the test set; `image`, a PNG or JPEG, by its
        path or its bytes; `pixels`, `C H W` in [0, 1], or `series`, `T C` as in the data, nested
        lists, an array or a tensor. With `detail` the answer has spikes and potentials of neurons.
        Raises `ClientError` unless it is one, and OSError where the image cannot be read.
        """
        given = {"sample": sample, "image": image, "pixels": pixels, "series": series}
        question: dict[str, Any] = {k: v for k, v in given.items() if v is not None}
        if len(question) != 1:
            raise ClientError("give exactly one of sample, image, pixels and series")
        if image is not None:
            content = image if isinstance(image, bytes) else Path(image).read_bytes()
            question = {"image": base64.b64encode(content).decode()}
        for name, value in question.items():
            if hasattr(value, "tolist"):  # an array of numpy or a tensor of torch
                question = {name: value.tolist()}
        found = self._connection.json(
            "POST",
            f"/v1/jobs/{job_id}/predict",
            json=question,
            params={"detail": "true"} if detail else {},
            safe=True,
        )
        return Prediction(found)

    def sample(self, job_id: str, sample: int) -> dict[str, Any]:
        """An image of the evaluation split of a job as it is in the data: its `label`, `shape` and
        `pixels`, bytes `C H W` in base64. Raises `ApiError` where samples are no such images."""
        found: dict[str, Any] = self._connection.json("GET", f"/v1/jobs/{job_id}/samples/{sample}")
        return found

    def compare(self, jobs: Jobs) -> Comparison:
        """Up to twelve jobs, by their ids or as documents, side by side."""
        params = {"jobs": identifiers(jobs)}
        return Comparison(self._connection.json("GET", "/v1/comparison", params=params))

    def compare_csv(self, jobs: Jobs) -> str:
        """The same as CSV, a line for each job."""
        return self._text("/v1/comparison", {"jobs": identifiers(jobs), "format": "csv"})

    def compare_svg(
        self,
        jobs: Jobs,
        metrics: Sequence[str] = (),
        *,
        x: Literal["step", "epoch"] = "step",
        log: bool = False,
        begin: float | None = None,
        end: float | None = None,
    ) -> str:
        """The curves of jobs as a picture for a paper: those of the named metrics over `x`, from
        `begin` to `end`, with `log` losses on a logarithmic axis."""
        given = {"metric": list(metrics) or None, "from": begin, "to": end}
        params: dict[str, Any] = {"jobs": identifiers(jobs), "format": "svg", "x": x, "log": log}
        params |= {name: value for name, value in given.items() if value is not None}
        return self._text("/v1/comparison", params)

    def _text(self, path: str, params: Mapping[str, Any]) -> str:
        return self._connection.request("GET", path, params=params).text

    def _whole(self, artifact: Artifact) -> Artifact:
        return {**artifact, "url": self._connection.address(artifact["url"])}
