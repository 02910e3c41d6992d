"""The protocol between a worker and its training process.

The training process waits on standard input for its `Order`: a line `order` with the path, in JSON,
of the order's file. After that a line `stop` asks it to stop between two steps; any other line only
says that the worker lives. When that pipe ends, or is silent for `silence_seconds` once there is an
order, the process ends itself with its whole group, since the job may be given to another worker.
Reports are sent back as one line of JSON each, over another pipe.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from saf.training import events
from saf.training.events import Report

ORDER = b"order "
STOP = b"stop\n"
ALIVE = b"alive\n"
MARK = "SAF_ATTEMPT"
"""In the environment of a training process and of all that it starts: the directory of the attempt;
of one that was started ahead of its order, a name beside them."""


@dataclass(frozen=True, kw_only=True)
class Order:
    """Everything that a training process is told."""

    specification: dict[str, Any]
    dataset: str  # the name of a built-in data set, or the path of a file
    builtin: bool
    directory: str  # where the training may write
    outgoing: str  # where files are put that the worker is to fetch
    resume_from: str | None  # the file of a checkpoint
    inherited: bool  # the checkpoint is that of the job which this one retries or continues
    device: str
    silence_seconds: float  # so long without a word from the worker, and it ends itself
    init_from: str | None = None  # the file of a checkpoint whose weights it starts with
    ids: dict[str, Any] = field(default_factory=dict)  # of the request, the job and the attempt

    def write(self, path: Path) -> None:
        """Write to `path`."""
        path.write_text(json.dumps(asdict(self)), encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> Order:
        """Read the order in `path`."""
        return cls(**json.loads(path.read_text(encoding="utf-8")))


@dataclass(frozen=True, kw_only=True)
class Failure:
    """The error that ended the training: one of `saf.errors`."""

    code: str
    message: str
    hint: str
    samples: int | None = None
    """After a lack of memory: how many samples at once to try next."""
    transient: bool = False
    """Another attempt may not meet it: a device that was lost, a full disk."""


@dataclass(frozen=True, kw_only=True)
class Logged:
    """A message that the training process logged, for the worker's log; the job's log has it
    too."""

    level: int
    logger: str
    text: str


_KINDS: dict[str, type[Any]] = {
    kind.__name__: kind
    for kind in (
        events.Started,
        events.Step,
        events.Epoch,
        events.Evaluation,
        events.SpikeStatistics,
        events.Checkpoint,
        events.Converting,
        events.Checking,
        events.Artifact,
        events.Finished,
        Failure,
        Logged,
    )
}


def encode(report: Report | Failure | Logged) -> str:
    """One line of JSON, without a line break."""
    return json.dumps({"report": type(report).__name__, **vars(report)}, default=str)


def decode(line: str | bytes) -> Report | Failure | Logged:
    """Inverse of `encode`. Raises ValueError for anything else."""
    try:
        fields = json.loads(line)
        kind = _KINDS[fields.pop("report")]
        if "path" in fields:
            fields["path"] = Path(fields["path"])
        decoded: Report | Failure | Logged = kind(**fields)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"this is no report: {line[:200]!r}") from error
    return decoded
