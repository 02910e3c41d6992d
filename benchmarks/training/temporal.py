"""Series of four archives, by SAF-E, OTTT and BPTT: `python -m benchmarks.training.temporal WHEEL`.

WHEEL is that of aeon 1.6.0, which holds the data (`pip download aeon==1.6.0 --no-deps`); nothing of
it is imported. Each training runs in a process of its own, of one thread, with the time it takes on
the processor and its peak memory. What is done is kept in a file of JSON lines, one a training: the
same command goes on where it was interrupted; `--only data/network/method` narrows it, `--seeds`
says how many. The table is written to `benchmarks/results/temporal.md`.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from time import process_time
from typing import Any

import torch

from benchmarks import RESULTS
from benchmarks.machine import machine
from saf.config import JobSpecification
from saf.data import Dataset, read
from saf.training.events import Finished
from saf.training.loop import train

DATA = ("JapaneseVowels", "BasicMotions", "GunPoint", "ItalyPowerDemand")
RECURRENT_SCALES = {"JapaneseVowels": 0.25}  # else 1; `table` says how they were chosen
NETWORKS: Mapping[str, Mapping[str, Any]] = {
    "mlp": {"network": {"name": "mlp", "features": [128, 128]}},
    "mlp, learned λ": {
        "network": {"name": "mlp", "features": [128, 128]},
        "neuron": {"name": "plif"},
    },
    "rnn": {"network": {"name": "rnn", "features": [128, 128]}},
    "rnn, learned λ": {
        "network": {"name": "rnn", "features": [128, 128]},
        "neuron": {"name": "plif"},
    },
    "delay": {"network": {"name": "delay", "features": [128, 128]}},
    "delay, learned": {"network": {"name": "delay", "features": [128, 128], "learned": True}},
}
METHODS = ("saf-e", "ottt-a", "bptt")
SETTINGS: Mapping[str, Any] = {
    "input": {"encoding": {"name": "onoff"}},
    "epochs": 80,
    "batch_size": 32,
    "validation_share": 0.0,
    "optimizer": {"name": "adamw", "learning_rate": 0.002, "weight_decay": 0.0},
    "max_gradient_norm": 1.0,
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Train what is left to train, write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("wheel", type=Path, help="the wheel of aeon 1.6.0")
    parser.add_argument("--only", action="append", default=[], help="data/network/method, * is any")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--lines", type=Path, default=RESULTS / "temporal.jsonl")
    parser.add_argument("--table", type=Path, default=RESULTS / "temporal.md")
    parser.add_argument("--one", help=argparse.SUPPRESS)  # a case, in a process of its own
    given = parser.parse_args(arguments)
    if given.one is not None:
        print(json.dumps(trained(json.loads(given.one), given.wheel)))
        return
    done = {key(line) for line in lines(given.lines)}
    for case in cases(given.only, given.seeds):
        if key(case) in done:
            continue
        command = [sys.executable, "-m", "benchmarks.training.temporal", str(given.wheel), "--one"]
        ran = subprocess.run(
            [*command, json.dumps(case)],
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            check=True,
        )
        with given.lines.open("a") as file:
            file.write(ran.stdout.splitlines()[-1] + "\n")
        print(ran.stdout.splitlines()[-1], flush=True)
    given.table.write_text(table(list(lines(given.lines))))


def cases(only: Sequence[str], seeds: int) -> Iterator[dict[str, Any]]:
    """All trainings, the seeds outermost."""
    chosen = [entry.split("/") for entry in only]
    for seed, *named in product(range(seeds), DATA, NETWORKS, METHODS):
        if chosen and not any(
            all(w in ("*", n) for w, n in zip(wanted, named, strict=True)) for wanted in chosen
        ):
            continue
        data, network, method = named
        yield {"data": data, "network": network, "method": method, "seed": seed}


def key(case: Mapping[str, Any]) -> str:
    """What tells one training from the others."""
    return json.dumps([case[name] for name in ("data", "network", "method", "seed")])


def lines(path: Path) -> Iterator[dict[str, Any]]:
    """What is done."""
    if path.exists():
        for line in path.read_text().splitlines():
            yield json.loads(line)


def load(name: str, wheel: Path) -> Dataset:
    """A data set of the wheel."""
    with zipfile.ZipFile(wheel) as archive, tempfile.TemporaryDirectory() as directory:
        for part in ("TRAIN", "TEST"):
            file = f"{name}_{part}.ts"
            content = archive.read(f"aeon/datasets/data/{name}/{file}")
            Path(directory, file).write_bytes(content)
        return read(directory)


def trained(case: Mapping[str, Any], wheel: Path) -> dict[str, Any]:
    """One training, and what came out."""
    torch.set_num_threads(1)
    data = load(case["data"], wheel)
    asked = {**SETTINGS, **NETWORKS[case["network"]]}
    if asked["network"]["name"] == "rnn":
        scale = RECURRENT_SCALES.get(case["data"], 1.0)
        asked["network"] = {**asked["network"], "recurrent_scale": scale}
    job = JobSpecification.model_validate(
        {
            **asked,
            "method": {"name": case["method"]},
            "seed": case["seed"],
        }
    )
    began = process_time()
    with tempfile.TemporaryDirectory() as directory:
        *_, last = train(job, data, Path(directory), device="cpu")
        report = json.loads(Path(directory, "report.json").read_text())
        certificate = json.loads(Path(directory, "certificate.json").read_text())
    assert isinstance(last, Finished)
    summary, checks = last.summary, certificate["checks"]
    rates = report["deployment"]["firing_rates"].values()
    return {
        **case,
        "samples": [len(data.y_train), len(data.y_test)],
        "shape": list(data.x_train.shape[1:]),
        "test_accuracy": summary["test_accuracy"],
        "lif_accuracy": summary["lif_accuracy"],
        "linear_accuracy": summary["linear_accuracy"],
        "predictions_differing": sum(check["predictions_differing"] for check in checks),
        "spikes_differing": sum(check["spikes_differing"] for check in checks),
        "cpu_seconds": process_time() - began,
        "peak_bytes": summary["peak_memory_bytes"],
        "spikes": sum(rates) * 128 * data.x_train.shape[1],  # layers of 128 neurons
        "machine": {k: v for k, v in machine(torch.device("cpu")).items() if k != "command"},
    }


def table(found: Sequence[Mapping[str, Any]]) -> str:
    """The results as Markdown: means over the seeds, with 95 % intervals of the mean."""
    if not found:
        return "# Series\n\nNothing was measured.\n"
    on = found[-1]["machine"]
    parts = [
        "# Series\n",
        "Two layers of 128 neurons, λ = ½ unless learned, both signs of each channel "
        "(`input.encoding.name` onoff), AdamW at 0.002 without weight decay, gradient norm 1, 80 "
        "epochs, batches of 32, no validation samples; all else by default, but that `rnn` has "
        "`recurrent_scale` 0.25 on JapaneseVowels. Accuracy on the test "
        "samples: mean over the seeds ± half the 95 % interval of the mean (Student), and the "
        "smallest. Seconds are those of one core, with the check of the conversion; memory is the "
        "peak of the process, libraries included; spikes are those of a test sample in all steps. "
        "“LIF” is the number of predictions that differ between the trained and the converted "
        "network in float32 and float64, over all seeds.\n",
        "The scale was chosen on training samples alone: four times five-fold cross-validation, "
        "each time with other folds and seeds (mean over the four ± standard error). "
        "JapaneseVowels: 94.4 ± 0.5 % at scale 1, 96.9 ± 0.2 at 0.25, there 96.4 ± 0.3 with "
        "dropout 0.2 and 96.6 ± 0.5 with weight decay 1; measured after the choice, 97.6 ± 0.4 at "
        "0.0625 and without feedback 97.2 ± 0.1. At 1 and at "
        "0.25 BasicMotions 100 and 100, GunPoint 80.5 ± 1.7 and 76.0 ± 1.8, ItalyPowerDemand 82.6 "
        "± 0.7 and 82.1 ± 2.6. These trainings ran twenty at a time as products of matrices, by a "
        "program whose gradients, checked without dropout, are those of `saf-e` to 5e-7.\n",
        f"{_processors(found)}, {on['cores']} cores shared with other programs, "
        f"Python {on['versions']['python']}, torch {on['versions']['torch']}; "
        "`python -m benchmarks.training.temporal aeon-1.6.0-py3-none-any.whl`.\n",
    ]
    for data in DATA:
        own = [line for line in found if line["data"] == data]
        if not own:
            continue
        (train_count, test_count), (steps, channels) = own[0]["samples"], own[0]["shape"]
        linear = 100 * own[0]["linear_accuracy"]
        parts.append(
            f"## {data}\n\n{train_count} + {test_count} samples, T = {steps}, {channels} "
            f"channel{'s' if channels > 1 else ''}; a linear classifier has {linear:.1f} %.\n"
        )
        parts.append(
            "| network | method | seeds | accuracy | least | LIF | s | MB | spikes |\n"
            "|---|---|---|---|---|---|---|---|---|"
        )
        for network, method in product(NETWORKS, METHODS):
            runs = [r for r in own if (r["network"], r["method"]) == (network, method)]
            if runs:
                parts.append(_row(network, method, runs))
        parts.append("")
    return "\n".join(parts)


def _processors(found: Sequence[Mapping[str, Any]]) -> str:
    """The processors that the trainings ran on, and how many on each where there are several."""
    counts = Counter(line["machine"]["processor"] for line in found)
    if len(counts) == 1:
        return str(next(iter(counts)))
    return " and ".join(f"{name} ({count} trainings)" for name, count in counts.most_common())


def _row(network: str, method: str, runs: Sequence[Mapping[str, Any]]) -> str:
    accuracies = [100 * run["test_accuracy"] for run in runs]
    half = ""
    if len(runs) > 1:
        student = {2: 12.7, 3: 4.30, 4: 3.18, 5: 2.78}.get(len(runs), 2.57)
        half = f" ± {student * statistics.stdev(accuracies) / math.sqrt(len(runs)):.1f}"

    def mean(name: str) -> float:
        return float(statistics.mean(run[name] for run in runs))

    return (
        f"| {network} | `{method}` | {len(runs)} | {statistics.mean(accuracies):.1f}{half} | "
        f"{min(accuracies):.1f} | {sum(run['predictions_differing'] for run in runs)} | "
        f"{mean('cpu_seconds'):.0f} | {mean('peak_bytes') / 1e6:.0f} | {mean('spikes'):.0f} |"
    )


if __name__ == "__main__":
    main()
