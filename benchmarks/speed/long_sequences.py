"""Time and memory of an iteration on long series: `python -m benchmarks.speed.long_sequences`.

Two layers of 256 neurons on 64 channels, feed-forward and recurrent in each layer, batch 32, cross
entropy, no optimizer step: SAF-E, SAF-F, OTTT_A and BPTT of the library beside BPTT of SpikingJelly
and of snnTorch (where they are installed), which take the loss of the mean output. All contenders
take turns in every round; the table is written to `benchmarks/results/long-sequences.md`.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from benchmarks import RESULTS
from benchmarks.machine import machine
from benchmarks.measure import Run, interleaved, peak_bytes, ratio
from saf.config import METHODS, Neuron
from saf.model.batch import Batch
from saf.model.network import SpikingNetwork
from saf.networks.architecture import (
    INPUT,
    Architecture,
    Connection,
    LayerDescription,
    Linear,
)
from saf.training.hardware.malloc import keep_freed_memory

CHANNELS, WIDTH, CLASSES, SAMPLES = 64, 256, 10, 32
STEPS = (25, 100, 400, 1000)
METHODS_OF_OURS = {"SAF-E": "saf-e", "SAF-F": "saf-f", "OTTT_A": "ottt-a", "BPTT": "bptt"}
BASELINE = "BPTT"
RESULT = RESULTS / "long-sequences.md"


def network(*, recurrent: bool) -> SpikingNetwork:
    """The network of the library, with weights by which it fires."""

    def layer(number: int, source: str) -> LayerDescription:
        name = f"layer{number}"
        sources = [source, *([name] if recurrent else [])]
        return LayerDescription(
            name=name,
            connections=tuple(
                Connection(source=each, operations=(Linear(out_features=WIDTH),))
                for each in sources
            ),
        )

    found = SpikingNetwork(
        Architecture(
            input_shape=(CHANNELS,),
            layers=(layer(1, INPUT), layer(2, "layer1")),
            readout=LayerDescription(
                name="readout",
                connections=(
                    Connection(source="layer2", operations=(Linear(out_features=CLASSES),)),
                ),
            ),
        ),
        Neuron(decay=0.9),
        mean=[0.0] * CHANNELS,
        std=[1.0] * CHANNELS,
        seed=0,
    )
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in found.parameters():
            if parameter.dim() > 1:
                parameter.normal_(0.0, 1.0 / parameter.shape[1] ** 0.5, generator=generator)
    return found


def data(timesteps: int) -> tuple[Tensor, Tensor]:
    """Series, B T C, and labels."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(SAMPLES, timesteps, CHANNELS, generator=generator)
    return x, torch.randint(CLASSES, (SAMPLES,), generator=generator)


def ours(timesteps: int, *, recurrent: bool) -> dict[str, Run]:
    of, (x, y) = network(recurrent=recurrent), data(timesteps)

    def iteration(method: str) -> Run:
        rule = METHODS[method]().rule()

        def run() -> None:
            of.zero_grad(set_to_none=True)
            given = {"loss": F.cross_entropy, "update": lambda: None}
            rule(of, Batch(x=x, y=y, timesteps=timesteps, **given))  # type: ignore[arg-type]

        return run

    return {label: iteration(name) for label, name in METHODS_OF_OURS.items()}


def _backward(step: Callable[[Tensor], Tensor], x: Tensor, y: Tensor) -> None:
    """Forward step by step, and backward through all of it."""
    total = torch.stack([step(now) for now in x.transpose(0, 1)]).mean(0)
    F.cross_entropy(total, y).backward()


