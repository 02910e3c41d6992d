"""Two trainings at once against one after the other: `python -m benchmarks.speed.together`.

Each is a process that trains on digits; two begin at the same moment. Their threads wait as OpenMP
does by itself, or passively, as those of workers and of `saf train` do. Processor time tells what a
busy machine hides: threads that spin take it, and where all cores are at work the time on the clock
is in proportion to it. The kinds are measured in turns.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import RESULTS

JOBS: dict[str, tuple[dict[str, Any], int]] = {  # and how many iterations are measured
    "digits, MLP of 64": ({"network": {"name": "mlp", "features": [64]}}, 100),
    "digits, all defaults": ({}, 24),
    "digits, convolutions with 64 channels": (
        {"network": {"name": "convnet", "channels": [64, 64]}},
        10,
    ),
}
KINDS = {"by itself": None, "passively": "PASSIVE"}  # OMP_WAIT_POLICY
SPINNING = 10  # so many times fewer iterations where threads spin, which takes long


class Times(NamedTuple):
    """Seconds, of all trainings together."""

    clock: float
    processor: float


def child(job: str, steps: int, folder: Path) -> dict[str, float]:
    """Train; from the second iteration on, and once everybody is there, time `steps` of them."""
    from saf.config import JobSpecification
    from saf.data import digits
    from saf.training.events import Step
    from saf.training.hardware.malloc import keep_freed_memory
    from saf.training.loop import train

    keep_freed_memory()
    specification = JobSpecification.model_validate({**json.loads(job), "epochs": 1000})
    begun = Times(0, 0)
    with tempfile.TemporaryDirectory() as directory:
        for report in train(specification, digits(), Path(directory), device="cpu"):
            if not isinstance(report, Step):
                continue
            if report.step == 2:
                (folder / str(os.getpid())).touch()
                while not (folder / "go").exists():
                    time.sleep(0.002)
                begun = Times(time.perf_counter(), time.process_time())
            elif report.step == 2 + steps:
                break
    return {
        "clock": time.perf_counter() - begun.clock,
        "processor": time.process_time() - begun.processor,
    }


def measured(job: dict[str, Any], steps: int, policy: str | None, count: int) -> Times:
    """So many trainings at once."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("OMP_", "GOMP_"))}
    if policy is not None:
        environment["OMP_WAIT_POLICY"] = policy
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "benchmarks.speed.together", "--child", folder]
        command += ["--job", json.dumps(job), "--steps", str(steps)]
        processes = [
            subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
            for _ in range(count)
        ]
        while len(list(Path(folder).iterdir())) < count:
            if any(process.poll() for process in processes):
                raise RuntimeError("a training failed")
            time.sleep(0.02)
        (Path(folder) / "go").touch()
        found = [json.loads(process.communicate()[0]) for process in processes]
    return Times(max(one["clock"] for one in found), sum(one["processor"] for one in found))


def main() -> int:
    """The command; see the module."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.speed.together", description=__doc__
    )
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--job", help=argparse.SUPPRESS)
    parser.add_argument("--steps", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child is not None:
        print(json.dumps(child(options.job, options.steps, options.child)))
        return 0
    import torch

    from benchmarks.machine import machine

    rows = []
    for name, (job, steps) in JOBS.items():
        turns = [
            {
                kind: [
                    measured(job, steps if how else max(2, steps // SPINNING), how, n)
                    for n in (1, 2)
                ]
                for kind, how in KINDS.items()
            }
            for _ in range(options.turns)
        ]
        for kind in KINDS:
            one, two = (
                Times(*(statistics.median(column) for column in zip(*many, strict=True)))
                for many in zip(*(turn[kind] for turn in turns), strict=True)
            )
            ms = 1000 / (steps if KINDS[kind] else max(2, steps // SPINNING))
            rows.append(
                f"| {name} | {kind} | {ms * one.clock:.1f} | {ms * two.clock:.1f} | "
                f"{two.clock / 2 / one.clock:.2f} | {two.processor / 2 / one.processor:.2f} | "
                f"{os.getloadavg()[0]:.1f} |"
            )
            print(rows[-1], flush=True)
    of = machine(torch.device("cpu"))
    lines = [
        "# Two trainings at once",
        "",
        f"`{of['command']}` on {of['processor']}, {of['cores']} cores, torch {torch.__version__}.",
        "Medians, in milliseconds an iteration; the ratios are to one training after the other, of",
        "the time on the clock and of processor time (which is what counts where others use the",
        "machine, too).",
        "",
        "| training | threads wait | one | two at once | ratio, clock | ratio, processor | load |",
        "|---|---|---|---|---|---|---|",
        *rows,
        "",
    ]
    (RESULTS / "together.md").write_text("\n".join(lines))
    return 0


if __name__ == "__main__":
    sys.exit(main())
