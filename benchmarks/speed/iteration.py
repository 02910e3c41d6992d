"""Time and memory of one iteration, ours beside others': `python -m benchmarks.speed.iteration`.

Writes `iteration-<device>.json`, `.md` and, where matplotlib is installed, `.svg` to
`benchmarks/results`. See `benchmarks.measure` for how, `benchmarks.speed.contenders` for what.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks import RESULTS
from benchmarks.machine import machine
from benchmarks.measure import interleaved, peak_bytes, ratio
from benchmarks.speed import contenders, spikingjelly_vgg
from benchmarks.speed.contenders import BASELINE, EVALUATION
from saf.kernels.precision import products
from saf.training.hardware.malloc import keep_freed_memory

STEPS, QUICK_STEPS = (2, 4, 6, 8, 16, 32), (2, 6)
GOALS = {  # of the ratio to OTTT as published (inference: to its evaluation), T = 6, two cores
    "SAF-E": 0.45,
    "SAF-F": 0.21,
    "inference": 0.50,
    "LIF network": 0.50,
    "SAF-E bfloat16": 0.24,
    "SAF-F bfloat16": 0.12,
    "inference bfloat16": 0.28,
}
EVALUATIONS = ("inference", "LIF network", "evaluation", "limit of inference")
DRAWN = (BASELINE, "OTTT, one evaluation", "BPTT", "SpikingJelly BPTT", "SpikingJelly OTTT",
         "SAF-E", "SAF-E K=1", "SAF-F", "SAF-E bfloat16", "SAF-F bfloat16")  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line, measure, write."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.speed.iteration", description=__doc__
    )
    parser.add_argument("--quick", action="store_true", help="T = 2 and 6, few rounds")
    parser.add_argument("--steps", type=int, nargs="+", help="time steps T to measure")
    parser.add_argument("--batch", type=int, help="samples (16 on a CPU, 128 on a GPU)")
    parser.add_argument("--rounds", type=int, help="rounds at each T at most")
    parser.add_argument("--seconds", type=float, help="time for the rounds at each T, about")
    parser.add_argument("--only", nargs="+", help="contenders to measure, beside the baselines")
    parser.add_argument("--no-memory", action="store_true", help="measure time alone")
    parser.add_argument(
        "--cpu-time",
        action="store_true",
        help="seconds of all cores that the process used instead of seconds passed: for a machine "
        "that others use at the same time; set OMP_WAIT_POLICY=passive with it",
    )
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--name", help="of the files; iteration-<device> unless told")
    chosen = parser.parse_args(arguments)
    device = torch.device(chosen.device)
    size = chosen.batch or (128 if device.type == "cuda" else 16)
    rounds = chosen.rounds or (3 if chosen.quick else 7)
    seconds = chosen.seconds or (60.0 if chosen.quick else 600.0)
    keep_freed_memory()
    torch.backends.cudnn.benchmark = True
    results: dict[str, Any] = {
        "machine": machine(device),
        "batch": size,
        "clock": "cpu" if chosen.cpu_time else "wall",
        "steps_at_once": {},
        "steps": {},
    }
    name = chosen.name or f"iteration-{device.type}"
    for timesteps in chosen.steps or (QUICK_STEPS if chosen.quick else STEPS):
        with products("tf32"):  # of all contenders alike
            k = contenders.steps_of_saf(size, timesteps, device)
            results["steps_at_once"][str(timesteps)] = k
            results["steps"][str(timesteps)] = _measure(
                chosen, size, timesteps, k, device, rounds, seconds
            )
        print(_table(results, timesteps), flush=True)
        _write(results, chosen.out, name)  # after every T, so that what is cut short is kept


def _measure(
    chosen: argparse.Namespace,
    size: int,
    timesteps: int,
    k: int,
    device: torch.device,
    rounds: int,
    seconds: float,
) -> dict[str, Any]:
    runs = contenders.of_the_library(size, timesteps, device, k)
    runs |= spikingjelly_vgg.contenders(size, timesteps, device)
    runs |= contenders.limits(size, timesteps, device)
    if chosen.only:
        wanted = {BASELINE, EVALUATION, *chosen.only}
        runs = {name: run for name, run in runs.items() if name in wanted}
    clock = time.process_time if chosen.cpu_time else time.perf_counter
    times = interleaved(runs, rounds=rounds, seconds=seconds, device=device, clock=clock)
    found = {}
    for name, values in times.items():
        baseline = EVALUATION if name.startswith(EVALUATIONS) else BASELINE
        found[name] = {
            "milliseconds": [round(1e3 * v, 3) for v in values],
            "minimum": 1e3 * min(values),
            "median": 1e3 * statistics.median(values),
            "ratio": ratio(values, times[baseline]),
            "ratio_of_minima": min(values) / min(times[baseline]),
            "peak_bytes": None,
        }
        if not (chosen.no_memory or name.startswith("limit")):
            found[name]["peak_bytes"] = peak_bytes(runs[name], device)
    return found


def _table(results: dict[str, Any], timesteps: int) -> str:
    rows = [
        f"T = {timesteps}; SAF with K = {results['steps_at_once'][str(timesteps)]}",
        "",
        "| | minimum ms | median ms | ratio | ratio of minima | goal | peak MB |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, one in results["steps"][str(timesteps)].items():
        goal = f"{GOALS[name]:.2f}" if timesteps == 6 and name in GOALS else ""
        peak = "" if one["peak_bytes"] is None else f"{one['peak_bytes'] / 1e6:.1f}"
        rows.append(
            f"| {name} | {one['minimum']:.1f} | {one['median']:.1f} | {one['ratio']:.3f} "
            f"| {one['ratio_of_minima']:.3f} | {goal} | {peak} |"
        )
    return "\n".join(rows) + "\n"


def _write(results: dict[str, Any], folder: Path, name: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(results, indent=1) + "\n")
    where = results["machine"]
    lines = [
        "# Time and memory of one iteration",
        "",
        f"VGG-11, 3 × 32 × 32, batch {results['batch']}, one forward and backward pass without an "
        "optimizer step, float32 where not said otherwise (products of it on a GPU in TF32, for "
        "all). All contenders take turns in every round. `ratio` is the median over the rounds of "
        "the ratio to *OTTT as published* in the same round (evaluations: to *evaluation as "
        "published*). Peak: tensors beyond parameters and inputs, exact. *Limits* are the "
        "convolutions alone, channels last. SAF takes the K steps at once that stand above "
        "each table unless K is given.",
        "",
        "Time is "
        + (
            "the CPU time of the process, all cores together."
            if results["clock"] == "cpu"
            else "wall clock."
        ),
        "",
        f"{where['device']}, {where['processor']}, {where['cores']} cores, {where['threads']} "
        f"threads, {where['system']}, load {where['load']} at the start; "
        + ", ".join(f"{k} {v}" for k, v in where["versions"].items())
        + ".",
        "",
        f"`{where['command']}`",
        "",
    ]
    lines += [_table(results, int(t)) for t in results["steps"]]
    (folder / f"{name}.md").write_text("\n".join(lines))
    _draw(results, folder / f"{name}.svg")


def _draw(results: dict[str, Any], path: Path) -> None:
    """Time and memory over T; nothing where matplotlib is not installed."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return
    figure = Figure(figsize=(11, 4.5), layout="constrained")
    of_time, of_memory = figure.subplots(1, 2)
    for name in DRAWN:
        points = [(int(t), one[name]) for t, one in results["steps"].items() if name in one]
        if not points:
            continue
        steps = [t for t, _ in points]
        of_time.plot(steps, [one["median"] for _, one in points], marker="o", label=name)
        kept = [(t, one["peak_bytes"] / 1e6) for t, one in points if one["peak_bytes"]]
        if kept:
            of_memory.plot(*zip(*kept, strict=True), marker="o", label=name)
    for axes, label in ((of_time, "ms per iteration (median)"), (of_memory, "peak MB of tensors")):
        axes.set(xlabel="time steps T", ylabel=label, xscale="log", yscale="log")
        axes.set_xticks([int(t) for t in results["steps"]], labels=list(results["steps"]))
        axes.set_xticks([], minor=True)
        axes.grid(alpha=0.3)
    (of_memory if of_memory.lines else of_time).legend(fontsize=7)
    figure.savefig(path)


if __name__ == "__main__":
    main()