def spikingjelly(timesteps: int, *, recurrent: bool) -> dict[str, Run]:
    if importlib.util.find_spec("spikingjelly") is None:
        return {}
    from spikingjelly.activation_based import functional, layer, neuron, surrogate

    settings: dict[str, Any] = {
        "tau": 10.0,  # λ = 1 − 1/τ
        "decay_input": False,
        "v_threshold": 1.0,
        "v_reset": None,
        "surrogate_function": surrogate.Sigmoid(alpha=4.0),
        "detach_reset": True,
    }
    x, y = data(timesteps)
    if recurrent:

        def hidden(inputs: int) -> nn.Module:
            node = neuron.LIFNode(**settings)
            own = layer.LinearRecurrentContainer(node, WIDTH, WIDTH)
            return nn.Sequential(nn.Linear(inputs, WIDTH), own)

        of: nn.Module = nn.Sequential(hidden(CHANNELS), hidden(WIDTH), nn.Linear(WIDTH, CLASSES))

        def run() -> None:
            functional.reset_net(of)
            of.zero_grad(set_to_none=True)
            _backward(of, x, y)

    else:
        of = nn.Sequential(
            layer.Linear(CHANNELS, WIDTH),
            neuron.LIFNode(**settings),
            layer.Linear(WIDTH, WIDTH),
            neuron.LIFNode(**settings),
            layer.Linear(WIDTH, CLASSES),
        )
        functional.set_step_mode(of, "m")

        def run() -> None:
            functional.reset_net(of)
            of.zero_grad(set_to_none=True)
            F.cross_entropy(of(x.transpose(0, 1)).mean(0), y).backward()

    return {"SpikingJelly BPTT": run}


def snntorch(timesteps: int, *, recurrent: bool) -> dict[str, Run]:
    if importlib.util.find_spec("snntorch") is None:
        return {}
    import snntorch as snn

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            kind = snn.RLeaky if recurrent else snn.Leaky
            more = {"linear_features": WIDTH} if recurrent else {}
            self.first, self.second = nn.Linear(CHANNELS, WIDTH), nn.Linear(WIDTH, WIDTH)
            self.one, self.two = (
                kind(beta=0.9, init_hidden=True, reset_mechanism="subtract", **more)
                for _ in range(2)
            )
            self.last = nn.Linear(WIDTH, CLASSES)

        def forward(self, x: Tensor) -> Tensor:
            last: Tensor = self.last(self.two(self.second(self.one(self.first(x)))))
            return last

    of, (x, y) = Net(), data(timesteps)

    def run() -> None:
        for neurons in (of.one, of.two):
            neurons.reset_hidden() if hasattr(neurons, "reset_hidden") else neurons.reset_mem()
        of.zero_grad(set_to_none=True)
        _backward(of, x, y)

    return {"snnTorch BPTT": run}


def measured(timesteps: int, rounds: int, *, recurrent: bool) -> list[str]:
    """The rows of one length."""
    device = torch.device("cpu")
    contenders = {
        **ours(timesteps, recurrent=recurrent),
        **spikingjelly(timesteps, recurrent=recurrent),
        **snntorch(timesteps, recurrent=recurrent),
    }
    times = interleaved(contenders, rounds=rounds, seconds=300.0, device=device)
    peaks = {name: peak_bytes(run, device) for name, run in contenders.items()}
    what = "recurrent" if recurrent else "feed-forward"
    return [
        f"| {what} | {timesteps} | {name} | {median(times[name]):.3f} | "
        f"{ratio(times[name], times[BASELINE]):.2f} | {peaks[name] / 1e6:.1f} | "
        f"{peaks[name] / peaks[BASELINE]:.3f} |"
        for name in contenders
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line, measure, write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, nargs="+", default=STEPS)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=RESULT)
    given = parser.parse_args(arguments)
    keep_freed_memory()
    where = machine(torch.device("cpu"))
    lines = [
        "# Long sequences",
        "",
        f"`python -m benchmarks.speed.long_sequences` on {where['cores']} cores "
        f"({where['processor']}), load {os.getloadavg()[0]:.0f}, torch {torch.__version__}. "
        f"{WIDTH} neurons in each of two layers, {CHANNELS} channels, batch {SAMPLES}, "
        "λ = 0.9. Seconds are medians, ratios "
        f"to our {BASELINE} medians of the ratios within a round; memory is the largest sum of "
        "tensors in an iteration.",
        "",
        "| network | T | method | seconds | ratio | memory, MB | ratio |",
        "|---|---|---|---|---|---|---|",
    ]
    for recurrent in (False, True):
        for timesteps in given.steps:
            rows = measured(timesteps, given.rounds, recurrent=recurrent)
            print("\n".join(rows), flush=True)
            lines += rows
    given.out.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
