"""What a conversion costs, in passes over the test set: `python -m benchmarks.lif.certificate`.

A pass is one evaluation of the trained network on the test set, as the training does it after
every epoch. Every training runs in a process of its own and is short; its test set, its network and
its kernels are those of a long one. The evaluation and the conversion follow each other in each, so
what slows the machine down for a while slows down both; the ratio is the median over the rounds.
Processor time is counted beside the clock's: other work on the machine counts little in it. With
each goes the largest size of the process, beside what `saf.estimate.memory` said.

Writes `certificate.json` and `certificate.md` to `benchmarks/results`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

from benchmarks import RESULTS
from saf.training.hardware import backends

VGG: dict[str, Any] = {"network": {"name": "vgg11", "width": 0.25}}
CASES: dict[str, dict[str, Any]] = {
    "VGG-11 at width 1/4": VGG,
    "the same on a grid": VGG | {"conversion": {"grid_bits": "auto"}},
}


def child(order: dict[str, Any]) -> dict[str, Any]:
    """Train for a moment, convert, and say what the last evaluation and the conversion took."""
    import numpy as np
    import torch

    from benchmarks.machine import machine
    from saf.config import JobSpecification
    from saf.data import Dataset, read
    from saf.training import loop as training
    from saf.training.events import Checkpoint, Converting, Epoch, Evaluation, Finished
    from saf.training.hardware.environment import peak_memory_bytes
    from saf.training.hardware.malloc import keep_freed_memory

    def some(count: int, seed: int) -> tuple[Any, Any]:
        """Images of ten classes, each a pattern of its own under noise."""
        y = np.random.default_rng(seed).integers(0, 10, count)
        patterns = np.random.default_rng(0).normal(size=(10, 3, 8, 8)).repeat(4, 2).repeat(4, 3)
        x = np.empty((count, 3, 32, 32), np.uint8)
        noise = np.random.default_rng(seed + 1)
        for i in range(count):
            image = 128 + 30 * patterns[y[i]] + 40 * noise.normal(size=(3, 32, 32))
            x[i] = image.clip(0, 255)
        return x, y

    train, test = order["train"], order["test"]
    if order["data"] is None:
        names = tuple(f"class {i}" for i in range(10))
        dataset = Dataset(*some(train, 1), *some(test, 2), names)
    else:
        whole = read(Path(order["data"]))
        chosen = np.random.default_rng(0).permutation(len(whole.y_train))[:train]
        dataset = Dataset(
            whole.x_train[chosen],
            whole.y_train[chosen],
            whole.x_test[:: len(whole.y_test) // test][:test],
            whole.y_test[:: len(whole.y_test) // test][:test],
            whole.class_names,
        )
    backends.FEWEST_PRODUCTS = 0  # C++ as in a training that is worth it
    keep_freed_memory()
    specification = JobSpecification.model_validate(
        {
            "optimizer": {"name": "adamw", "learning_rate": 0.003},
            "batch_size": 128,
            "validation_share": 0.0,
            **order["job"],
        }
    )
    device = torch.device("cpu")
    found: dict[str, Any] = {"machine": machine(device)}
    with tempfile.TemporaryDirectory() as directory:
        began = perf_counter(), process_time()
        for report in training.train(specification, dataset, Path(directory), device=device):
            now = perf_counter(), process_time()
            took = [b - a for a, b in zip(began, now, strict=True)]
            match report:
                case Evaluation() if "test_accuracy" in report.metrics:
                    found["evaluation"] = took
                    found["accuracy"] = report.metrics["test_accuracy"]
                case Converting():
                    found["peak_of_training"] = peak_memory_bytes(device)
                case Finished():
                    found["conversion"] = took
                    found["peak"] = peak_memory_bytes(device)
                    found["summary"] = report.summary
            if isinstance(report, Epoch | Checkpoint | Converting):
                began = perf_counter(), process_time()
        certificate = json.loads((Path(directory) / "certificate.json").read_text())
    found["certificate"] = {
        "statement": certificate["statement"],
        "seconds": certificate.get("seconds"),
    }
    return found


def measured(order: dict[str, Any]) -> dict[str, Any]:
    """`child` in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.lif.certificate", "--child", json.dumps(order)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def passes(rounds: Sequence[dict[str, Any]], clock: int) -> float:
    """The conversion as a number of evaluations: by the wall's clock, 0, or the processor's, 1."""
    ratios = [one["conversion"][clock] / one["evaluation"][clock] for one in rounds]
    return float(statistics.median(ratios))


def as_markdown(found: dict[str, Any]) -> str:
    """The result for people."""
    first = next(iter(found["cases"].values()))[0]["machine"]
    lines = [
        "# What a conversion costs",
        "",
        f"`{found['command']}` on {first['processor']}, {first['cores']} cores, "
        f"{first['threads']} threads, torch {first['versions']['torch']}, shared with other work "
        f"(load {first['load']:.1f} at the start). {found['data']}, {found['test']:,} test "
        "samples.",
        "",
        "A pass is the evaluation of the test set that the training does after an epoch; the "
        "conversion is everything that follows the last one.",
        "",
        "| | one pass s | conversion s | passes | passes by processor time | verdict |",
        "|---|---|---|---|---|---|",
    ]
    for name, rounds in found["cases"].items():
        evaluation, conversion = (
            statistics.median(one[what][0] for one in rounds)
            for what in ("evaluation", "conversion")
        )
        lines.append(
            f"| {name} | {evaluation:.1f} | {conversion:.1f} | {passes(rounds, 0):.2f} "
            f"| **{passes(rounds, 1):.2f}** | {rounds[0]['summary']['verdict']} |"
        )
    return "\n".join([*lines, ""])


def main() -> int:
    """Parse the command line, measure, write."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.lif.certificate", description=__doc__
    )
    parser.add_argument("--data", type=Path, help="a data set of 3 × 32 × 32 images (drawn: none)")
    parser.add_argument("--train", type=int, default=1280, help="training samples")
    parser.add_argument("--test", type=int, default=10_000, help="test samples")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", help="the case whose name holds this")
    parser.add_argument("--name", default="certificate", help="of the files that are written")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child is not None:
        print(json.dumps(child(json.loads(options.child))))
        return 0
    cases: dict[str, list[dict[str, Any]]] = {name: [] for name in CASES}
    if options.only is not None:
        cases = {name: rounds for name, rounds in cases.items() if options.only in name}
    found: dict[str, Any] = {
        "command": " ".join(["python -m benchmarks.lif.certificate", *sys.argv[1:]]),
        "data": "Drawn images" if options.data is None else options.data.name,
        "test": options.test,
        "cases": cases,
    }
    for _ in range(options.rounds):
        for name, rounds in cases.items():
            order = {
                "data": None if options.data is None else str(options.data),
                "train": options.train,
                "test": options.test,
                "job": CASES[name] | {"epochs": options.epochs},
            }
            rounds.append(measured(order))
            print(name, {k: v for k, v in rounds[-1].items() if k != "machine"}, flush=True)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{options.name}.json").write_text(json.dumps(found, indent=1) + "\n")
    (RESULTS / f"{options.name}.md").write_text(as_markdown(found))
    print(as_markdown(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
