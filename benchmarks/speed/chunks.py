"""How many time steps SAF should take at once: `python -m benchmarks.speed.chunks`.

Measures what `saf.estimate.chunking.steps_at_once` rests on: time and exact peak memory of an
iteration of SAF-E on VGG-11 for chunks of K steps, at several batch sizes. Writes
`chunks-<device>.json` and `.md` to `benchmarks/results`.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812

from benchmarks import RESULTS
from benchmarks.machine import machine
from benchmarks.measure import interleaved, peak_bytes, ratio
from benchmarks.speed import contenders
from saf.estimate.chunking import steps_at_once
from saf.kernels import inductor_scan, native, winograd
from saf.kernels.saf_scan import by as scan_by
from saf.methods.saf import SafE
from saf.model.batch import Batch
from saf.model.network import SpikingNetwork
from saf.training.hardware.malloc import keep_freed_memory

TIMESTEPS = 8
CHUNKS = (1, 2, 4, 8)


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line, measure, write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed.chunks", description=__doc__)
    parser.add_argument("--batches", type=int, nargs="+", default=[4, 16, 64, 128])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=90.0, help="for each batch size, about")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--out", type=Path, default=RESULTS)
    chosen = parser.parse_args(arguments)
    device = torch.device(chosen.device)
    keep_freed_memory()
    network = contenders.network(device)
    found: dict[str, Any] = {"machine": machine(device), "timesteps": TIMESTEPS, "batches": {}}
    for size in chosen.batches:
        runs = {str(k): partial(_iteration, network, size, k, device) for k in CHUNKS}
        times = interleaved(runs, rounds=chosen.rounds, seconds=chosen.seconds, device=device)
        found["batches"][str(size)] = {
            k: {
                "median": 1e3 * statistics.median(values),
                "ratio": ratio(values, times["1"]),
                "peak_bytes": peak_bytes(runs[k], device),
            }
            for k, values in times.items()
        }
        print(size, found["batches"][str(size)], flush=True)
        _write(found, chosen.out, f"chunks-{device.type}")


def _iteration(network: SpikingNetwork, size: int, chunk: int, device: torch.device) -> None:
    network.zero_grad(set_to_none=True)
    x, y = contenders.batch(size, device)
    with winograd.allowed(), native.allowed(), scan_by(inductor_scan.scan):
        batch = Batch(
            x=x,
            y=y,
            timesteps=TIMESTEPS,
            loss=F.cross_entropy,
            update=lambda: None,
            chunk=chunk,
        )
        SafE().rule()(network, batch)


def _write(found: dict[str, Any], folder: Path, name: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(found, indent=1) + "\n")
    where = found["machine"]
    lines = [
        "# Time steps at once",
        "",
        f"SAF-E on VGG-11, 3 × 32 × 32, T = {TIMESTEPS}, float32, an iteration with no optimizer "
        "step, in turns. `ratio` is the median over the rounds of the ratio to K = 1. Bold: what "
        "`saf.estimate.chunking.steps_at_once` takes.",
        "",
        f"{where['device']}, {where['processor']}, {where['cores']} cores, {where['threads']} "
        f"threads, {where['system']}, load {where['load']} at the start.",
        "",
        f"`{where['command']}`",
        "",
        "| batch | K | median ms | ratio | peak MB |",
        "|---|---|---|---|---|",
    ]
    for size, of_size in found["batches"].items():
        taken = str(steps_at_once(int(size), TIMESTEPS))
        for k, one in of_size.items():
            mark = "**" if k == taken else ""
            lines.append(
                f"| {size} | {mark}{k}{mark} | {one['median']:.0f} | {one['ratio']:.2f} "
                f"| {one['peak_bytes'] / 1e6:.0f} |"
            )
    (folder / f"{name}.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
