"""The certificate says what it measured, and notices a network that behaves otherwise."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from saf import tensorfile
from saf.errors import InternalError
from saf.kernels.saf_scan import Constant
from saf.lif.certificate import certify
from saf.lif.convert import convert, on_grid
from saf.lif.grid.saf_run import run_saf
from saf.lif.network import LIFNetwork, load_lif
from saf.lif.sequence import LIFStep
from saf.lif.verdict import costs_too_much, verdict_of, why_not_proven
from saf.model.forward.saf_forward import Neurons
from saf.model.inference import infer
from saf.model.network import SpikingNetwork
from saf.networks.build import build
from saf.networks.convnet import ConvNet
from saf.neurons.base import Accumulated
from tests.saf.training.trainings import resolved

SPECIFICATION = resolved(timesteps=5)
LIMITS = {torch.float32: 40, torch.float64: 16}


@pytest.fixture(scope="module")
def network() -> SpikingNetwork:
    architecture = build(ConvNet(channels=(6, 8, 8)), (1, 8, 8), 4)
    network = SpikingNetwork(architecture, SPECIFICATION.neuron, mean=(0.5,), std=(0.3,), seed=0)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.endswith("gain"):
                parameter.mul_(1.5)
        network.get_parameter("readout.0.weight").mul_(20.0)
    return network


@pytest.fixture(scope="module")
def samples() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    x = torch.randint(0, 256, (48, 1, 8, 8), generator=generator, dtype=torch.uint8)
    return x, torch.randint(0, 4, (48,), generator=generator)


def saved(network: SpikingNetwork, path: Path) -> LIFNetwork:
    lif = convert(network, SPECIFICATION, class_names="abcd", frames=False)
    lif.save(path)
    return lif


def test_certificate_of_a_sound_conversion(
    network: SpikingNetwork, samples: tuple[Tensor, Tensor], tmp_path: Path
) -> None:
    path = tmp_path / "lif.safetensors"
    lif = saved(network, path)
    x, y = samples
    certificate = certify(network, path, x, y, batch_size=16, samples=LIMITS)

    assert certificate["verdict"] == "measured"
    assert certificate["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert [check["precision"] for check in certificate["checks"]] == ["float32", "float64"]
    assert [check["samples"] for check in certificate["checks"]] == [40, 16]
    first, second = certificate["checks"]
    neurons = lif.description.architecture.neurons
    assert first["spikes_compared"] == 40 * 5 * neurons
    assert second["spikes_differing"] == 0
    spread = torch.arange(40) * 48 // 40
    images, labels = x[spread].float() / 255, y[spread]
    own = hashlib.sha256(images.numpy().tobytes()).hexdigest()
    assert certificate["samples_sha256"] == own
    assert certificate["sha256_of_tensors"] == tensorfile.digest_of(lif.tensors)
    assert len(certificate["sha256_of_specification"]) == 64
    right = (lif.predict(images) == labels).double().mean().item()
    assert first["accuracy_lif"] == pytest.approx(right)
    scores = infer(network, images, 5, readout="weighted").scores
    assert first["accuracy_saf"] == pytest.approx((scores.argmax(1) == labels).double().mean())
    assert all(layer["firing_rate_saf"] > 0 for layer in first["layers"])
    assert json.loads(json.dumps(certificate, allow_nan=False)) == certificate


def test_certificate_notices_weights_that_are_not_those_of_the_network(
    network: SpikingNetwork, samples: tuple[Tensor, Tensor], tmp_path: Path
) -> None:
    path = tmp_path / "lif.safetensors"
    lif = convert(network, SPECIFICATION, class_names="abcd", frames=False)
    wrong = {name: -tensor for name, tensor in lif.tensors.items()}
    LIFNetwork(lif.description, wrong).save(path)
    certificate = certify(network, path, *samples, samples=LIMITS)
    assert certificate["verdict"] == "differs"
    assert "do not rely on it" in certificate["statement"]
    assert all(check["spikes_differing"] > 0 for check in certificate["checks"])


def test_margin_tells_how_far_from_the_threshold_a_differing_potential_was(
    network: SpikingNetwork, samples: tuple[Tensor, Tensor], tmp_path: Path
) -> None:
    path = tmp_path / "lif.safetensors"
    lif = convert(network, SPECIFICATION, class_names="abcd", frames=False)
    nudged = dict(lif.tensors)
    nudged["layer1.bias"] = nudged["layer1.bias"] + 0.001
    LIFNetwork(lif.description, nudged).save(path)
    certificate = certify(network, path, *samples, samples={torch.float64: 48})
    (check,) = certificate["checks"]
    first = check["layers"][0]
    assert 0 < first["spikes_differing"] < 0.05 * first["spikes_compared"]
    assert first["margin_largest"] is not None
    # A current of 0.001 per step moves a potential by less than 0.002, unless a spike before
    # differed, which moves it by V λ.
    assert 0 < first["margin_mean"] <= first["margin_largest"] < 1.0


def test_layers_without_a_difference_have_no_margin(
    network: SpikingNetwork, samples: tuple[Tensor, Tensor], tmp_path: Path
) -> None:
    path = tmp_path / "lif.safetensors"
    saved(network, path)
    certificate = certify(network, path, *samples, samples={torch.float64: 16})
    for layer in certificate["checks"][0]["layers"]:
        assert layer["spikes_differing"] == 0
        assert layer["margin_largest"] is layer["margin_mean"] is None


def test_samples_sorted_by_class_are_not_cut_off_at_the_first_classes(
    network: SpikingNetwork, samples: tuple[Tensor, Tensor], tmp_path: Path
) -> None:
    path = tmp_path / "lif.safetensors"
    lif = saved(network, path)
    x, _ = samples
    predicted = lif.predict(x.float() / 255)
    order = torch.argsort(predicted, stable=True)
    # Only the last samples, all of one class, are right.
    wrong = (predicted[order] + 1) % 4
    wrong[-12:] = predicted[order][-12:]
    check = certify(network, path, x[order], wrong, samples={torch.float32: 12})["checks"][0]
    assert check["correct_lif"] == 3


def test_batches_do_not_change_what_is_measured(
    network: SpikingNetwork, samples: tuple[Tensor, Tensor], tmp_path: Path
) -> None:
    path = tmp_path / "lif.safetensors"
    saved(network, path)
    limits = {torch.float64: 30}
    one = certify(network, path, *samples, samples=limits, batch_size=30)["checks"][0]
    other = certify(network, path, *samples, samples=limits, batch_size=7)["checks"][0]
    assert one | {"batch_size": 7} == other


def test_a_damaged_file_gets_no_certificate(
    network: SpikingNetwork, samples: tuple[Tensor, Tensor], tmp_path: Path
) -> None:
    path = tmp_path / "lif.safetensors"
    saved(network, path)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match="damaged"):
        certify(network, path, *samples)


def test_trained_network_is_left_as_it_is(
    network: SpikingNetwork, samples: tuple[Tensor, Tensor], tmp_path: Path
) -> None:
    path = tmp_path / "lif.safetensors"
    saved(network, path)
    certify(network, path, *samples, samples=LIMITS)
    assert network.dtype == torch.float32
    assert load_lif(path).dtype == torch.float32


def on_a_grid(network: SpikingNetwork, path: Path, bits: int) -> LIFNetwork:
    lif = on_grid(convert(network, SPECIFICATION, class_names="abcd", frames=False), bits)
    lif.save(path)
    return lif


def test_certificate_on_a_grid_is_proven_and_says_layer_by_layer_why(
    network: SpikingNetwork, samples: tuple[Tensor, Tensor], tmp_path: Path
) -> None:
    path = tmp_path / "lif.safetensors"
    lif = on_a_grid(network, path, 10)
    certificate = certify(network, path, *samples, samples=LIMITS)
    grid = certificate["grid"]

    assert certificate["verdict"] == "proven"
    assert "for every image" in certificate["statement"]
    assert (grid["bits"], grid["within"], grid["refused"]) == (10, True, None)
    assert [layer["name"] for layer in grid["layers"]] == ["layer1", "layer2", "layer3"]
    for layer in grid["layers"]:
        assert layer["grid_bits"] == 10
        assert layer["fraction_bits"] == 10 + 4
        assert layer["bits_needed"] <= layer["bits_available"] == 24
        assert layer["within"]
    assert grid["readout"]["name"] == "readout"
    assert all(check["spikes_differing"] == 0 for check in certificate["checks"])
    assert all(check["predictions_differing"] == 0 for check in certificate["checks"])
    assert all(layer["firing_rate_saf"] > 0 for layer in certificate["checks"][0]["layers"])
    assert json.loads(json.dumps(certificate, allow_nan=False)) == certificate

    x, y = samples
    spread = torch.arange(40) * 48 // 40
    images, labels = x[spread].float() / 255, y[spread]
    plain = convert(network, SPECIFICATION, class_names="abcd", frames=False)
    before = (plain.predict(images) == labels).double().mean().item()
    after = (lif.predict(images) == labels).double().mean().item()
    assert grid["rounding"] == {
        "samples": 40,
        "accuracy_as_trained": pytest.approx(before),
        "accuracy_on_grid": pytest.approx(after),
        "cost_points": pytest.approx(100 * (before - after)),
    }


def test_a_proof_that_cost_the_accuracy_is_not_announced_as_one(
    network: SpikingNetwork, samples: tuple[Tensor, Tensor], tmp_path: Path
) -> None:
    path = tmp_path / "lif.safetensors"
    x, _ = samples
    y = convert(network, SPECIFICATION, class_names="abcd", frames=False).predict(x.float() / 255)
    on_a_grid(network, path, 1)
    certificate = certify(network, path, x, y, samples=LIMITS)
    grid = certificate["grid"]
    assert certificate["verdict"] == "differs"
    assert grid["within"]
    assert grid["is_of_the_trained_network"]
    assert sum(check["spikes_differing"] for check in certificate["checks"]) == 0
    rounding = grid["rounding"]
    assert rounding["accuracy_as_trained"] == 1.0
    assert rounding["cost_points"] == pytest.approx(100 * (1 - rounding["accuracy_on_grid"]))
    assert certificate["statement"].startswith(
        "Rounding the weights to multiples of 2^-1 took the accuracy from 100.00% to "
    )
    assert "do not rely on it" in certificate["statement"]


def test_a_rounding_that_costs_one_sample_of_a_few_is_tolerated() -> None:
    rounding = {"samples": 40, "cost_points": 2.5}
    grid = {"bits": 8, "rounding": rounding}
    assert not costs_too_much(grid)
    assert costs_too_much({"bits": 8, "rounding": {"samples": 1000, "cost_points": 1.1}})
    assert not costs_too_much({"bits": 8, "rounding": {"samples": 1000, "cost_points": 1.0}})
    assert not costs_too_much({"bits": None})


@pytest.mark.parametrize("samples", [1, 2, 19])
def test_of_very_few_samples_none_may_differ(samples: int) -> None:
    """One of one would be all of them."""
    assert costs_too_much(
        {"bits": 8, "rounding": {"samples": samples, "cost_points": 100 / samples}}
    )
    check = {
        "samples": samples,
        "predictions_differing": 1,
        "correct_lif": samples - 1,
        "correct_saf": samples,
    }
    assert verdict_of([check], None) == "differs"


def test_too_fine_a_grid_is_measured_and_the_layer_is_named(
    network: SpikingNetwork, samples: tuple[Tensor, Tensor], tmp_path: Path
) -> None:
    path = tmp_path / "lif.safetensors"
    on_a_grid(network, path, 18)
    certificate = certify(network, path, *samples, samples=LIMITS)
    assert certificate["verdict"] == "measured"
    assert not certificate["grid"]["within"]
    assert "This is no proof: layer" in certificate["statement"]


def test_other_weights_on_the_grid_are_not_proven(
    network: SpikingNetwork, samples: tuple[Tensor, Tensor], tmp_path: Path
) -> None:
    path = tmp_path / "lif.safetensors"
    lif = on_a_grid(network, path, 10)
    nudged = dict(lif.tensors)
    nudged["layer1.bias"] = nudged["layer1.bias"] + 2.0**-10
    LIFNetwork(lif.description, nudged).save(path)
    certificate = certify(network, path, *samples, samples=LIMITS)
    assert certificate["verdict"] != "proven"
    assert certificate["grid"]["within"]
    assert not certificate["grid"]["is_of_the_trained_network"]
    assert "does not hold the trained network" in certificate["statement"]


def test_a_spike_that_differs_against_the_proof_is_an_internal_error(
    network: SpikingNetwork,
    samples: tuple[Tensor, Tensor],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(lif: LIFNetwork, x: Tensor, neurons: Neurons) -> Iterator[LIFStep]:
        def flipped(
            name: str,
            current: Tensor | None,
            constant: Constant,
            before: Tensor | None,
            carried: tuple[Tensor, ...],
        ) -> Accumulated:
            assert current is not None
            if name == "layer2":
                current[0, 0, 0, 0] = 9.0 if current[0, 0, 0, 0] < 1.0 else -9.0
            return neurons(name, current, constant, before, carried)

        return run_saf(lif, x, flipped)

    path = tmp_path / "lif.safetensors"
    on_a_grid(network, path, 10)
    monkeypatch.setattr("saf.lif.saf_form.run_saf", broken)
    with pytest.raises(InternalError, match="proven to be exact"):
        certify(network, path, *samples, samples=LIMITS)


def test_a_grid_that_was_refused_is_named_with_the_reason(
    network: SpikingNetwork, samples: tuple[Tensor, Tensor], tmp_path: Path
) -> None:
    path = tmp_path / "lif.safetensors"
    saved(network, path)
    certificate = certify(network, path, *samples, samples=LIMITS, grid_refused="too large")
    assert certificate["verdict"] == "measured"
    assert certificate["grid"] == {"bits": None, "refused": "too large"}
    why = why_not_proven(certificate["verdict"], certificate["grid"])
    assert why == "its weights are on no grid: too large"
    assert why_not_proven("measured", None) is None  # nobody asked for one
    assert why_not_proven("proven", {"bits": 8}) is None
    assert "though one was asked for: too large" in certificate["statement"]
