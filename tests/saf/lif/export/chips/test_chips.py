"""A report on a chip says of each limit what was found, and what to change."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from saf.lif.export.chips.chip import Limit, bits_of, maps
from saf.lif.export.chips.loihi import Loihi
from saf.lif.export.chips.speck import Speck, _kernel_memory, _neuron_memory
from saf.lif.export.chips.xylo import Xylo
from saf.lif.exporting import export
from saf.lif.network import LIFNetwork
from tests.saf.lif.export.nir.test_nir import architecture, residual
from tests.saf.lif.grid_networks import converted, exact_grid, samples


@pytest.mark.parametrize(
    ("weights", "bits"),
    [
        ([0.0], 1),
        ([1.0, -1.0], 2),
        ([0.5, -1.5], 3),  # -3, 1
        ([127 / 64, -1 / 64], 8),
        ([128 / 64, 1 / 64], 9),
        ([3e-9, 5e-9], 32),
        ([1 / 3, 1.0], 32),
    ],
)
def test_bits_of_weights_are_those_of_the_integers_with_their_sign(
    weights: list[float], bits: int
) -> None:
    assert bits_of(np.array(weights, np.float32).astype(np.float64)) == bits


def network(**changes: Any) -> LIFNetwork:
    """Two convolutions and a readout, in few bits."""
    plain = converted(
        architecture({"name": "convnet", "channels": [8, 16]}, 2, 16, 16), 3, 4, "saf-f"
    )
    tensors = {
        name: (tensor * 16).round().clamp(-100, 100) / 16 for name, tensor in plain.tensors.items()
    }
    return LIFNetwork(plain.description.model_copy(update=changes), tensors)


def unkept(limits: Any) -> dict[str, Limit]:
    return {limit.what: limit for limit in limits if not limit.fits}


def test_memory_of_a_core_is_counted_as_published() -> None:
    first, second, readout = maps(network())
    # c 2^(⌈log2 k²⌉ + ⌈log2 f⌉) and f 2^(⌈log2 h⌉ + ⌈log2 w⌉)
    assert _kernel_memory(first) == 2 * 2 ** (4 + 3)
    assert _neuron_memory(first) == 8 * 2 ** (4 + 4)
    assert _kernel_memory(second) == 8 * 2 ** (4 + 4)
    assert readout.image == (16, 8, 8)
    assert _kernel_memory(readout) == 16 * 2 ** (6 + 4)
    assert _neuron_memory(readout) == 10


def test_a_network_that_fits_speck_fits_all_of_it(tmp_path: Path) -> None:
    fitting = network(decay=1.0, frames=True)
    assert not unkept(Speck().limits(fitting))
    done = export(fitting, "speck", tmp_path, samples(0, 3, fitting))
    assert done.verdict == "not_replayed"
    assert done.certificate["facts"]["fits"]
    assert done.certificate["statement"].startswith("Checked against Speck 2: it fits")
    report = json.loads((tmp_path / "speck-report.json").read_text())
    assert report["fits"]
    assert "sinabs" in report["sources"][0]
    assert {"cores", "weights", "decay"} <= {limit["what"] for limit in report["limits"]}


def test_what_does_not_fit_speck_is_named_with_what_to_change(tmp_path: Path) -> None:
    found = unkept(Speck().limits(residual()))
    assert found["decay"].change == "train it with neuron.decay 1"
    assert "conversion.weight_bits 8" in found["weights"].change
    assert "skip connections" in found["maps"].change
    assert "no core is left" in found["cores"].change
    done = export(network(), "speck", tmp_path)
    assert (
        "λ = 0.5, not λ = 1" in done.certificate["statement"]
        or not done.certificate["facts"]["fits"]
    )
    wide = converted(
        architecture({"name": "convnet", "channels": [64, 64]}, 1, 64, 64), 1, 2, "saf-f"
    )
    assert "no core is left for layer1" in unkept(Speck().limits(wide))["cores"].change


@pytest.mark.parametrize(("mean", "fits"), [(0.0, True), (0.3, False)])
def test_series_of_values_are_no_events(mean: float, fits: bool) -> None:
    small = architecture({"name": "mlp", "features": [5]}, 2, 1, 1)
    series = converted(small, 1, 4, "saf-f", frames=True)
    changed = series.description.model_copy(update={"mean": (mean, mean)})
    limits = Speck().limits(LIFNetwork(changed, series.tensors))
    (found,) = [limit for limit in limits if limit.what == "input"]
    assert found.fits == fits
    assert found.found.startswith("series of counts" if fits else "series of values")


def test_what_does_not_fit_loihi_is_named_with_what_to_change() -> None:
    found = unkept(Loihi().limits(exact_grid(network())))
    assert "microcode" in found["reset"].change
    assert "decay" not in found
    odd = unkept(Loihi().limits(network(decay=0.7)))
    assert odd["decay"].change == "train it with neuron.decay 0.699951"
    assert odd["potentials"].found == "float32"


def test_what_does_not_fit_xylo_is_named_with_what_to_change() -> None:
    small = architecture({"name": "mlp", "features": [20, 20]}, 1, 4, 4)
    found = unkept(Xylo().limits(converted(small, 1, 4, "saf-f")))
    assert found.keys() == {"output neurons", "readout", "weights", "spikes a step"}
    assert found["output neurons"].limit == "at most 8"
    wider = Xylo.model_validate({"name": "xylo", "device": "audio 3"})
    assert "output neurons" not in unkept(wider.limits(converted(small, 1, 4, "saf-f")))
    found = unkept(Xylo().limits(network(decay=0.6)))
    assert {"decay", "map", "input channels", "hidden neurons"} <= found.keys()


def test_a_report_of_any_network_is_written(tmp_path: Path) -> None:
    for name in ("speck", "loihi", "xylo"):
        for number, each in enumerate((residual(), network(), exact_grid(network()))):
            export(each, name, tmp_path / str(number))
            assert torch.isfinite(next(each.parameters())).all()
