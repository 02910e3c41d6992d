"""Each layer may have neurons of its own: another decay and threshold, or another model."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from saf import certify, config, load_lif
from saf.config import JobSpecification, Neuron
from saf.data import digits
from saf.lif.convert import convert
from saf.model.forward.lif_forward import lif_advance, lif_rest
from saf.model.forward.presentation import traced
from saf.model.inference import infer, record
from saf.model.network import SpikingNetwork, network_of, present
from saf.networks.architecture import (
    INPUT,
    Architecture,
    Connection,
    Conv,
    Flatten,
    LayerDescription,
    Linear,
)
from saf.neurons import base
from saf.neurons.lif import LIF
from saf.training.checkpoint import newest
from saf.training.events import Finished
from saf.training.loop import train
from tests.saf.methods.rules import METHODS
from tests.saf.neurons.adaptive import (
    Adaptive,
    AdaptiveSettings,
    registered,
)

T = 7
__all__ = ["registered"]


def architecture(*, feedback: bool) -> Architecture:
    """Two layers, a relay that adds both up, a third one and a readout that hears several."""

    def convolved(source: str) -> Connection:
        return Connection(source=source, operations=(Conv(out_channels=4, standardised=False),))

    def flat(source: str) -> Connection:
        return Connection(source=source, operations=(Flatten(), Linear(out_features=3)))

    first = [convolved(INPUT), *([convolved("layer3")] if feedback else [])]
    return Architecture(
        input_shape=(2, 6, 6),
        layers=(
            LayerDescription(name="layer1", connections=tuple(first)),
            LayerDescription(name="layer2", connections=(convolved("layer1"), convolved(INPUT))),
            LayerDescription(
                name="sum",
                connections=(convolved("layer1"), Connection(source="layer2")),
                relay=True,
            ),
            LayerDescription(name="layer3", connections=(convolved("sum"), convolved("layer2"))),
        ),
        readout=LayerDescription(
            name="readout", connections=(flat("layer3"), flat("sum"), flat("layer2"))
        ),
    )


def network(neurons: Mapping[str, base.Neuron], *, feedback: bool) -> SpikingNetwork:
    found = SpikingNetwork(
        architecture(feedback=feedback),
        Neuron(decay=0.6),
        mean=[0.4, 0.5],
        std=[0.25, 0.3],
        seed=0,
        neurons=neurons,
    ).double()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in found.parameters():
            if parameter.dim() == 1:
                parameter.uniform_(-0.1, 0.5, generator=generator)
            else:
                parameter.normal_(0, 1.2 * parameter[0].numel() ** -0.5, generator=generator)
    return found


NEURONS: dict[str, dict[str, base.Neuron]] = {
    "decays": {"layer1": LIF(0.9, 0.8), "layer2": LIF(0.35, 1.2), "layer3": LIF(0.8, 1.0)},
    "one of them": {"layer2": LIF(0.95, 1.0)},
    "a model from outside": {"layer2": Adaptive()},
}


def inputs(*, frames: bool) -> Tensor:
    generator = torch.Generator().manual_seed(2)
    shape = (3, T, 2, 6, 6) if frames else (3, 2, 6, 6)
    return torch.rand(shape, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("frames", [False, True], ids=["image", "frames"])
@pytest.mark.parametrize("feedback", [False, True], ids=["forward", "feedback"])
@pytest.mark.parametrize("neurons", NEURONS.values(), ids=NEURONS)
@torch.no_grad()
def test_both_forms_fire_alike(
    neurons: dict[str, base.Neuron], feedback: bool, frames: bool
) -> None:
    of, x = network(neurons, feedback=feedback), inputs(frames=frames)
    stimulus = of.stimulus(x, T)
    shown, state = present(of, stimulus), lif_rest(of, stimulus)
    fired = dict.fromkeys(state.neurons, 0.0)
    for step in record(of, x, T):
        _, state = lif_advance(shown, state, synapse=traced, trace_bias_and_input=False)
        for (spikes, potentials), (name, expected) in zip(step, state.neurons.items(), strict=True):
            assert torch.equal(spikes, expected.s), name
            torch.testing.assert_close(potentials, expected.u, rtol=1e-9, atol=1e-9)
            fired[name] += float(spikes.mean()) / T
    assert all(0.02 < rate < 0.98 for rate in fired.values()), fired


@pytest.mark.parametrize("readout", ["mean", "weighted"])
@pytest.mark.parametrize("trace", [False, True], ids=["as published", "with the trace"])
@pytest.mark.parametrize("frames", [False, True], ids=["image", "frames"])
@pytest.mark.parametrize("feedback", [False, True], ids=["forward", "feedback"])
@pytest.mark.parametrize("neurons", NEURONS.values(), ids=NEURONS)
def test_saf_e_and_ottt_have_the_same_gradient(
    neurons: dict[str, base.Neuron], feedback: bool, frames: bool, trace: bool, readout: str
) -> None:
    of, x = network(neurons, feedback=feedback), inputs(frames=frames)
    y = torch.tensor([0, 1, 2])
    found = []
    for method, chunk in (("ottt-a", None), ("saf-e", 1), ("saf-e", 3)):
        of.zero_grad()
        METHODS[method](
            of,
            x,
            y,
            timesteps=T,
            loss=torch.nn.functional.cross_entropy,
            update=lambda: None,
            trace_bias_and_input=trace,
            chunk=chunk,
            readout=readout,
        )
        found.append(
            {name: p.grad.clone() for name, p in of.named_parameters() if p.grad is not None}
        )
    expected, *others = found
    for other in others:
        assert other.keys() == expected.keys()
        for name, gradient in other.items():
            assert gradient.any(), name
            torch.testing.assert_close(gradient, expected[name], rtol=1e-9, atol=1e-10)


def test_the_decay_of_a_layer_is_its_own() -> None:
    """A layer that does not leak fires more often."""
    x = inputs(frames=False)
    rates = []
    for decay in (0.2, 1.0):
        of = network({"layer2": LIF(decay, 1.0)}, feedback=False)
        steps = list(record(of, x, T))
        rates.append(torch.stack([step[1][0] for step in steps]).mean())
        assert torch.equal(steps[0][0][0], next(iter(record(of, x, 1)))[0][0])
    assert rates[0] < rates[1]


@pytest.mark.parametrize("feedback", [False, True], ids=["forward", "feedback"])
@pytest.mark.parametrize("neurons", NEURONS.values(), ids=NEURONS)
@pytest.mark.usefixtures("registered")
def test_neurons_of_layers_are_delivered_and_certified(
    neurons: dict[str, base.Neuron], feedback: bool, tmp_path: Path
) -> None:
    of, x = network(neurons, feedback=feedback), inputs(frames=False)
    specification = JobSpecification(timesteps=T, neuron=Neuron(decay=0.6))
    lif = convert(of, specification, class_names="abc", frames=False, dtype=torch.float64)
    assert lif.description.neurons.keys() == neurons.keys()
    assert "surrogate" not in str(lif.description.neurons)
    lif.save(tmp_path / "lif.safetensors")
    read = load_lif(tmp_path / "lif.safetensors")
    for step, found in zip(record(of, x, T), read.run(x), strict=True):
        for (spikes, potentials), name in zip(step, found.spikes, strict=True):
            assert torch.equal(spikes, found.spikes[name]), name
            torch.testing.assert_close(potentials, found.potentials[name], rtol=1e-9, atol=1e-9)
    expected = infer(of, x, T, readout="weighted").scores
    torch.testing.assert_close(read(x), expected, rtol=1e-9, atol=1e-9)
    certificate = certify(of, tmp_path / "lif.safetensors", x, torch.tensor([0, 1, 2]))
    (check,) = (c for c in certificate["checks"] if c["precision"] == "float64")
    assert check["spikes_differing"] == 0
    assert check["spikes_compared"] == 3 * T * read.description.architecture.neurons
    rates = {layer["name"]: layer["firing_rate_saf"] for layer in check["layers"]}
    assert all(0.02 < rate < 0.98 for rate in rates.values()), rates


@pytest.mark.usefixtures("registered")
def test_a_certificate_finds_neurons_that_fire_otherwise(tmp_path: Path) -> None:
    of, x = network({"layer2": Adaptive()}, feedback=False), inputs(frames=False)
    specification = JobSpecification(timesteps=T, neuron=Neuron(decay=0.6))
    lif = convert(of, specification, class_names="abc", frames=False, dtype=torch.float64)
    lif.description.neurons["layer2"]["beta"] = 0.9
    lif.save(tmp_path / "lif.safetensors")
    certificate = certify(of, tmp_path / "lif.safetensors", x, torch.tensor([0, 1, 2]))
    for check in certificate["checks"]:
        differing = {each["name"]: each["spikes_differing"] for each in check["layers"]}
        assert differing["layer1"] == 0
        assert differing["layer2"] > 0


def test_a_file_with_neurons_that_nothing_adds_is_refused(tmp_path: Path, registered: None) -> None:
    of = network({"layer2": Adaptive()}, feedback=False)
    specification = JobSpecification(timesteps=T, neuron=Neuron(decay=0.6))
    lif = convert(of, specification, class_names="abc", frames=False)
    lif.save(tmp_path / "lif.safetensors")
    config.NEURONS.remove("test-adaptive")
    try:
        with pytest.raises(ValueError, match="layer2 has neurons 'test-adaptive', which nothing"):
            load_lif(tmp_path / "lif.safetensors")
    finally:
        config.NEURONS.add(AdaptiveSettings)


@pytest.mark.usefixtures("registered")
def test_constants_that_are_learned_are_trained_saved_and_delivered(tmp_path: Path) -> None:
    asked = {"name": "test-learned", "beta": 0.25, "threshold": 0.8}
    job = JobSpecification.model_validate(
        {
            "network": {"name": "mlp", "features": [12, 8]},
            "method": {"name": "bptt"},
            "neuron": asked,
            "optimizer": {"name": "adamw", "learning_rate": 0.01},
            "timesteps": 3,
            "epochs": 1,
        }
    )
    reports = list(train(job, digits(), tmp_path, device="cpu"))
    assert isinstance(reports[-1], Finished)
    lif = load_lif(tmp_path / "lif.safetensors")
    betas = {name: constants["beta"] for name, constants in lif.description.neurons.items()}
    assert betas.keys() == {"layer1", "layer2"}
    assert all(beta != 0.25 for beta in betas.values())
    assert betas["layer1"] != betas["layer2"]
    assert not any("learned" in name for name in lif.tensors)
    saved = newest(tmp_path / "checkpoint.safetensors")[0]
    assert saved is not None
    best = saved.best or saved.weights
    assert float(best["layer1.neuron.learned"]) == pytest.approx(betas["layer1"])
    certificate = json.loads((tmp_path / "certificate.json").read_text())
    assert [check["spikes_differing"] for check in certificate["checks"]] == [0, 0]


@pytest.mark.usefixtures("registered")
def test_a_job_chooses_neurons_by_name_with_their_settings() -> None:
    asked = {"name": "test-adaptive", "beta": 0.4, "surrogate": {"name": "triangle"}}
    specification = JobSpecification.model_validate({"neuron": asked})
    of = network_of(specification, architecture(feedback=False), mean=[0.5] * 2, std=[0.3] * 2)
    made = [layer.neuron for layer in of.layers if layer.neuron is not None]
    assert all(isinstance(each, Adaptive) and each.beta == 0.4 for each in made)
    again = JobSpecification.model_validate(specification.model_dump(mode="json"))
    assert again.neuron == specification.neuron
    with pytest.raises(ValidationError, match="grid_bits needs neurons for which a bound is known"):
        JobSpecification.model_validate({"neuron": asked, "conversion": {"grid_bits": "auto"}})
