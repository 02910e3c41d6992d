"""How a conversion was checked, and what came out: `certificate.json`.

The trained network fires by spike accumulation (SAF), the converted one by the LIF recursion.
Over the reals the spikes are the same; in floating point a potential within rounding of the
threshold may fall on the other side. So both are run on held-out samples, step by step, and
compared spike by spike, in float32 and in float64. On a grid the spikes can be proven to be the
same, see `docs/proof.md`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from math import ceil
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from saf.batches import floats
from saf.conversion import count_correct, effective_weights, fold, in_precision, on_grid
from saf.errors import InternalError
from saf.inference import infer, record
from saf.lif import LIFNetwork, LIFStep, load_lif
from saf.network import SpikingNetwork
from saf.precision import products
from saf.proof import SIGNIFICANT_BITS, LayerBound, bounds, run_saf

SAMPLES = {torch.float32: 10_000, torch.float64: 1_000}
TOLERATED = 0.002  # of the samples
RULE = (
    "proven: the weights are those of the trained network on a grid, in every layer float32 is "
    "exact for every input (grid.layers), and in the checks not one spike differs. "
    f"measured: in every check the predictions differ on at most {TOLERATED:.1%} of the samples, "
    f"and so do the numbers of correct ones ({100 * TOLERATED:.1f} points of accuracy); one sample "
    "is tolerated where that is less than one. differs: otherwise."
)
Verdict = Literal["proven", "measured", "differs"]
Run = Callable[[Tensor], Iterable[LIFStep]]


@products("ieee")
def certify(
    network: SpikingNetwork,
    path: Path,
    x: Tensor,
    y: Tensor,
    *,
    batch_size: int = 128,
    samples: dict[torch.dtype, int] | None = None,
    tf32: bool = False,
    grid_refused: str | None = None,
) -> dict[str, Any]:
    """Compare `network` as trained with the LIF network read back from the file at `path`.

    `x` (`N C H W`, or `N T C H W`; bytes, or floats in [0, 1]) and `y` (`N`) are samples that the
    training did not see; `samples[precision]` of them, spread evenly, are used (10,000 in float32
    and 1,000 in float64 unless told). Products in float32 are taken in float32 on every device. A
    network that computes in lower precision, in bfloat16 or, as `tf32` says, with products in TF32,
    is compared as it is with the LIF network in float32 too (`as_trained`, which does not enter the
    verdict).

    Where the file is on a grid, SAF runs on the trained network's weights rounded to that grid,
    `grid` holds the bounds of `saf.proof` and what the rounding cost, and the verdict may be
    `proven`. `grid_refused` says why a grid was asked for and not taken.

    Memory does not grow with T. The result holds JSON values alone. Raises ValueError when the
    file is damaged, and InternalError when a spike differs that is proven not to.
    """
    limits = SAMPLES if samples is None else samples
    lif = load_lif(path)
    trained = _as_trained(network, lif)
    expected = None
    if lif.description.grid is not None:
        expected = on_grid(trained, lif.description.grid.bits)

    def chosen(dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        return spread(x, y, limits[dtype])

    def check(dtype: torch.dtype) -> dict[str, Any]:
        here = lif.to(network.device, dtype)
        if expected is None:
            run: Run = partial(_run, in_precision(network, dtype), lif)
        else:
            run = partial(run_saf, expected.to(network.device, dtype))
        return _compare(run, _name(dtype), here, *chosen(dtype), batch_size)

    trained_in = "tf32" if tf32 else _name(network.dtype)
    checks = [check(dtype) for dtype in limits]
    as_trained = None
    if trained_in in ("bfloat16", "tf32"):
        run = partial(_run, network, lif)
        as_trained = _compare(
            partial(_in_tf32, run) if tf32 else run,
            trained_in,
            lif.to(network.device, torch.float32),
            *chosen(torch.float32),
            batch_size,
        )
    grid: dict[str, Any] | None = None
    if expected is not None:
        most = max(limits, key=lambda dtype: limits[dtype])
        grid = _grid(trained, expected, lif, *chosen(most), device=network.device)
    elif grid_refused is not None:
        grid = {"bits": None, "refused": grid_refused}
    verdict = _verdict(checks, grid)
    return {
        "format": "saf-certificate/1",
        "verdict": verdict,
        "rule": RULE,
        "statement": _statement(verdict, checks, as_trained, grid),
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "timesteps": lif.timesteps,
        "decay": lif.description.decay,
        "threshold": lif.description.threshold,
        "readout": lif.description.readout,
        "weights": _name(lif.dtype),
        "trained_in": trained_in,
        "samples_available": len(x),
        "checks": checks,
        "as_trained": as_trained,
        "grid": grid,
    }


def spread(x: Tensor, y: Tensor, most: int) -> tuple[Tensor, Tensor]:
    """At most so many of the samples, at even distances: sorted by class or not."""
    count = min(most, len(x))
    indices = torch.arange(count, device=x.device) * len(x) // count
    return x[indices], y[indices]


def _as_trained(network: SpikingNetwork, lif: LIFNetwork) -> LIFNetwork:
    """`network` as a LIF network of plain weights on no grid, otherwise described as `lif` is."""
    architecture, weights = fold(network.architecture, effective_weights(network))
    description = lif.description.model_copy(
        update={
            "architecture": architecture,
            "mean": tuple(network.mean.flatten().tolist()),
            "std": tuple(network.std.flatten().tolist()),
            "grid": None,
        }
    )
    return LIFNetwork(description, {name: w.to(lif.dtype) for name, w in weights.items()})


def _run(network: SpikingNetwork, lif: LIFNetwork, images: Tensor) -> Iterator[LIFStep]:
    """The steps of `network` as it is; the scores are those of the last step all along."""
    of = lif.description
    scores = infer(network, images, of.timesteps, readout=of.readout).scores
    names = [population.name for population in network.architecture.spiking]
    for step in record(network, images, of.timesteps):
        spikes, potentials = zip(*step, strict=True)
        yield LIFStep(
            potentials=dict(zip(names, potentials, strict=True)),
            spikes=dict(zip(names, spikes, strict=True)),
            scores=scores,
        )


def _in_tf32(run: Run, images: Tensor) -> Iterator[LIFStep]:
    """The steps of `run`, each computed with products in TF32 where the device has it."""
    steps = iter(run(images))
    while True:
        with products("tf32"):
            step = next(steps, None)
        if step is None:
            return
        yield step


@torch.no_grad()
def _compare(
    run: Run, of: str, lif: LIFNetwork, x: Tensor, y: Tensor, batch_size: int
) -> dict[str, Any]:
    """The steps of SAF in the precision `of`, and those of `lif`, on `x`, on the same device."""
    layers = {
        population.name: _Layer(lif.description.threshold)
        for population in lif.description.architecture.spiking
    }
    differing = correct_saf = correct_lif = 0
    for batch, labels in zip(torch.split(x, batch_size), torch.split(y, batch_size), strict=True):
        images, labels = floats(batch.to(lif.device), lif.dtype), labels.to(lif.device)
        for of_saf, of_lif in zip(run(images), lif.run(images), strict=True):
            for name, layer in layers.items():
                layer.compare(
                    of_saf.spikes[name],
                    of_saf.potentials[name],
                    of_lif.spikes[name],
                    of_lif.potentials[name],
                )
        predicted_saf, predicted_lif = of_saf.scores.argmax(1), of_lif.scores.argmax(1)
        differing += int((predicted_saf != predicted_lif).sum())
        correct_saf += int((predicted_saf == labels).sum())
        correct_lif += int((predicted_lif == labels).sum())
    count = len(x)
    return {
        "precision": _name(lif.dtype),
        "precision_of_trained": of,
        "samples": count,
        "batch_size": batch_size,
        "device": lif.device.type,
        "spikes_compared": sum(layer.compared for layer in layers.values()),
        "spikes_differing": sum(layer.differing for layer in layers.values()),
        "predictions_differing": differing,
        "predictions_agreeing": 1.0 - differing / count,
        "correct_saf": correct_saf,
        "correct_lif": correct_lif,
        "accuracy_saf": correct_saf / count,
        "accuracy_lif": correct_lif / count,
        "accuracy_difference_points": 100.0 * (correct_lif - correct_saf) / count,
        "layers": [{"name": name, **layer.result()} for name, layer in layers.items()],
    }


def _grid(
    trained: LIFNetwork,
    expected: LIFNetwork,
    lif: LIFNetwork,
    x: Tensor,
    y: Tensor,
    *,
    device: torch.device,
) -> dict[str, Any]:
    """The bounds of `lif`, whether it is what is `expected`, and what the rounding cost."""
    grid = lif.description.grid
    assert grid is not None
    *rows, readout = (_listed(bound, grid.bits) for bound in bounds(lif))
    spiking = {population.name for population in lif.description.architecture.spiking}
    before = count_correct(trained.to(device), x, y)
    after = count_correct(lif.to(device), x, y)
    return {
        "bits": grid.bits,
        "input_bits": grid.input_bits,
        "refused": None,
        "is_of_the_trained_network": lif.description == expected.description
        and all(torch.equal(lif.tensors[name], w) for name, w in expected.tensors.items()),
        "within": all(row["within"] for row in rows),
        "layers": [row for row in rows if row["name"] in spiking],
        "relays": [row for row in rows if row["name"] not in spiking],
        "readout": readout,
        "rounding": {
            "samples": len(x),
            "accuracy_as_trained": before / len(x),
            "accuracy_on_grid": after / len(x),
            "cost_points": 100.0 * (before - after) / len(x),
        },
    }


def _listed(bound: LayerBound, grid_bits: int) -> dict[str, Any]:
    """A bound as JSON values."""
    return {
        "name": bound.name,
        "grid_bits": grid_bits,
        "fraction_bits": bound.fraction_bits,
        "largest_magnitude": bound.magnitude,
        "bits_needed": ceil(bound.exponent),
        "bits_available": SIGNIFICANT_BITS,
        "within": bound.within,
    }


def _verdict(checks: list[dict[str, Any]], grid: dict[str, Any] | None) -> Verdict:
    """By `RULE`. Raises InternalError where a proof and a measurement contradict each other."""
    if grid is not None and grid["bits"] is not None:
        differing = sum(check["spikes_differing"] for check in checks)
        if grid["within"] and grid["is_of_the_trained_network"]:
            if differing:
                raise InternalError(
                    f"{differing} spikes differ between the SAF and the LIF form of a network for "
                    "which float32 is proven to be exact: the proof, its code or the arithmetic of "
                    "this machine is wrong",
                    hint="report this with the job; without conversion.grid_bits it succeeds",
                )
            return "proven"
    return "measured" if all(map(_within_tolerance, checks)) else "differs"


def _within_tolerance(check: dict[str, Any]) -> bool:
    tolerated = max(1.0, TOLERATED * check["samples"])
    gained = abs(check["correct_lif"] - check["correct_saf"])
    return bool(max(check["predictions_differing"], gained) <= tolerated)


class _Layer:
    """What the comparison of one layer has come to, over batches and steps."""

    def __init__(self, threshold: float) -> None:
        self._threshold = threshold
        self.compared = 0
        self.differing = 0
        self._fired_saf = self._fired_lif = 0
        self._largest = self._sum = 0.0

    def compare(self, saf: Tensor, u_saf: Tensor, lif: Tensor, u_lif: Tensor) -> None:
        """Add the spikes and potentials of one step, by SAF and by LIF."""
        apart = saf != lif
        self.compared += apart.numel()
        self._fired_saf += int(saf.sum(dtype=torch.float64))
        self._fired_lif += int(lif.sum(dtype=torch.float64))
        if count := int(apart.sum()):
            margins = torch.maximum(
                (u_saf[apart] - self._threshold).abs(), (u_lif[apart] - self._threshold).abs()
            ).double()
            self.differing += count
            self._largest = max(self._largest, float(margins.max()))
            self._sum += float(margins.sum())

    def result(self) -> dict[str, Any]:
        """`margin_*` is |u − V| where the spikes differ, the larger of both networks."""
        return {
            "spikes_compared": self.compared,
            "spikes_differing": self.differing,
            "firing_rate_saf": self._fired_saf / self.compared,
            "firing_rate_lif": self._fired_lif / self.compared,
            "margin_largest": self._largest if self.differing else None,
            "margin_mean": self._sum / self.differing if self.differing else None,
        }


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _statement(
    verdict: Verdict,
    checks: list[dict[str, Any]],
    as_trained: dict[str, Any] | None,
    grid: dict[str, Any] | None,
) -> str:
    """The outcome in words."""
    rounded_to = "" if grid is None or grid["bits"] is None else ", both on the grid"
    sentences = [
        f"In {check['precision']}, on {check['samples']:,} samples that the training did not see, "
        f"{check['spikes_differing']:,} of {check['spikes_compared']:,} spikes and "
        f"{check['predictions_differing']} predictions differ between the trained network and its "
        f"LIF form{rounded_to}; the accuracy is {check['accuracy_saf']:.2%} and "
        f"{check['accuracy_lif']:.2%}."
        for check in checks
    ]
    if as_trained is not None:
        sentences.append(
            f"Computed in {as_trained['precision_of_trained']}, as it was trained, the network "
            f"gives {as_trained['predictions_differing']} other predictions than its LIF form in "
            f"{as_trained['precision']}, at an accuracy of {as_trained['accuracy_saf']:.2%}."
        )
    if grid is not None:
        sentences.append(_about_grid(grid))
    outcome = {
        "proven": "The spikes of the LIF network are the same in every order of summation, for "
        "every image, wherever float32 sums of products are computed as such (docs/proof.md).",
        "measured": "The LIF network may stand in for the trained one.",
        "differs": "The LIF network does not behave like the trained one: do not rely on it.",
    }
    return " ".join([*sentences, outcome[verdict]])


def _about_grid(grid: dict[str, Any]) -> str:
    if grid["bits"] is None:
        return f"The weights are on no grid, though one was asked for: {grid['refused']}."
    rounding = grid["rounding"]
    cost = (
        f"Rounding the weights to multiples of 2^-{grid['bits']} took the accuracy from "
        f"{rounding['accuracy_as_trained']:.2%} to {rounding['accuracy_on_grid']:.2%} on "
        f"{rounding['samples']} samples."
    )
    if not grid["is_of_the_trained_network"]:
        return f"{cost} The file does not hold the trained network on that grid."
    rows = [*grid["layers"], *grid["relays"]]
    over = [row for row in rows if not row["within"]]
    if over:
        worst = max(over, key=lambda row: row["bits_needed"])
        return (
            f"{cost} This is no proof: {worst['name']} may need {worst['bits_needed']} of "
            f"{worst['bits_available']} bits; take fewer grid_bits."
        )
    needed = max(row["bits_needed"] for row in rows)
    scores = "as well" if grid["readout"]["within"] else "not covered"
    return (
        f"{cost} Float32 is exact in every layer for every image: at most {needed} of "
        f"{SIGNIFICANT_BITS} bits are needed; the scores are {scores}."
    )
