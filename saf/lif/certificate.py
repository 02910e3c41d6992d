"""The certificate of a conversion, `certificate.json`: how it was checked, and the result.

The trained network computes spikes by accumulation (SAF), the converted one by the LIF recursion.
Over the reals the spikes are the same; in floating point a potential within rounding of the
threshold may fall on the other side. So both run on held-out samples and are compared spike by
spike, in float32 and in float64. On a grid the spikes can be proven to be the same, see
`docs/proof.md`.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from saf import files
from saf.config import MOST_CHECKED
from saf.estimate.chunking import steps_at_once
from saf.estimate.memory import CHECKED_AT_ONCE_IN_FLOAT64
from saf.kernels import native, winograd
from saf.kernels.precision import products
from saf.lif.comparison import Comparison
from saf.lif.convert import (
    count_correct,
    decays_of,
    effective_weights,
    fold,
    folded_neurons,
    in_precision,
    on_grid,
    with_nearest_decays,
)
from saf.lif.grid.proof import proof_of, rounded_decays
from saf.lif.identity import digest_of_samples, digests_of
from saf.lif.measure import Measured, Use
from saf.lif.network import LIFNetwork, load_lif
from saf.lif.saf_form import SAFForm, saf_form, saf_form_on_grid
from saf.lif.verdict import RULE, statement, verdict_of
from saf.model.inputs import floats
from saf.model.lengths import Lengths
from saf.model.network import SpikingNetwork

SHARE_IN_FLOAT64 = 0.05  # of the samples in float32: each takes five times as long …
FEWEST_IN_FLOAT64 = 200  # … and some say enough, as nothing but the weights is rounded
MOST_FOR_ROUNDING = 2_000  # samples that say what rounding cost


@dataclass(frozen=True, kw_only=True)
class Kernels:
    """Kernels that may replace torch's operations in a check, as in a training."""

    winograd: bool = False
    """Convolutions in float32 by `saf.kernels.winograd`, but not those of a network on a grid."""
    in_cpp: bool = False
    """C++ (`saf.kernels.native`)."""


class Done(NamedTuple):
    """Progress of a check."""

    samples: int
    total: int


class Checked(NamedTuple):
    """Result of the check of a LIF network."""

    certificate: dict[str, Any]
    measured: Measured
    """The run of the LIF network in float32 that the certificate is about."""


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
    unit: int = 255,
    lengths: Tensor | None = None,
) -> dict[str, Any]:
    """Compare `network` as trained with the LIF network read back from the file at `path`.

    `x` (`N C H W`, `N T C H W` or `N T C`; bytes, which mean value / `unit`, or floats) and `y`
    (`N`) are samples that the training did not see; `samples[precision]` of them, spread evenly,
    are used (unless told, as many as `samples_of` says). Products in float32 are taken in float32
    on every device. A network that computes in lower precision, in bfloat16 or, as `tf32` says,
    with products in TF32, is compared as it is with the LIF network in float32 too (`as_trained`,
    which does not enter the verdict).

    Where the file is on a grid, SAF runs on the trained network's weights rounded to that grid,
    `grid` holds the bounds of `saf.lif.grid.exactness` and what the rounding cost, and the verdict
    may be `proven`. `grid_refused` says why a grid was asked for and not taken.

    Of padded samples `lengths` (`N`) time steps are their own: their scores are those at their end;
    spikes are compared at all T. Memory does not grow with T. The result holds JSON values alone.
    Raises ValueError when the file is damaged, and InternalError when a spike differs that is
    proven not to.
    """
    *_, checked = check(
        network,
        path,
        x,
        y,
        batch_size=batch_size,
        samples=samples,
        tf32=tf32,
        grid_refused=grid_refused,
        unit=unit,
        lengths=lengths,
    )
    assert isinstance(checked, Checked)
    return checked.certificate


def samples_of(available: int, most: int | None = None) -> dict[torch.dtype, int]:
    """Number of the `available` samples that a check compares, by precision: `most` in float32
    (None: 10,000), and a twentieth of them in float64, but at least 200 where there are as many."""
    count = min(available, MOST_CHECKED if most is None else most)
    in_float64 = max(FEWEST_IN_FLOAT64, round(SHARE_IN_FLOAT64 * count))
    return {torch.float32: count, torch.float64: min(count, in_float64)}


