"""Networks elsewhere: `python -m benchmarks.lif.exports [--samples 100] [--targets …]`.

Trains small networks for a few epochs, exports each to every target, replays it there on held-out
samples, and writes the verdicts, with the versions of the readers, to `results/exports.md` and
`.json`. `scripts/readers` makes the environments with the readers of NIR, `SAF_READERS` names them.
With `--targets` or `--networks`, what is known of all others stays.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from benchmarks import RESULTS
from benchmarks.data.drawn import bars, shapes
from benchmarks.machine import machine
from saf.config import JobSpecification
from saf.config.targets import TARGETS, CannotExportError, target_of, unfit_for
from saf.data import Dataset, digits
from saf.lif.certificate import spread
from saf.lif.exporting import export
from saf.lif.network import LIFNetwork, load_lif
from saf.networks.outline import outline_of
from saf.training.loop import train

GRID: Mapping[str, Any] = {"grid_bits": "auto"}
CONVNET = {"name": "convnet", "channels": [16, 32]}
RESNET = {"name": "resnet18", "width": 0.125}
MLP = {"name": "mlp", "features": [64, 32]}
NETWORKS: Mapping[str, tuple[Callable[[], Dataset], dict[str, Any]]] = {
    "digits, convnet, grid_bits auto": (digits, {"network": CONVNET, "conversion": GRID}),
    "digits, convnet": (digits, {"network": CONVNET}),
    "digits, convnet, λ = 0.8": (digits, {"network": CONVNET, "neuron": {"decay": 0.8}}),
    "28 × 28 shapes, convnet, grid_bits auto": (
        lambda: shapes(side=(28, 28)),
        {"network": CONVNET, "conversion": GRID},
    ),
    "digits, mlp, grid_bits auto": (digits, {"network": MLP, "conversion": GRID}),
    "digits, ResNet-18, grid_bits auto": (digits, {"network": RESNET, "conversion": GRID}),
    "digits, ResNet-18": (digits, {"network": RESNET}),
    "event frames, convnet, grid_bits auto": (bars, {"network": CONVNET, "conversion": GRID}),
}


def trained(data: Dataset, settings: Mapping[str, Any], epochs: int) -> LIFNetwork:
    """A network of a short training."""
    timesteps = len(data.x_test[0]) if data.x_test.ndim == 5 else 6
    job = JobSpecification.model_validate({"epochs": epochs, "timesteps": timesteps, **settings})
    with tempfile.TemporaryDirectory() as folder:
        for _ in train(job, data, Path(folder), device="cpu"):
            pass
        return load_lif(Path(folder) / "lif.safetensors")


def carried(network: LIFNetwork, target: str, data: Dataset, samples: int) -> dict[str, Any]:
    """What became of a network at a target."""
    rows = spread(len(data.y_test), samples).numpy()
    with tempfile.TemporaryDirectory() as folder:
        try:
            done = export(
                network,
                target,
                folder,
                data.x_test[rows],
                data.y_test[rows],
                unit=data.unit,
                batch_size=samples,
            )
        except CannotExportError as error:
            return {"verdict": "cannot", "why": str(error.obstacles[0])}
    found = done.certificate
    kept = ("spikes_compared", "spikes_differing", "predictions_differing", "samples", "reader")
    if TARGETS[target].is_check:
        facts = found["facts"]
        unkept = sorted({each["what"] for each in facts["limits"] if not each["fits"]})
        return {"verdict": "fits" if facts["fits"] else f"no: {', '.join(unkept)}"}
    return {"verdict": done.verdict, **{key: found.get(key) for key in kept}}


def cell(found: Mapping[str, Any]) -> str:
    """One cell of the table."""
    if found["verdict"] in ("equivalent", "differs"):
        share = found["spikes_differing"] / max(1, found["spikes_compared"])
        return f"{found['verdict']} ({share:.1e} of the spikes)"
    return str(found["verdict"]).replace("_", " ")


def table(found: Mapping[str, Mapping[str, Mapping[str, Any]]], grids: Mapping[str, bool]) -> str:
    """Targets against networks, in Markdown."""
    names = [name for name in NETWORKS if name in found]
    lines = [f"| target | {' | '.join(names)} |", "|---|" + "---|" * len(names)]
    lines.append(
        f"| *on a grid* | {' | '.join('yes' if grids[name] else 'no' for name in names)} |"
    )
    for target in TARGETS.names():
        cells = (cell(found[name].get(target, {"verdict": "not measured"})) for name in names)
        lines.append(f"| `{target}` | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Measure, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=100)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--targets", nargs="+", choices=TARGETS.names(), default=TARGETS.names())
    parser.add_argument("--networks", nargs="+", choices=[*NETWORKS], default=[*NETWORKS])
    options = parser.parse_args()
    found: dict[str, dict[str, Any]] = {}
    readers: dict[str, str] = {}
    grids: dict[str, bool] = {}
    if (options.targets, options.networks) != (TARGETS.names(), [*NETWORKS]):
        known = json.loads((RESULTS / "exports.json").read_text())
        found, readers, grids = known["found"], known["readers"], known["on_a_grid"]
    for name in options.networks:
        make, settings = NETWORKS[name]
        data = make()
        network = trained(data, settings, options.epochs)
        found.setdefault(name, {})
        grids[name] = network.description.grid is not None
        for target in options.targets:
            one = carried(network, target, data, options.samples)
            found[name][target] = one
            readers |= one.get("reader") or {}
            print(name, target, cell(one), flush=True)
            assert one["verdict"] != "cannot" or unfit_for(
                target_of(target), outline_of(network.description)
            ), "the service would have taken an order that fails"
    where = machine(torch.device("cpu"))
    versions = ", ".join(f"{each} {readers[each]}" for each in sorted(readers))
    text = f"""# Networks elsewhere

`{where["command"]}` on {where["processor"]}. {options.epochs} epochs each, T = 6 (event frames 10),
at most {options.samples} held-out samples, every spike of every layer at every step compared.
Readers: {versions}.

{table(found, grids)}
"""
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "exports.md").write_text(text)
    (RESULTS / "exports.json").write_text(
        json.dumps(
            {"machine": where, "readers": readers, "on_a_grid": grids, "found": found}, indent=1
        )
    )


if __name__ == "__main__":
    main()
