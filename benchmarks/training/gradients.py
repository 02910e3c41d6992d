"""What online gradients leave out, against BPTT: `python -m benchmarks.training.gradients`.

Sines of three frequencies in two channels at 24 time steps; networks of two layers of 64 neurons,
at their first weights and after a few epochs of SAF-E: the cosine of the gradients of all samples
by SAF-E and by BPTT, over all parameters and over those of the first layer. Means of five seeds;
the table is written to `benchmarks/results/gradients.md`.
"""

from __future__ import annotations

from collections.abc import Mapping
from statistics import mean
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from benchmarks import RESULTS
from saf.config import METHODS, AdamW, JobSpecification
from saf.model.batch import Batch
from saf.model.network import SpikingNetwork, network_of
from saf.networks.build import build_for
from saf.training.first_pass import fit_gains
from saf.training.optimisation.optimizers import optimizer_of

STEPS, SAMPLES, CLASSES, EPOCHS, SEEDS = 24, 60, 3, 3, 5
FEATURES = [64, 64]
NETWORKS: Mapping[str, Mapping[str, Any]] = {
    "`mlp`": {"name": "mlp", "features": FEATURES},
    "`delay`": {"name": "delay", "features": FEATURES},
    "`delay`, `learned`": {"name": "delay", "features": FEATURES, "learned": True},
    "`rnn`": {"name": "rnn", "features": FEATURES},
}
DECAYS = (0.5, 0.9)
RESULT = RESULTS / "gradients.md"
HEAD = """# Gradients of SAF-E and BPTT

`python -m benchmarks.training.gradients` on sines of three frequencies, two channels, T = 24; two
layers of 64 neurons, means of five seeds: cosines of the gradients by SAF-E (those of OTTT_A) with
`trace_bias_and_input` and by BPTT, at the first weights and after three epochs of SAF-E.

| network | λ | first weights: all | first layer | after three epochs: all | first layer |
|---|---|---|---|---|---|
"""


def main() -> None:
    """Measure all networks, write the table."""
    torch.set_num_threads(1)
    rows = []
    for label, network in NETWORKS.items():
        for decay in DECAYS:
            found = [measured(network, decay, seed) for seed in range(SEEDS)]
            numbers = " | ".join(f"{mean(each):.2f}" for each in zip(*found, strict=True))
            rows.append(f"| {label} | {decay} | {numbers} |")
            print(rows[-1], flush=True)
    RESULT.write_text(HEAD + "\n".join(rows) + "\n")


def waves(seed: int) -> tuple[Tensor, Tensor]:
    """Series, B T C 1 1, and labels."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(SAMPLES) % CLASSES
    angle = torch.arange(STEPS)[None, :, None] * (0.2 + 0.2 * y[:, None, None])
    x = torch.sin(angle + torch.rand((SAMPLES, 1, 2), generator=generator))
    return x[..., None, None], y


def measured(network: Mapping[str, Any], decay: float, seed: int) -> tuple[float, ...]:
    """`compared` at the first weights, and after the training."""
    job = JobSpecification.model_validate(
        {"network": network, "neuron": {"decay": decay}, "seed": seed}
    )
    architecture = build_for(job, (2, 1, 1), CLASSES, in_time=True)
    x, y = waves(seed)
    of = network_of(job, architecture, mean=[0.0] * 2, std=[0.7] * 2)
    fit_gains(of, x, STEPS)
    order = torch.Generator().manual_seed(seed)
    optimizer = optimizer_of(AdamW(learning_rate=0.002), dict(of.named_parameters()))
    before = compared(of, x, y)
    for _ in range(EPOCHS):
        for rows in torch.randperm(SAMPLES, generator=order).split(10):
            gradients(of, "saf-e", x[rows], y[rows])
            optimizer.step()
    return (*before, *compared(of, x, y))


def compared(of: SpikingNetwork, x: Tensor, y: Tensor) -> tuple[float, float]:
    """Cosine of the gradients by SAF-E and by BPTT: of all parameters, and of the first layer."""
    online, through_time = (gradients(of, method, x, y) for method in ("saf-e", "bptt"))

    def cosine(prefix: str) -> float:
        names = [name for name in online if name.startswith(prefix)]
        ours, theirs = (
            torch.cat([each[name].flatten() for name in names]) for each in (online, through_time)
        )
        return float(F.cosine_similarity(ours, theirs, dim=0))

    return cosine(""), cosine("layer1.")


def gradients(of: SpikingNetwork, method: str, x: Tensor, y: Tensor) -> dict[str, Tensor]:
    """Gradient of each parameter, which stays in `.grad`."""
    of.zero_grad()
    settings = {"trace_bias_and_input": True} if method == "saf-e" else {}
    rule = METHODS[method].model_validate({"name": method, **settings}).rule()
    rule(of, Batch(x=x, y=y, timesteps=STEPS, loss=F.cross_entropy, update=lambda: None))
    return {
        name: torch.zeros_like(p) if p.grad is None else p.grad.clone()
        for name, p in of.named_parameters()
    }


if __name__ == "__main__":
    main()