def check(
    network: SpikingNetwork,
    path: Path,
    x: Tensor,
    y: Tensor,
    *,
    batch_size: int,
    samples: dict[torch.dtype, int] | None = None,
    tf32: bool = False,
    grid_refused: str | None = None,
    kernels: Kernels | None = None,
    unit: int = 255,
    before: SpikingNetwork | None = None,
    lengths: Tensor | None = None,
) -> Iterator[Done | Checked]:
    """`certify` as a generator: yields its progress after every batch, and the result at the end.

    The LIF network runs once in each precision. `before` is the network as it was trained before
    its weights were quantised, from which the cost of the grid is counted.
    """
    limits = samples_of(len(x)) if samples is None else samples
    kernels = kernels or Kernels()
    lif = load_lif(path)
    trained, expected, proof = _as_trained(before or network, lif), None, None
    if lif.description.grid is not None:
        to_round = with_nearest_decays(_as_trained(network, lif))
        expected = on_grid(to_round, lif.description.grid.bits)
        # The grid of quantised weights is the finest of theirs, and no setting.
        proof = proof_of(lif, expected, to_round if before is None else None)
    trained_in = "tf32" if tf32 else _name(network.dtype)
    count = _Count(sum(min(limit, len(x)) for limit in limits.values()))
    checks: list[dict[str, Any]] = []
    as_trained, ran = None, {}
    for dtype in limits:
        if expected is None:
            forms = {_name(dtype): saf_form(in_precision(network, dtype), lif)}
        else:
            forms = {_name(dtype): saf_form_on_grid(expected.copied(network.device, dtype))}
        if trained_in in ("bfloat16", "tf32") and dtype == torch.float32:
            forms[trained_in] = saf_form(network, lif)
        shown = _Shown(x, y, spread(len(x), limits[dtype]), unit, lengths)
        here = lif.copied(network.device, dtype)
        found, ran[dtype] = yield from _compare(forms, here, shown, batch_size, kernels, count)
        checks.append(found.pop(_name(dtype)))
        as_trained = found.get(trained_in, as_trained)
    most = max(limits, key=lambda dtype: limits[dtype])
    compared = _Shown(x, y, spread(len(x), limits[most]), unit, lengths)
    grid: dict[str, Any] | None = None
    if proof is not None:
        grid = yield from _grid(proof, trained, lif, compared, ran[most], kernels, count)
    elif grid_refused is not None:
        grid = {"bits": None, "refused": grid_refused}
    verdict = verdict_of(checks, grid)
    certificate = {
        "format": "saf-certificate/1",
        "verdict": verdict,
        "rule": RULE,
        "statement": statement(verdict, checks, as_trained, grid),
        "sha256": files.digest_of(path).sha256,
        **digests_of(lif),
        "samples_sha256": digest_of_samples(
            floats(batch, torch.float32, unit) for batch, _, _ in compared.batches(batch_size)
        ),
        "timesteps": lif.timesteps,
        "decay": lif.description.decay,
        "decays": decays_of(lif),
        "threshold": lif.description.threshold,
        "readout": lif.description.readout,
        "encoding": lif.description.encoding,
        "image": lif.description.image_sequence,
        "weights": _name(lif.dtype),
        "trained_in": trained_in,
        "samples_available": len(x),
        "checks": checks,
        "as_trained": as_trained,
        "grid": grid,
    }
    yield Checked(certificate, ran[most].measured())


def spread(available: int, most: int) -> Tensor:
    """Indices of at most so many samples, at even distances, since samples may be
    sorted by class."""
    count = min(most, available)
    return torch.arange(count) * available // count


@dataclass(frozen=True)
class _Shown:
    """The samples that are compared, taken batch by batch: a mapped data set stays mapped."""

    x: Tensor
    y: Tensor
    rows: Tensor
    unit: int
    lengths: Tensor | None

    def batches(self, size: int) -> Iterator[tuple[Tensor, Tensor, Lengths | None]]:
        """Samples as they are stored, labels, and how many time steps are those of padded ones."""
        for rows in torch.split(self.rows, size):
            own = None if self.lengths is None else Lengths(self.lengths[rows])
            here = rows.to(self.x.device)
            yield self.x[here], self.y[here], own


def _as_trained(network: SpikingNetwork, lif: LIFNetwork) -> LIFNetwork:
    """`network` as a LIF network of plain weights and its own neurons on no grid, with the
    description of `lif` otherwise."""
    architecture, weights = fold(network.architecture, effective_weights(network))
    description = lif.description.model_copy(
        update={
            "architecture": architecture,
            "mean": tuple(network.mean.flatten().tolist()),
            "std": tuple(network.std.flatten().tolist()),
            "neurons": folded_neurons(network),
            "grid": None,
        }
    )
    return LIFNetwork(description, {name: w.to(lif.dtype) for name, w in weights.items()})


class _Count:
    """Number of samples done, and in all."""

    def __init__(self, total: int) -> None:
        self._done, self._total = 0, total

    def after(self, samples: int) -> Done:
        self._done += samples
        return Done(self._done, self._total)


