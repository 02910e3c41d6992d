"""Jobs whose weights get few bits: trained further, delivered, certified."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from saf import load_lif
from saf.config import JobSpecification
from saf.data import digits
from saf.lif.grid.fixed_point import is_on_grid
from saf.training.events import Converting, Finished
from saf.training.loop import train

RESIDUAL = {"name": "resnet18", "width": 0.05}


def specification(**changes: Any) -> JobSpecification:
    asked: dict[str, Any] = {
        "network": {"name": "mlp", "features": [24]},
        "epochs": 2,
        "timesteps": 4,
        "conversion": {"weight_bits": 4, "fine_tune_epochs": 2},
    }
    return JobSpecification.model_validate(asked | changes)


def run(job: JobSpecification, directory: Path, **more: Any) -> tuple[dict[str, Any], ...]:
    reports = list(train(job, digits(), directory, device="cpu", **more))
    assert isinstance(reports[-1], Finished)
    assert sum(isinstance(report, Converting) for report in reports) >= 2
    return tuple(
        json.loads((directory / name).read_text()) for name in ("report.json", "certificate.json")
    )


@pytest.mark.parametrize("method", ["saf-e", "saf-f", "ottt-o"])
def test_the_delivered_network_has_few_bits_and_is_proven(method: str, tmp_path: Path) -> None:
    report, certificate = run(specification(method={"name": method}), tmp_path)
    assert certificate["verdict"] == "proven"
    lif = load_lif(tmp_path / "lif.safetensors")
    grid = lif.description.grid
    assert grid is not None
    for name, weight in lif.tensors.items():
        assert is_on_grid(weight, grid.bits), name
        if not name.endswith("weight"):
            continue
        least, most = report["quantisation"]["exponents"][name]
        for row in weight.flatten(1).double():
            shared = [g for g in range(least, most + 1) if is_on_grid(row, g)]
            assert min(float((row * 2.0**g).abs().max()) for g in shared) <= 7, name
    facts = report["quantisation"]
    assert facts["weight_bits"] == 4
    assert len(facts["accuracy_after_epoch"]) == 3
    assert facts["accuracy_after_epoch"][facts["delivered_epoch"]] == max(
        facts["accuracy_after_epoch"]
    )
    rounding = certificate["grid"]["rounding"]
    assert rounding["accuracy_as_trained"] == pytest.approx(report["summary"]["test_accuracy"])
    assert rounding["accuracy_on_grid"] == report["summary"]["lif_accuracy"]


def test_a_residual_network_with_factors_between_layers(tmp_path: Path) -> None:
    _, certificate = run(specification(network=RESIDUAL, epochs=1), tmp_path)
    assert certificate["grid"]["is_of_the_trained_network"]
    assert [check["spikes_differing"] for check in certificate["checks"]] == [0, 0]


def test_a_training_of_quantised_weights_recovers_accuracy(tmp_path: Path) -> None:
    """Of two bits, that is −1, 0, 1 times a power of two."""
    conversion = {"weight_bits": 2, "fine_tune_epochs": 4, "weight_scale": "layer"}
    report, _ = run(specification(epochs=4, conversion=conversion), tmp_path)
    accuracies = report["quantisation"]["accuracy_after_epoch"]
    assert max(accuracies) > accuracies[0] + 0.02


def test_it_is_the_same_whenever_it_begins_anew(tmp_path: Path) -> None:
    job, calls = specification(), 0

    def stop() -> bool:
        nonlocal calls
        calls += 1
        return calls > 60  # while the quantised weights are trained

    found = []
    for name in ("whole", "stopped"):
        directory = tmp_path / name
        directory.mkdir()
        if name == "stopped":
            reports = list(train(job, digits(), directory, device="cpu", stop=stop))
            assert not isinstance(reports[-1], Finished)
            assert any(isinstance(report, Converting) for report in reports) or calls > 60
        run(job, directory, resume_from=directory / "checkpoints")
        found.append(load_lif(directory / "lif.safetensors").tensors)
    for name, tensor in found[0].items():
        assert torch.equal(tensor, found[1][name]), name


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"conversion": {"weight_bits": 4, "grid_bits": 8}}, "chooses the grid itself"),
        ({"neuron": {"decay": 0.9}}, r"weight_bits needs neuron\.decay = 0\.5"),
        ({"neuron": {"name": "plif"}}, "weight_bits needs neurons for which a bound is known"),
        ({"timesteps": 40}, "weight_bits needs timesteps of at most"),
        ({"conversion": {"weight_bits": 1}}, "greater than or equal to 2"),
    ],
)
def test_what_cannot_be_is_refused_in_words(change: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        specification(**change)
