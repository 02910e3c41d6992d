"""A job as an object: `job = client.submit(…); job.wait(); job.metrics().to_frame()`."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from saf.client.connection.stream import Message
from saf.client.documents import Metrics, Prediction, SpikeStatistics
from saf.client.exports import Export
from saf.client.progress import moment_of, progress_bar
from saf.client.types import TERMINAL, Artifact, Event

if TYPE_CHECKING:
    from saf.client.client import Client
    from saf.lif.network import LIFNetwork


class Job(dict[str, Any]):
    """A job: the dictionary that the server sent (`saf.client.types.JobDocument`), and what can be
    done with the job. Each method raises what the client's method of that name does.

    Methods that change the job, and `refresh` and `wait`, bring the dictionary up to date.
    """

    def __init__(self, document: Mapping[str, Any], client: Client) -> None:
        super().__init__(document)
        self._client = client

    def __repr__(self) -> str:
        specification = self["specification"]
        name = f" {self['name']!r}" if self["name"] else ""
        what = f"{specification['method']['name']} on {specification['dataset']}"
        parts = [f"{self['id']}{name}", self["status"], what]
        if self["status"] not in TERMINAL:
            parts.append(f"{self['progress']['fraction']:.0%}")
        if self["lif_accuracy"] is not None:
            parts.append(f"LIF {self['lif_accuracy']:.2%} {self['verdict']}")
        if self["findings"]:
            parts.append(f"findings: {', '.join(each['code'] for each in self['findings'])}")
        return f"Job({', '.join(parts)})"

    def __reduce__(self) -> tuple[Any, ...]:
        return dict, (dict(self),)  # a connection is not copied

    @property
    def id(self) -> str:
        """Its id."""
        return str(self["id"])

    @property
    def page(self) -> str:
        """Where its page is."""
        return self._client.address(self["urls"]["page"])

    @property
    def has_ended(self) -> bool:
        """Whether it succeeded, failed or was cancelled, as far as this object knows."""
        return self["status"] in TERMINAL

    def refresh(self) -> Self:
        """Ask the server for its state."""
        return self._become(self._client.get(self.id))

    def wait(self, *, timeout: float | None = None, progress: bool = True) -> Self:
        """Wait until it has ended, whatever the end is, with a progress bar in a terminal or a
        notebook and lines elsewhere. Raises `WaitTimeoutError` after `timeout` seconds."""
        if not progress:
            return self._become(self._client.wait(self.id, timeout=timeout))
        with progress_bar(self["name"] or self.id) as bar:
            found = self._client.wait(
                self.id, timeout=timeout, progress=lambda job: bar.show(moment_of(job))
            )
            bar.show(moment_of(found))
        return self._become(found)

    def watch(self, *, after: int = 0) -> Iterator[Message]:
        """It, as it happens, up to and with the message `done`."""
        return self._client.watch(self.id, after=after)

    def cancel(self) -> Self:
        """Cancel it; a running job is `cancelling` until its process is gone."""
        return self._become(self._client.cancel(self.id))

    def pause(self) -> Self:
        """Let it write a checkpoint and free its device."""
        return self._become(self._client.pause(self.id))

    def resume(self) -> Self:
        """Put it back into the queue."""
        return self._become(self._client.resume(self.id))

    def retry(self, *, from_start: bool = False) -> Job:
        """Submit it again, after it failed or was cancelled; returns the new job."""
        return self._client.retry(self.id, from_start=from_start)

    def train_further(self, *, epochs: int, **changes: Any) -> Job:
        """Train it for so many more epochs, after it succeeded; returns the new job."""
        return self._client.continue_job(self.id, epochs=epochs, **changes)

    def edit(self, **changes: Any) -> Self:
        """Change its `name`, `notes` (Markdown), `tags` (all that it has from then on) and
        `favourite`: `job.edit(tags=["paper"], favourite=True)`. The training and its specification
        stay as they are. (`update` is that of every dictionary.)"""
        return self._become(self._client.edit(self.id, **changes))

    def delete(self) -> None:
        """Delete it, once it has ended, and its files."""
        self._client.delete(self.id)

    def events(self, *, after: int = 0) -> list[Event]:
        """Its timeline after a sequence number."""
        return self._client.events(self.id, after=after)

    def metrics(self, names: Sequence[str] = (), *, max_points: int = 2000) -> Metrics:
        """Its metrics, all or the named ones, down-sampled without losing a peak."""
        return self._client.metrics(self.id, names, max_points=max_points)

    def spike_stats(self) -> SpikeStatistics:
        """How the neurons of each layer fired while it trained."""
        return self._client.spike_stats(self.id)

    def logs(self, *, tail: int | None = None) -> str:
        """What it printed, or the last `tail` lines of it."""
        return self._client.logs(self.id, tail=tail)

    def artifacts(self) -> list[Artifact]:
        """The files that it left behind, by name."""
        return self._client.artifacts(self.id)

    def download(self, directory: Path | str, names: Sequence[str] = ()) -> list[Path]:
        """Download its files, all or the named ones, into `directory`."""
        return self._client.download(self.id, directory, names)

    def export(self, target: str, *, samples: int = 1000, **options: Any) -> Export:
        """Let a worker write its network for another tool, run it there and certify what came out;
        `job.export("c").wait().download("firmware")`. `options` are settings of the target."""
        return self._client.export(self.id, target, samples=samples, **options)

    def exports(self) -> list[Export]:
        """Its exports, the newest first."""
        return self._client.exports(self.id)

    def certificate(self) -> dict[str, Any]:
        """How its conversion was checked."""
        return self._json("certificate.json")

    def report(self) -> dict[str, Any]:
        """All that its training says of itself, `report.json`."""
        return self._json("report.json")

    def network(self) -> LIFNetwork:
        """Its network of LIF neurons, on this machine. Needs torch."""
        from saf.lif.network import load_lif

        with tempfile.TemporaryDirectory(prefix="saf-network-") as directory:
            (path,) = self.download(directory, ["lif.safetensors"])
            return load_lif(path)

    def predict(
        self,
        *,
        sample: int | None = None,
        image: Path | str | bytes | None = None,
        pixels: Any = None,
        series: Any = None,
        detail: bool = False,
    ) -> Prediction:
        """What its network says of one sample, on the server."""
        return self._client.predict(
            self.id, sample=sample, image=image, pixels=pixels, series=series, detail=detail
        )

    def sample(self, sample: int) -> dict[str, Any]:
        """An image of its evaluation split; see `Client.sample`."""
        return self._client.sample(self.id, sample)

    def _json(self, name: str) -> dict[str, Any]:
        with tempfile.TemporaryDirectory(prefix="saf-file-") as directory:
            (path,) = self.download(directory, [name])
            found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            return found

    def _become(self, document: Mapping[str, Any]) -> Self:
        found = dict(document)
        self.clear()
        self.update(found)
        return self
