"""Tables 1 and 2 of the SAF paper with our code: `python -m benchmarks.training.paper ARCHIVE`.

Trains SAF-E, SAF-F, OTTT_A and OTTT_O on one data set with the published settings, the same data
and seeds for each, and writes accuracy, time, memory, firing rate and what the conversion to LIF
neurons changed to `benchmarks/results`, beside the published figures. What is done is kept: the
same command goes on where it was interrupted. `--reduced` is a small version for CPUs, of part of
the images, a narrow network and few epochs: it shows that the script works, and says so.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks import RESULTS
from benchmarks.machine import machine
from benchmarks.measure import peak_bytes
from saf.config import JobSpecification
from saf.data import Dataset, read
from saf.kernels import native, winograd
from saf.model.batch import Batch
from saf.model.network import SpikingNetwork
from saf.networks.build import build
from saf.training.batches import Samples
from saf.training.events import Finished, Started, Step
from saf.training.hardware.malloc import keep_freed_memory
from saf.training.loop import train
from saf.training.optimisation.loss import loss_function

METHODS = ("saf-e", "saf-f", "ottt-a", "ottt-o")
PUBLISHED: Mapping[str, Any] = {
    "timesteps": 6,
    "epochs": 300,
    "batch_size": 128,
    "neuron": {"decay": 0.5, "threshold": 1.0, "surrogate": {"name": "sigmoid", "slope": 4.0}},
    "optimizer": {"name": "sgd", "learning_rate": 0.1, "momentum": 0.9, "weight_decay": 0.0},
    "schedule": {"name": "cosine"},
    "max_gradient_norm": None,
    "validation_share": 0.0,  # all training images; the last weights are what is tested
    "conversion": {"weights": "last"},
    "loss": {"mse_share": 0.05},
    "augment": ["crop", "cutout", "flip"],
}
REDUCED: Mapping[str, Any] = {"epochs": 6, "batch_size": 64, "augment": ["crop", "flip"]}
REDUCED_WIDTH, REDUCED_PER_CLASS = 0.25, (200, 50)
THEIRS = {  # SAF, arXiv 2310.02772, tables 1 and 2: CIFAR-10, T = 6
    "saf-e": ("93.54", "0.468", "1.184"),
    "saf-f": ("", "0.247", "1.157"),
    "ottt-a": ("", "0.661", "1.656"),
    "ottt-o": ("93.44", "0.666", "1.656"),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line, train what is left to train, write."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.training.paper", description=__doc__
    )
    parser.add_argument("data", type=Path, help="CIFAR-10: the archive of it, or of its images")
    parser.add_argument("--reduced", action="store_true", help="the small version for CPUs")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS)
    parser.add_argument("--seeds", type=int, nargs="+", default=(0, 1, 2))
    parser.add_argument("--epochs", type=int, help="instead of 300 (reduced: 6)")
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument(
        "--timesteps-at-once",
        type=int,
        help="K of SAF-E and SAF-F: measured unless told; 1 takes the least memory",
    )
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--work", type=Path, default=Path("data/paper"), help="for checkpoints")
    parser.add_argument("--out", type=Path, default=RESULTS)
    chosen = parser.parse_args(arguments)
    keep_freed_memory()
    name = f"paper-{chosen.device}{'-reduced' if chosen.reduced else ''}"
    path = chosen.out / f"{name}.json"
    results: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {"runs": {}}
    # Runs recorded before all of these figures were taken are trained again.
    complete = {k: v for k, v in results["runs"].items() if "least_peak_bytes" in v}
    results |= {
        "runs": complete,
        "machine": machine(torch.device(chosen.device)),
        "reduced": chosen.reduced,
    }
    dataset = read(chosen.data)
    if chosen.reduced:
        dataset = part_of(dataset, *REDUCED_PER_CLASS)
    for seed in chosen.seeds:
        for method in chosen.methods:
            specification = specified(method, seed, chosen)
            key = json.dumps(specification.model_dump(mode="json"), sort_keys=True)
            if results["runs"].get(f"{method} {seed}", {}).get("key") == key:
                continue
            k = specification.timesteps_at_once
            work = chosen.work / f"{name}-{method}-{seed}{'' if k is None else f'-k{k}'}"
            found = run(specification, dataset, work, torch.device(chosen.device))
            results["runs"][f"{method} {seed}"] = {"method": method, "key": key, **found}
            write(results, path)
    print(path.with_suffix(".md").read_text())


def specified(method: str, seed: int, chosen: argparse.Namespace) -> JobSpecification:
    """The published settings, or the reduced ones."""
    values = {**PUBLISHED, **(REDUCED if chosen.reduced else {})}
    if chosen.epochs is not None:
        values["epochs"] = chosen.epochs
    if method.startswith("saf"):
        values["timesteps_at_once"] = chosen.timesteps_at_once
    return JobSpecification.model_validate(
        values
        | {
            "name": f"{method}, seed {seed}",
            "dataset": "cifar10",
            "network": {
                "name": "vgg11",
                "width": REDUCED_WIDTH if chosen.reduced else 1.0,
                "gain": 1.0,
            },
            "method": {"name": method},
            "precision": chosen.precision,
            "seed": seed,
        }
    )


def part_of(dataset: Dataset, train_per_class: int, test_per_class: int) -> Dataset:
    """The first images of every class."""

    def first(labels: np.ndarray, count: int) -> np.ndarray:
        places = [np.flatnonzero(labels == one)[:count] for one in range(dataset.classes)]
        return np.sort(np.concatenate(places))

    of_train = first(dataset.y_train, train_per_class)
    of_test = first(dataset.y_test, test_per_class)
    return dataclasses.replace(
        dataset,
        x_train=dataset.x_train[of_train],
        y_train=dataset.y_train[of_train],
        x_test=dataset.x_test[of_test],
        y_test=dataset.y_test[of_test],
    )


def run(
    specification: JobSpecification, dataset: Dataset, work: Path, device: torch.device
) -> dict[str, Any]:
    """Train one network, from its last checkpoint if it has one."""
    work.mkdir(parents=True, exist_ok=True)
    seconds: list[float] = []
    rates: list[float] = []
    summary: dict[str, Any] = {}
    earlier = work / "checkpoints"
    resume_from = earlier if earlier.is_dir() else None
    for report in train(specification, dataset, work, device=device, resume_from=resume_from):
        match report:
            case Started(step=step, steps_total=total):
                print(f"{specification.name}: from {step} of {total} iterations", flush=True)
            case Step(metrics=metrics):
                seconds.append(metrics["step_seconds"])
                rates.append(metrics["firing_rate"])
            case Finished():
                summary = report.summary
    certificate = json.loads((work / "certificate.json").read_text())
    check = certificate["checks"][0]
    at_once = json.loads((work / "report.json").read_text())["timesteps_at_once"]
    return {
        "test_accuracy": summary["test_accuracy"],
        "lif_accuracy": summary["lif_accuracy"],
        "verdict": summary["verdict"],
        "predictions_changed": check["predictions_differing"],
        "samples_compared": check["samples"],
        # Of this start: none where only the conversion was left to do.
        "seconds_per_iteration": statistics.median(seconds[len(seconds) // 10 :] or [math.nan]),
        "firing_rate": statistics.mean(rates[-max(1, len(rates) // 10) :] or [math.nan]),
        "timesteps_at_once": at_once,
        "peak_bytes": iteration_peak(specification, dataset, device, at_once),
        "least_peak_bytes": iteration_peak(specification, dataset, device, 1),
    }


def iteration_peak(
    specification: JobSpecification, dataset: Dataset, device: torch.device, chunk: int | None
) -> int:
    """Tensors that an iteration with K = `chunk` adds to parameters and inputs, exact."""
    architecture = build(specification.network, dataset.sample_shape, dataset.classes)
    mean, deviation = dataset.channel_statistics()
    low = torch.bfloat16 if specification.precision == "bfloat16" else None
    network = SpikingNetwork(
        architecture,
        specification.neuron,
        mean=mean.tolist(),
        std=deviation.tolist(),
        seed=specification.seed,
        compute_dtype=low,
    ).to(device)
    samples = Samples(dataset.x_train, dataset.y_train, device, torch.float32)
    assert specification.batch_size != "auto"
    timesteps = specification.timesteps
    assert timesteps != "auto"
    x, y = samples[torch.arange(specification.batch_size)]

    def iteration() -> None:
        network.zero_grad(set_to_none=True)
        with winograd.allowed(), native.allowed():
            batch = Batch(
                x=x,
                y=y,
                timesteps=timesteps,
                loss=loss_function(specification.loss),
                update=lambda: None,
                chunk=chunk,
            )
            specification.method.rule()(network, batch)

    iteration()
    return peak_bytes(iteration, device)


def write(results: dict[str, Any], path: Path) -> None:
    """The figures as JSON, and as a table."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(results, indent=1) + "\n")
    where = results["machine"]
    title = "# The SAF paper's tables 1 and 2"
    lines = [
        f"{title}: a REDUCED run, not a reproduction" if results["reduced"] else title,
        "",
        *(
            [
                f"VGG-11 of a quarter of the width, {REDUCED_PER_CLASS[0]} training and "
                f"{REDUCED_PER_CLASS[1]} test images of every class, a few epochs: the figures "
                "show that the script works and say nothing about the methods' accuracy.",
                "",
            ]
            if results["reduced"]
            else []
        ),
        "CIFAR-10, VGG-11, T = 6; ours: mean over the seeds (smallest to largest); theirs: SAF, "
        "arXiv 2310.02772, on another GPU. Peak: tensors that an iteration adds; theirs: of the "
        "device. K: steps that SAF takes at once.",
        "",
        f"{where['device']}, {where['processor']}, {where['threads']} threads; "
        + ", ".join(f"{k} {v}" for k, v in where["versions"].items()),
        "",
        f"`{where['command']}`",
        "",
        "| | seeds | test accuracy % | LIF accuracy % | predictions that LIF changed | "
        "K | ms per iteration | peak MB | peak MB with K = 1 | firing rate | "
        "paper: accuracy %, s, GB |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for method in METHODS:
        runs = [one for one in results["runs"].values() if one["method"] == method]
        if not runs:
            continue
        changed = sum(one["predictions_changed"] for one in runs)
        compared = sum(one["samples_compared"] for one in runs)
        lines.append(
            f"| {method} | {len(runs)} | {_spread(runs, 'test_accuracy', 100, 2)} "
            f"| {_spread(runs, 'lif_accuracy', 100, 2)} | {changed} of {compared} "
            f"| {', '.join(sorted({str(one['timesteps_at_once'] or '–') for one in runs}))} "
            f"| {_spread(runs, 'seconds_per_iteration', 1000, 0)} "
            f"| {_spread(runs, 'peak_bytes', 1e-6, 0)} "
            f"| {_spread(runs, 'least_peak_bytes', 1e-6, 0)} "
            f"| {_spread(runs, 'firing_rate', 1, 3)} "
            f"| {', '.join(figure or '–' for figure in THEIRS[method])} |"
        )
    path.with_suffix(".md").write_text("\n".join(lines) + "\n")


def _spread(runs: Sequence[Mapping[str, Any]], name: str, factor: float, digits: int) -> str:
    values = [factor * one[name] for one in runs]
    mean = f"{statistics.mean(values):.{digits}f}"
    if len(values) == 1:
        return mean
    return f"{mean} ({min(values):.{digits}f} to {max(values):.{digits}f})"


if __name__ == "__main__":
    main()
