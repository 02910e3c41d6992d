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
from saf.errors import SilentNetworkError
from saf.lif.grid.fixed_point import is_on_grid
from saf.model.network import SpikingNetwork
from saf.training import quantisation
from saf.training.events import Converting, Finished
from saf.training.loop import train
from saf.training.trainer import Trainer

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
    epochs = job.conversion.fine_tune_epochs
    assert sum(isinstance(report, Converting) for report in reports) == 1 + epochs
    return tuple(
        json.loads((directory / name).read_text()) for name in ("report.json", "certificate.json")
    )


@pytest.mark.slow
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
    losses = [-loss for loss in facts["loss_after_epoch"]]
    merits = list(zip(facts["accuracy_after_epoch"], losses, strict=True))
    assert merits[facts["delivered_epoch"]] == max(merits)
    rounding, summary = certificate["grid"]["rounding"], report["summary"]
    assert rounding["accuracy_as_trained"] == summary["accuracy_as_trained"]
    assert rounding["accuracy_on_grid"] == summary["lif_accuracy"]
    # What is told of the network is told of the one that is delivered; pixels alone are rounded.
    assert summary["test_accuracy"] == pytest.approx(summary["lif_accuracy"], abs=0.01)
    assert summary["val_accuracy"] == facts["accuracy_after_epoch"][facts["delivered_epoch"]]


def test_all_that_is_told_is_told_of_the_network_that_is_delivered(tmp_path: Path) -> None:
    """Weights of two bits that learn nothing more lose much of the accuracy."""
    conversion = {"weight_bits": 2, "fine_tune_epochs": 0, "weight_scale": "layer"}
    report, certificate = run(specification(epochs=4, conversion=conversion), tmp_path)
    summary = report["summary"]
    assert summary["accuracy_as_trained"] - summary["lif_accuracy"] > 0.03
    assert summary["test_accuracy"] == pytest.approx(summary["lif_accuracy"], abs=0.02)
    classes = report["classes"]["accuracy"]
    assert sum(classes) / len(classes) == pytest.approx(summary["test_balanced_accuracy"])
    assert summary["val_accuracy"] == report["quantisation"]["accuracy_after_epoch"][0]
    assert summary["val_accuracy"] < report["quantisation"]["accuracy_before"] - 0.03
    assert certificate["verdict"] == "differs"


def test_a_network_that_rounding_silences_is_no_success(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def zeros(network: SpikingNetwork, *given: Any) -> None:
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.zero_()

    monkeypatch.setattr(quantisation, "put_quantised", zeros)
    with pytest.raises(SilentNetworkError, match="weights of 4 bits no neuron fires") as refused:
        list(train(specification(), digits(), tmp_path, device="cpu"))
    assert "weight_bits" in refused.value.hint

    delivered = Trainer.delivered

    def of_small_weights(trainer: Trainer) -> SpikingNetwork:
        plain = quantisation.plain_network(delivered(trainer))
        return plain.with_weights(
            {name: p.clamp(-0.2, 0.2) for name, p in plain.named_parameters()}
        )

    monkeypatch.setattr(Trainer, "delivered", of_small_weights)
    job = specification(epochs=1, conversion={"grid_bits": 1})
    with pytest.raises(SilentNetworkError, match=r"a grid of 2\^−1 no neuron fires") as refused:
        list(train(job, digits(), tmp_path, device="cpu"))
    assert "auto" in refused.value.hint


@pytest.mark.slow
def test_a_residual_network_with_factors_between_layers(tmp_path: Path) -> None:
    _, certificate = run(specification(network=RESIDUAL, epochs=1), tmp_path)
    assert certificate["grid"]["is_of_the_trained_network"]
    assert [check["spikes_differing"] for check in certificate["checks"]] == [0, 0]


@pytest.mark.slow
def test_a_training_of_quantised_weights_recovers_accuracy(tmp_path: Path) -> None:
    """Of two bits, that is −1, 0, 1 times a power of two."""
    conversion = {"weight_bits": 2, "fine_tune_epochs": 4, "weight_scale": "layer"}
    report, _ = run(specification(epochs=4, conversion=conversion), tmp_path)
    accuracies = report["quantisation"]["accuracy_after_epoch"]
    assert max(accuracies) > accuracies[0] + 0.02


@pytest.mark.slow
def test_it_is_the_same_whenever_it_begins_anew(tmp_path: Path) -> None:
    job, converting = specification(), False

    def stop() -> bool:
        return converting

    found = []
    for name in ("whole", "stopped"):
        directory = tmp_path / name
        directory.mkdir()
        if name == "stopped":
            reports = []
            for report in train(job, digits(), directory, device="cpu", stop=stop):
                reports.append(report)
                converting |= isinstance(report, Converting)  # an epoch of quantised weights
            assert isinstance(reports[-1], Converting)
        run(job, directory, resume_from=directory / "checkpoints")
        found.append(load_lif(directory / "lif.safetensors").tensors)
    for name, tensor in found[0].items():
        assert torch.equal(tensor, found[1][name]), name


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"conversion": {"weight_bits": 4, "grid_bits": 8}}, "chooses the grid itself"),
        ({"neuron": {"decay": 0.9}}, r"weight_bits needs neuron\.decay = 2"),
        ({"neuron": {"name": "plif"}}, "plif learns others: set round_decays"),
        ({"timesteps": 40}, "weight_bits needs timesteps of at most"),
        ({"conversion": {"weight_bits": 1}}, "greater than or equal to 2"),
    ],
)
def test_what_cannot_be_is_refused_in_words(change: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        specification(**change)
