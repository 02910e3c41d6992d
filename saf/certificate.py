"""How a conversion was checked, and what came out: `certificate.json`.

The trained network fires by spike accumulation (SAF), the converted one by the LIF recursion.
Over the reals the spikes are the same; in floating point a potential within rounding of the
threshold may fall on the other side. So both are run on held-out samples, step by step, and
compared spike by spike, in float32 and in float64.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from saf.batches import floats
from saf.conversion import in_precision
from saf.lif import LIFNetwork, load_lif
from saf.methods import infer, record
from saf.network import SpikingNetwork

SAMPLES = {torch.float32: 10_000, torch.float64: 1_000}
TOLERATED = 0.002  # of the samples
RULE = (
    f"measured: in every check the predictions differ on at most {TOLERATED:.1%} of the samples, "
    f"and so do the numbers of correct ones ({100 * TOLERATED:.1f} points of accuracy); one sample "
    f"is tolerated where that is less than one. differs: otherwise. proven is left to weights on a "
    "grid, where the arithmetic is exact."
)


def certify(
    network: SpikingNetwork,
    path: Path,
    x: Tensor,
    y: Tensor,
    *,
    batch_size: int = 128,
    samples: dict[torch.dtype, int] | None = None,
) -> dict[str, Any]:
    """Compare `network` as trained with the LIF network read back from the file at `path`.

    `x` (`N C H W`, or `N T C H W`; bytes, or floats in [0, 1]) and `y` (`N`) are samples that the
    training did not see; `samples[precision]` of them, spread evenly, are used (10,000 in float32
    and 1,000 in float64 unless told). A network that computes in lower precision is compared as it
    is with the LIF network in float32 too (`as_trained`, which does not enter the verdict).
    Memory does not grow with T. The result holds JSON values alone. Raises ValueError when the
    file is damaged.
    """
    limits = SAMPLES if samples is None else samples
    lif = load_lif(path)

    def compare(trained: SpikingNetwork, dtype: torch.dtype) -> dict[str, Any]:
        count = min(limits[dtype], len(x))
        chosen = torch.arange(count, device=x.device) * len(x) // count
        return _compare(trained, lif.to(network.device, dtype), x[chosen], y[chosen], batch_size)

    checks = [compare(in_precision(network, dtype), dtype) for dtype in limits]
    as_trained = None
    if network.dtype == torch.bfloat16:
        as_trained = compare(network, torch.float32)
    measured = all(_within_tolerance(check) for check in checks)
    verdict = "measured" if measured else "differs"
    return {
        "format": "saf-certificate/1",
        "verdict": verdict,
        "rule": RULE,
        "statement": _statement(verdict, checks, as_trained),
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "timesteps": lif.timesteps,
        "decay": lif.description.decay,
        "threshold": lif.description.threshold,
        "readout": lif.description.readout,
        "weights": _name(lif.dtype),
        "trained_in": _name(network.dtype),
        "samples_available": len(x),
        "checks": checks,
        "as_trained": as_trained,
    }


@torch.no_grad()
def _compare(
    saf: SpikingNetwork, lif: LIFNetwork, x: Tensor, y: Tensor, batch_size: int
) -> dict[str, Any]:
    """Both networks on `x`, on their device."""
    layers = {
        population.name: _Layer(lif.description.threshold)
        for population in saf.architecture.populations
    }
    differing = correct_saf = correct_lif = 0
    for batch, labels in zip(torch.split(x, batch_size), torch.split(y, batch_size), strict=True):
        images, labels = floats(batch.to(lif.device), lif.dtype), labels.to(lif.device)
        scores = infer(saf, images, lif.timesteps, readout=lif.description.readout).scores
        steps = zip(record(saf, images, lif.timesteps), lif.run(images), strict=True)
        for of_saf, of_lif in steps:
            for (name, layer), (spikes, potential) in zip(layers.items(), of_saf, strict=True):
                layer.compare(spikes, potential, of_lif.spikes[name], of_lif.potentials[name])
        predicted_saf, predicted_lif = scores.argmax(1), of_lif.scores.argmax(1)
        differing += int((predicted_saf != predicted_lif).sum())
        correct_saf += int((predicted_saf == labels).sum())
        correct_lif += int((predicted_lif == labels).sum())
    count = len(x)
    return {
        "precision": _name(lif.dtype),
        "precision_of_trained": _name(saf.dtype),
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
    verdict: str, checks: list[dict[str, Any]], as_trained: dict[str, Any] | None
) -> str:
    """The outcome in words."""
    sentences = [
        f"In {check['precision']}, on {check['samples']} samples that the training did not see, "
        f"{check['spikes_differing']} of {check['spikes_compared']} spikes and "
        f"{check['predictions_differing']} predictions differ between the trained network and its "
        f"LIF form; the accuracy is {check['accuracy_saf']:.2%} and {check['accuracy_lif']:.2%}."
        for check in checks
    ]
    if as_trained is not None:
        sentences.append(
            f"Computed in {as_trained['precision_of_trained']}, as it was trained, the network "
            f"gives {as_trained['predictions_differing']} other predictions than its LIF form in "
            f"{as_trained['precision']}, at an accuracy of {as_trained['accuracy_saf']:.2%}."
        )
    outcome = {
        "measured": "The LIF network may stand in for the trained one.",
        "differs": "The LIF network does not behave like the trained one: do not rely on it.",
    }
    return " ".join([*sentences, outcome[verdict]])
