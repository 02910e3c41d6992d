"""Jobs with several λ that are powers of two, or become some: delivered, proven, told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from saf import load_lif
from saf.config import JobSpecification
from saf.data import digits
from saf.lif.convert import decays_of
from saf.lif.exporting import check, export
from saf.training.loop import train

PLIF = {"name": "plif", "decays": [0.6, 0.3]}


def run(directory: Path, **changes: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    asked: dict[str, Any] = {
        "network": {"name": "mlp", "features": [16, 16]},
        "epochs": 2,
        "timesteps": 4,
        "method": {"name": "saf-f"},
        "conversion": {"grid_bits": 8},
    }
    job = JobSpecification.model_validate(asked | changes)
    for _ in train(job, digits(), directory, device="cpu"):
        pass
    return json.loads((directory / "certificate.json").read_text()), json.loads(
        (directory / "report.json").read_text()
    )


@pytest.mark.parametrize("decays", [(1.0, 0.25), (0.125, 0.5)], ids=str)
def test_layers_of_several_powers_are_proven_and_carried_elsewhere(
    decays: tuple[float, ...], tmp_path: Path
) -> None:
    certificate, _ = run(tmp_path, neuron={"decays": decays}, conversion={"grid_bits": 11})
    assert certificate["verdict"] == "proven"
    lif = load_lif(tmp_path / "lif.safetensors")
    assert tuple(decays_of(lif).values()) == decays == tuple(certificate["decays"].values())
    rows = certificate["grid"]["layers"]
    assert [row["decay"] for row in rows] == list(decays)
    taken = {1.0: 0, 0.5: 1, 0.25: 2, 0.125: 3}  # bits of a time step
    assert [row["fraction_bits"] for row in rows] == [11 + 3 * taken[decay] for decay in decays]
    assert certificate["grid"]["exact_in"] == ["float32", "float64"]
    assert "with λ = " + ", ".join(f"{x:g}" for x in sorted(decays)) in certificate["statement"]
    assert export(lif, "c", tmp_path / "c", digits().x_test[:40]).verdict == "identical"


@pytest.mark.slow
@pytest.mark.parametrize("conversion", [{"grid_bits": 8}, {"weight_bits": 6}], ids=str)
def test_a_learned_decay_is_rounded_and_the_cost_is_told(
    conversion: dict[str, Any], tmp_path: Path
) -> None:
    asked = {**conversion, "round_decays": True}
    certificate, report = run(tmp_path, neuron=PLIF, conversion=asked)
    grid = certificate["grid"]
    lif = load_lif(tmp_path / "lif.safetensors")
    assert decays_of(lif) == {"layer1": 0.5, "layer2": 0.25}
    assert grid["within"]
    assert grid["is_of_the_trained_network"]
    assert all(check["spikes_differing"] == 0 for check in certificate["checks"])
    for name, decay in decays_of(lif).items():
        told = grid["decays"][name]
        assert told["delivered"] == decay
        assert told["trained"] != decay
        assert f"λ of {name} from {told['trained']:.4g} to {decay:g}" in certificate["statement"]
    assert report["summary"]["rounding_cost_points"] == grid["rounding"]["cost_points"]


@pytest.mark.slow
def test_what_needs_more_bits_than_float32_has_is_measured_with_what_to_change(
    tmp_path: Path,
) -> None:
    asked: dict[str, Any] = {"neuron": {"decay": 0.125}, "conversion": {"grid_bits": 12}}
    certificate, _ = run(tmp_path / "refused", **asked)
    assert certificate["verdict"] == "measured"
    found = certificate["grid"]["remedies"]
    lacking, said = found["bits_lacking"], certificate["statement"]
    assert lacking > 0
    assert f"bits, {lacking} more than the 24 of float32" in said
    assert f"grid_bits of at most {found['grid_bits']}" in said
    assert f"timesteps of at most {found['timesteps']}" in said
    assert "The file is proven in float64" in said
    assert certificate["grid"]["exact_in"] == ["float64"]
    network = load_lif(tmp_path / "refused" / "lif.safetensors")
    (obstacle,) = check(network, "c")
    assert "and 24 are proven to be exact" in obstacle.reason
    fewer = {**asked, "conversion": {"grid_bits": found["grid_bits"]}}
    assert run(tmp_path / "fewer", **fewer)[0]["grid"]["within"]
    double, _ = run(tmp_path / "double", **asked, precision="float64")
    assert double["verdict"] == "proven"
    assert "Float64 is exact in every layer" in double["statement"]
    assert {row["bits_available"] for row in double["grid"]["layers"]} == {53}
    assert load_lif(tmp_path / "double" / "lif.safetensors").dtype == torch.float64
