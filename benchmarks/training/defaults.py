"""Do defaults train anything? `python -m benchmarks.training.defaults [--cifar ARCHIVE]`.

Trains every method on every network that takes a data set, on data sets of many kinds, with all
settings left to their defaults, and beside some of them a small search by hand (optimizer and rate,
at the epochs and the batch of the defaults). What is done is kept in a file of JSON lines, one a
training: the same command goes on where it was interrupted; `--only data/network/method` narrows
it, `--seeds` says how many. The table is written to `benchmarks/results/defaults.md`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from time import perf_counter
from typing import Any

import torch

from benchmarks import RESULTS
from benchmarks.data.drawn import DRAWN, FASHION, subset
from benchmarks.machine import machine
from saf.config import JobSpecification
from saf.config.automatic import DataFacts, resolve
from saf.data import Dataset, read
from saf.errors import TrainingError
from saf.networks.build import NetworkError, build
from saf.training.events import Finished
from saf.training.loop import train

METHODS = ("saf-e", "saf-f", "ottt-a", "ottt-o", "spike-representation", "bptt")
NETWORKS: Mapping[str, Mapping[str, Any]] = {
    "convnet": {},
    "mlp": {},
    "vgg11": {"width": 0.25},
    "resnet18": {"width": 0.25},
    "mobilenet": {"width": 0.5},
}
BY_HAND: tuple[Mapping[str, Any], ...] = (
    {"name": "sgd", "learning_rate": 0.1},
    {"name": "sgd", "learning_rate": 0.01},
    {"name": "adamw", "learning_rate": 0.0005},
    {"name": "adamw", "learning_rate": 0.002},
    {"name": "adamw", "learning_rate": 0.005},
)
SUMMARY = (
    *("test_accuracy", "val_accuracy", "train_accuracy", "lif_accuracy", "verdict"),
    *("most_frequent_accuracy", "linear_accuracy", "health", "best_epoch"),
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line, train what is left to train, write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cifar", type=Path, help="the archive of CIFAR-10")
    parser.add_argument("--only", action="append", default=[], help="data/network/method, * is any")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--search", action="store_true", help="also search by hand, with seed 0")
    parser.add_argument("--lines", type=Path, default=RESULTS / "defaults.jsonl")
    parser.add_argument("--table", type=Path, default=RESULTS / "defaults.md")
    given = parser.parse_args(arguments)
    done = {key(line) for line in lines(given.lines)}
    data: dict[str, Dataset] = {}
    for case in cases(given.only, given.seeds, given.search):
        if key(case) in done or (case["data"] == "cifar" and given.cifar is None):
            continue
        name = case["data"]
        if name not in data:
            data = {name: load(name, given.cifar)}
        found = trained(case, data[name])
        with given.lines.open("a") as file:
            file.write(json.dumps(case | found) + "\n")
        print(json.dumps(case | found), flush=True)
    given.table.write_text(table(list(lines(given.lines))))


def load(name: str, cifar: Path | None) -> Dataset:
    """A data set of the matrix by its name."""
    if name == "fashion":
        return subset(read(Path(FASHION)), 6000, 1000)
    if name == "cifar":
        assert cifar is not None
        return subset(read(cifar), 5000, 1000)
    return DRAWN[name]()


def cases(only: Sequence[str], seeds: int, search: bool) -> Iterator[dict[str, Any]]:
    """All trainings of the matrix, the seeds outermost."""
    chosen = [entry.split("/") for entry in only]
    searched: list[Mapping[str, Any] | None] = [None, *(BY_HAND if search else ())]
    for seed, data, network, method, optimizer in product(
        range(seeds), (*DRAWN, "fashion", "cifar"), NETWORKS, METHODS, searched
    ):
        named = (data, network, method)
        if chosen and not any(
            all(w in ("*", n) for w, n in zip(wanted, named, strict=True)) for wanted in chosen
        ):
            continue
        if optimizer is None or seed == 0:
            yield {
                "data": data,
                "network": network,
                "method": method,
                "seed": seed,
                "optimizer": dict(optimizer) if optimizer else "auto",
            }


def key(case: Mapping[str, Any]) -> str:
    """What tells one training from the others."""
    names = ("data", "network", "method", "seed", "optimizer")
    return json.dumps([case[name] for name in names], sort_keys=True)


def lines(path: Path) -> Iterator[dict[str, Any]]:
    """What is done."""
    if path.exists():
        for line in path.read_text().splitlines():
            yield json.loads(line)


def trained(case: Mapping[str, Any], data: Dataset) -> dict[str, Any]:
    """One training: what came out, or why it was refused or failed."""
    network = {"name": case["network"], **NETWORKS[case["network"]]}
    timesteps = {} if data.timesteps is None else {"timesteps": data.timesteps}
    job = JobSpecification.model_validate(
        {
            "network": network,
            "method": {"name": case["method"]},
            "seed": case["seed"],
            "optimizer": case["optimizer"],
            **timesteps,
        }
    )
    try:
        build(job.network, data.sample_shape, data.classes)
    except NetworkError as error:
        return {"ended": "refused", "message": str(error)}
    began = perf_counter()
    numbers = resolve(job, DataFacts(len(data.y_train)))
    told = {"epochs": numbers.epochs, "batch_size": numbers.batch_size}
    with tempfile.TemporaryDirectory() as directory:
        try:
            *_, last = train(job, data, Path(directory), device="cpu")
        except TrainingError as error:
            return {**told, "ended": error.code, "message": str(error), "hint": error.hint}
    assert isinstance(last, Finished)
    summary = last.summary
    return {
        **told,
        "learning_rate": numbers.learning_rate,
        "ended": "succeeded",
        **{name: summary[name] for name in SUMMARY},
        "findings": [finding["code"] for finding in summary["findings"]],
        "seconds": round(perf_counter() - began, 1),
    }


def table(done: Sequence[Mapping[str, Any]]) -> str:
    """Everything that was trained, as Markdown."""
    text = [
        "# Defaults on many kinds of data\n",
        "Median test accuracy over the seeds, all settings left to their defaults; in brackets the "
        "lowest and the highest, and the best of a small search by hand where there was one "
        "(seed 0). An empty cell was not trained yet, `refused` means that the network does not "
        "take such images. `python -m benchmarks.training.defaults`, which goes on from "
        "`defaults.jsonl`; on several machines, the last one " + _place() + "\n",
    ]
    of: dict[tuple[str, str, str], list[Mapping[str, Any]]] = {}
    for line in done:
        of.setdefault((line["data"], line["network"], line["method"]), []).append(line)
    for data in dict.fromkeys(name for name, _, _ in of):
        rows = {k: v for k, v in of.items() if k[0] == data}
        first = next((x for v in rows.values() for x in v if x["ended"] == "succeeded"), None)
        text.append(f"## {data}\n")
        if first:
            linear = first["linear_accuracy"]
            text.append(
                f"Most frequent class {first['most_frequent_accuracy']:.1%}, linear classifier "
                f"{'none' if linear is None else f'{linear:.1%}'}; {first['epochs']} epochs, "
                f"batch {first['batch_size']}.\n"
            )
        text.append(
            "| network | " + " | ".join(METHODS) + " |\n|---" * 1 + "|---" * len(METHODS) + "|"
        )
        for network in NETWORKS:
            cells = [_cell(rows.get((data, network, method), [])) for method in METHODS]
            text.append(f"| {network} | " + " | ".join(cells) + " |")
        text.append("")
    text.append(_summary(done))
    return "\n".join(text) + "\n"


def _place() -> str:
    of = machine(torch.device("cpu"))
    return f"{of['processor']}, {of['threads']} thread(s), load {of['load']}."


def _cell(found: Sequence[Mapping[str, Any]]) -> str:
    defaults = [line for line in found if line["optimizer"] == "auto"]
    ends = {line["ended"] for line in defaults}
    if not defaults:
        return ""
    if ends != {"succeeded"}:
        return ", ".join(sorted(ends))
    values = [100 * line["test_accuracy"] for line in defaults]
    cell = f"{statistics.median(values):.1f}"
    if len(values) > 1:
        cell += f" ({min(values):.1f}–{max(values):.1f})"
    searched = [line for line in found if line["optimizer"] != "auto" and "test_accuracy" in line]
    if searched:
        cell += f" / {100 * max(line['test_accuracy'] for line in searched):.1f}"
    codes = sorted({code for line in defaults for code in line["findings"]})
    return cell + (f" [{', '.join(codes)}]" if codes else "")


def _summary(done: Sequence[Mapping[str, Any]]) -> str:
    defaults = [line for line in done if line["optimizer"] == "auto"]
    ends = {
        end: sum(line["ended"] == end for line in defaults)
        for end in sorted({line["ended"] for line in defaults})
    }
    said = ", ".join(f"{count} {end}" for end, count in ends.items())
    found = sum(bool(line.get("findings")) for line in defaults)
    cells = {(line["data"], line["network"], line["method"]) for line in defaults}
    whole = len(list(cases([], 1, False)))
    return (
        f"{len(defaults)} trainings by default, in {len(cells)} of {whole} cells: {said}; {found} "
        "of them with a finding."
    )


if __name__ == "__main__":
    main()
