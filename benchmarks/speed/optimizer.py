"""AdamW's step on the CPU by one kernel: `python -m benchmarks.speed.optimizer`.

A step of the optimizer that trainings use (`saf.training.optimisation.optimizers`, fused on the
CPU) beside torch's AdamW as it is by default, in turns, on networks for 3 × 32 × 32 images. Writes
`optimizer-cpu.md` to `benchmarks/results`.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks import RESULTS
from benchmarks.machine import machine
from benchmarks.measure import interleaved, ratio
from benchmarks.training.defaults import NETWORKS
from saf.config import AdamW, JobSpecification
from saf.model.network import network_of
from saf.networks.build import build
from saf.training.optimisation.optimizers import optimizer_of

RATE = 1e-4


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line, measure, write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed.optimizer")
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--out", type=Path, default=RESULTS)
    chosen = parser.parse_args(arguments)
    cpu = torch.device("cpu")
    of = machine(cpu)
    text = [
        "# AdamW's step on the CPU\n",
        "Fused, as trainings use it, beside torch's default, in turns; median milliseconds of a "
        "step, and the median over the rounds of the ratio within a round. "
        "`python -m benchmarks.speed.optimizer`; "
        f"{of['processor']}, {of['threads']} thread(s), load {of['load']:.1f}.\n",
        "| network | parameters | tensors | default | fused | ratio |",
        "|---|---|---|---|---|---|",
    ]
    for name, settings in NETWORKS.items():
        parameters = _parameters(name, settings)
        ours = optimizer_of(AdamW(learning_rate=RATE), parameters)
        theirs = torch.optim.AdamW(_copies(parameters), lr=RATE)
        runs = {"fused": ours.step, "default": theirs.step}
        times = interleaved(runs, rounds=chosen.rounds, seconds=60.0, device=cpu)
        count = sum(own.numel() for own in parameters.values())
        fused, default = (1e3 * statistics.median(times[which]) for which in ("fused", "default"))
        text.append(
            f"| {name} | {count:,} | {len(parameters)} | {default:.2f} | {fused:.2f} | "
            f"{ratio(times['fused'], times['default']):.2f} |"
        )
        print(text[-1], flush=True)
    chosen.out.mkdir(parents=True, exist_ok=True)
    (chosen.out / "optimizer-cpu.md").write_text("\n".join(text) + "\n")


def _parameters(name: str, settings: Mapping[str, Any]) -> dict[str, torch.nn.Parameter]:
    """The parameters of a network, with gradients."""
    job = JobSpecification.model_validate({"network": {"name": name, **settings}})
    architecture = build(job.network, (3, 32, 32), 10)
    network = network_of(job, architecture, mean=[0.5] * 3, std=[0.3] * 3)
    found = dict(network.named_parameters())
    for own in found.values():
        own.grad = torch.randn_like(own)
    return found


def _copies(parameters: dict[str, torch.nn.Parameter]) -> list[torch.nn.Parameter]:
    copies = []
    for own in parameters.values():
        copy = torch.nn.Parameter(own.detach().clone())
        copy.grad = own.grad
        copies.append(copy)
    return copies


if __name__ == "__main__":
    main()
