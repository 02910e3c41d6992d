"""What of a training goes elsewhere than into its network: `python -m benchmarks.speed.overhead`.

The training is that of `make demo`, in a process of its own, its reports written as a worker's
training process writes them. A clock is stopped wherever the loop enters or leaves one of its
parts, from the first iteration to the end of the last evaluation and checkpoint. It is the
processor time of one thread: other work on the machine counts little in it. More threads shorten
the arithmetic at most by their number, and nothing else, which bounds the share they leave.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import process_time
from typing import Any

from benchmarks import RESULTS

ARITHMETIC = ("forward, backward, optimizer", "forward of the evaluations")


class Clock:
    """Time of parts that may lie within each other: each second counts for the innermost."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._inside, self._since = ["the loop itself"], process_time()

    def _enter(self, part: str | None) -> None:
        now = process_time()
        here = self._inside[-1]
        self.seconds[here] = self.seconds.get(here, 0.0) + now - self._since
        self._since = now
        if part is None:
            self._inside.pop()
        else:
            self._inside.append(part)

    def start(self) -> None:
        """Count from here."""
        self.seconds, self._since = {}, process_time()

    def stop(self) -> dict[str, float]:
        """What has been counted."""
        self._enter(self._inside[-1])
        self._inside.pop()
        return dict(self.seconds)

    def timed(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """`function`, its time counted for `part`."""

        def call(*args: Any, **options: Any) -> Any:
            self._enter(part)
            try:
                return function(*args, **options)
            finally:
                self._enter(None)

        return call


def child(directory: Path, epochs: int | None) -> dict[str, Any]:
    """Train once, and say where the time went: from the start of this process, and in the loop.

    `epochs` other than those of the demo give other numbers, of the same parts.
    """
    start = {"python": process_time()}

    def lap(name: str) -> None:
        start[name] = process_time() - sum(start.values())

    import torch

    lap("torch")
    torch.set_num_threads(1)
    from api.commands.demo import SPECIFICATION
    from benchmarks.machine import machine
    from saf.config import JobSpecification
    from saf.data import digits
    from saf.training import loop as training
    from saf.training import trainer
    from saf.training.batches import Batches, Samples
    from saf.training.evaluation import evaluate, spike_stats
    from saf.training.evaluation.metrics import Meter
    from saf.training.events import Converting, Started
    from saf.training.hardware.malloc import keep_freed_memory
    from worker.processes.child import ReportLine

    lap("saf")
    keep_freed_memory()
    dataset = digits()
    lap("the data set")
    clock = Clock()
    in_parts = getattr(trainer, "in_parts")  # noqa: B009

    def timed_in_parts(rule: Any, parts: int) -> Any:
        return clock.timed(ARITHMETIC[0], in_parts(rule, parts))

    setattr(trainer, "in_parts", timed_in_parts)  # noqa: B010
    for owner, name, part in (
        (evaluate, "infer", ARITHMETIC[1]),
        (Batches, "__getitem__", "samples"),
        (Samples, "__getitem__", "samples"),
        (trainer, "augment", "augmentation"),
        (trainer, "dropout_masks", "augmentation"),
        (Meter, "add", "metrics"),
        (Meter, "read", "metrics"),
        (Meter, "finish_epoch", "metrics"),
        (spike_stats.SpikeMonitor, "keep_gradients", "spike_statistics"),
        (spike_stats.SpikeMonitor, "measure", "spike_statistics"),
        (training, "_saved", "checkpoints"),
        (training, "assess", "the look at the test samples"),
    ):
        setattr(owner, name, clock.timed(part, getattr(owner, name)))
    outgoing = directory / "outgoing"
    outgoing.mkdir()
    line = ReportLine(os.open(os.devnull, os.O_WRONLY), outgoing)
    send = clock.timed("reports", line.send)
    loop: dict[str, float] = {}
    shorter = {} if epochs is None else {"epochs": epochs}
    specification = JobSpecification.model_validate(SPECIFICATION | shorter)
    for report in training.train(specification, dataset, directory, device="cpu"):
        if isinstance(report, Started):
            lap("network and optimizer")
            clock.start()
        if isinstance(report, Converting):
            loop = clock.stop()
        send(report)
    return {"start": start, "loop": loop, "machine": machine(torch.device("cpu"))}


def outside(loop: dict[str, float], speed_up: float = 1.0) -> float:
    """The share of the loop that is not arithmetic, were the arithmetic so many times faster."""
    arithmetic = sum(loop[part] for part in ARITHMETIC)
    rest = sum(loop.values()) - arithmetic
    return rest / (rest + arithmetic / speed_up)


def measured(epochs: int | None = None) -> dict[str, Any]:
    """`child` in a process of its own."""
    with tempfile.TemporaryDirectory() as directory:
        command = [sys.executable, "-m", "benchmarks.speed.overhead", "--child", directory]
        command += [] if epochs is None else ["--epochs", str(epochs)]
        single = os.environ | {"OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=single)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def as_markdown(found: dict[str, Any]) -> str:
    """The result for people."""
    of, loop, start = found["machine"], found["loop"], found["start"]
    cores = of["cores"]
    parts = sorted(loop, key=lambda part: -loop[part])
    listed = ", ".join(f"{name} {seconds:.2f}" for name, seconds in start.items())
    return "\n".join(
        [
            "# The training of `make demo` outside its network",
            "",
            f"`python -m benchmarks.speed.overhead` on {of['processor']}, {cores} cores, torch "
            f"{of['versions']['torch']}, shared with other work (load {of['load']:.1f}). Processor",
            "time of one thread.",
            "",
            f"Outside the arithmetic of the network: **{outside(loop):.1%}** of the loop; at most "
            f"{outside(loop, cores):.1%} where {cores} cores share the arithmetic.",
            "",
            "| part of the loop | ms | share |",
            "|---|---|---|",
            *(
                f"| {part} | {1000 * loop[part]:.0f} | {loop[part] / sum(loop.values()):.1%} |"
                for part in parts
            ),
            "",
            f"Before the loop, seconds: {listed}; {sum(start.values()):.2f} in all.",
            "",
        ]
    )


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.speed.overhead", description=__doc__
    )
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--epochs", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child is not None:
        print(json.dumps(child(options.child, options.epochs)))
        return 0
    found = measured()
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "overhead.json").write_text(json.dumps(found, indent=1) + "\n")
    (RESULTS / "overhead.md").write_text(as_markdown(found))
    print(as_markdown(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