def _at_once(lif: LIFNetwork, samples: int) -> int:
    """Number of time steps that both forms compute at once."""
    if lif.description.grid is not None:
        return 1
    if lif.dtype == torch.float64:
        return max(1, min(lif.timesteps, CHECKED_AT_ONCE_IN_FLOAT64 // samples))
    return steps_at_once(samples, lif.timesteps)


def _compare(
    forms: Mapping[str, SAFForm],
    lif: LIFNetwork,
    shown: _Shown,
    batch_size: int,
    kernels: Kernels,
    count: _Count,
) -> Generator[Done, None, tuple[dict[str, dict[str, Any]], Use]]:
    """Results of each of the `forms`, by its precision, compared with `lif` on the same device;
    and the run of `lif`."""
    comparisons = {name: Comparison(form.neurons) for name, form in forms.items()}
    differing, correct = dict.fromkeys(forms, 0), dict.fromkeys(forms, 0)
    use, by_winograd = Use(lif), False
    size = batch_size
    if lif.dtype == torch.float64:
        size = min(batch_size, CHECKED_AT_ONCE_IN_FLOAT64)
    for batch, of_batch, lengths in shown.batches(size):
        images = floats(batch.to(lif.device), lif.dtype, shown.unit)
        labels = of_batch.to(lif.device)
        scores, used = _scores(forms, comparisons, lif, images, labels, lengths, use, kernels)
        by_winograd |= used
        for form, scores_of_form in scores.items():
            predicted = scores_of_form.argmax(1)
            differing[form] += int((predicted != use.predicted[-1]).sum())
            correct[form] += int((predicted == labels).sum())
        yield count.after(len(batch))
    samples, correct_lif = len(shown.rows), use.correct[-1]
    in_cpp = kernels.in_cpp and lif.device.type == "cpu" and lif.dtype == torch.float32
    found = {}
    for form, comparison in comparisons.items():
        layers = [
            {"name": name, **layer.result(use.fired(name))}
            for name, layer in comparison.layers.items()
        ]
        found[form] = {
            "precision": _name(lif.dtype),
            "precision_of_trained": form,
            "samples": samples,
            "batch_size": size,
            "device": lif.device.type,
            "products": "winograd" if by_winograd else "sums",
            "in_cpp": in_cpp and native.library("scan") is not None,
            "spikes_compared": sum(layer["spikes_compared"] for layer in layers),
            "spikes_differing": sum(layer["spikes_differing"] for layer in layers),
            "predictions_differing": differing[form],
            "predictions_agreeing": 1.0 - differing[form] / samples,
            "correct_saf": correct[form],
            "correct_lif": correct_lif,
            "accuracy_saf": correct[form] / samples,
            "accuracy_lif": correct_lif / samples,
            "accuracy_difference_points": 100.0 * (correct_lif - correct[form]) / samples,
            "layers": layers,
        }
    return found, use


@torch.no_grad()
def _scores(
    forms: Mapping[str, SAFForm],
    comparisons: Mapping[str, Comparison],
    lif: LIFNetwork,
    images: Tensor,
    labels: Tensor,
    lengths: Lengths | None,
    use: Use,
    kernels: Kernels,
) -> tuple[dict[str, Tensor], bool]:
    """Scores of a batch by each of the `forms`, which are compared with `lif`, and whether
    Winograd's convolutions were used."""
    at_once = _at_once(lif, len(images))
    scores: dict[str, Tensor] = {}
    with (
        products("ieee"),
        native.allowed(kernels.in_cpp),
        winograd.allowed(kernels.winograd and lif.description.grid is None) as permission,
    ):
        running = {
            name: form.run(images, comparisons[name].neurons, at_once, lengths)
            for name, form in forms.items()
        }
        for chunk in lif.chunks(images, at_once):
            use.add(chunk, labels, lengths)
            for form, steps in running.items():
                comparisons[form].chunk = chunk
                with products("tf32" if form == "tf32" else "ieee"):
                    after = next(steps)
                if after is not None:
                    scores[form] = after
    return scores, permission.used


def _grid(
    proof: dict[str, Any],
    trained: LIFNetwork,
    lif: LIFNetwork,
    shown: _Shown,
    ran: Use,
    kernels: Kernels,
    count: _Count,
) -> Generator[Done, None, dict[str, Any]]:
    """The `proof` of `lif`, and the accuracy that rounding cost: some of the samples that `ran`,
    predicted by the network that was `trained`."""
    few = spread(len(shown.rows), MOST_FOR_ROUNDING)
    labels = shown.y[shown.rows[few].to(shown.y.device)]
    before, here = 0, trained.copied(ran.device)
    for batch, of_batch, own in replace(shown, rows=shown.rows[few]).batches(128):
        with native.allowed(kernels.in_cpp), winograd.allowed(kernels.winograd):
            before += count_correct(here, batch, of_batch, None if own is None else own.steps)
        yield count.after(0)
    predicted = torch.cat(ran.predicted)
    after = int((predicted[few.to(predicted.device)] == labels.to(predicted.device)).sum())
    return {
        **proof,
        "decays": rounded_decays(trained, lif),
        "rounding": {
            "samples": len(few),
            "accuracy_as_trained": before / len(few),
            "accuracy_on_grid": after / len(few),
            "cost_points": 100.0 * (before - after) / len(few),
        },
    }


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
