"""The neuron models that a job can choose: both forms, all gradients, conversion."""

from __future__ import annotations

import math
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import Tensor

from saf import certify, load_lif
from saf.config import NEURONS, JobSpecification, Neuron
from saf.lif.convert import convert
from saf.model.forward.lif_forward import lif_advance, lif_rest
from saf.model.forward.presentation import traced
from saf.model.inference import infer, record
from saf.model.network import SpikingNetwork, present
from saf.networks.architecture import (
    INPUT,
    Architecture,
    Connection,
    LayerDescription,
    Linear,
)
from saf.neurons.extended import ExtendedLIF
from saf.neurons.models.alif import AdaptiveLIF
from saf.neurons.models.cuba import CurrentBasedLIF
from saf.neurons.models.lif import LeakyIntegrateAndFire
from saf.neurons.models.plif import ParametricLIF
from saf.training.optimisation.ema import MovingAverage
from tests.saf.methods.rules import METHODS

T = 9
MODELS: dict[str, Neuron] = {
    "a decay for each layer": LeakyIntegrateAndFire(decay=0.6, decays=(0.9, 0.35)),
    "plif": ParametricLIF(decay=0.7, threshold=0.8),
    "plif, from another decay for each layer": ParametricLIF(decay=0.6, decays=(0.9, 0.35)),
    "cuba": CurrentBasedLIF(decay=0.7, threshold=1.2, synaptic_decay=0.4),
    "alif": AdaptiveLIF(decay=0.8, threshold=0.7, adaptation=0.3, adaptation_decay=0.9),
}


def architecture(*, recurrent: bool) -> Architecture:
    def linear(source: str, features: int) -> Connection:
        return Connection(source=source, operations=(Linear(out_features=features),))

    return Architecture(
        input_shape=(3,),
        layers=(
            LayerDescription(name="layer1", connections=(linear(INPUT, 10),)),
            LayerDescription(
                name="layer2",
                connections=(
                    linear("layer1", 8),
                    linear(INPUT, 8),
                    *([linear("layer2", 8)] if recurrent else []),
                ),
            ),
        ),
        readout=LayerDescription(
            name="readout", connections=(linear("layer2", 4), linear("layer1", 4))
        ),
    )


def network(neuron: Neuron, *, recurrent: bool = False, seed: int = 0) -> SpikingNetwork:
    found = SpikingNetwork(
        architecture(recurrent=recurrent),
        neuron,
        mean=[0.4, 0.5, 0.6],
        std=[0.3] * 3,
        seed=0,
        timesteps=T,
    ).double()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in found.named_parameters():
            if name.endswith("bias"):
                parameter.uniform_(-0.1, 0.4, generator=generator)
            elif "neuron" not in name:
                parameter.normal_(0, 1.3 * parameter[0].numel() ** -0.5, generator=generator)
    return found


def inputs(*, frames: bool, seed: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand((4, T, 3) if frames else (4, 3), generator=generator, dtype=torch.float64)


def gradients(
    of: SpikingNetwork, method: str, x: Tensor, *, readout: str | None = None, **more: Any
) -> dict[str, Tensor]:
    of.zero_grad()
    METHODS[method](
        of,
        x,
        torch.tensor([0, 1, 2, 3]),
        timesteps=T,
        loss=torch.nn.functional.cross_entropy,
        update=lambda: None,
        readout=readout,
        **more,
    )
    return {name: p.grad.clone() for name, p in of.named_parameters() if p.grad is not None}


@settings(max_examples=10, deadline=None)
@given(
    model=st.sampled_from(list(MODELS)),
    recurrent=st.booleans(),
    frames=st.booleans(),
    seed=st.integers(0, 1000),
)
@torch.no_grad()
def test_both_forms_fire_alike(model: str, recurrent: bool, frames: bool, seed: int) -> None:
    of = network(MODELS[model], recurrent=recurrent, seed=seed)
    x = inputs(frames=frames, seed=seed)
    stimulus = of.stimulus(x, T)
    shown, state = present(of, stimulus), lif_rest(of, stimulus)
    for step in record(of, x, T):
        _, state = lif_advance(shown, state, synapse=traced, trace_bias_and_input=False)
        for (spikes, potentials), (name, expected) in zip(step, state.neurons.items(), strict=True):
            assert torch.equal(spikes, expected.s), name
            torch.testing.assert_close(potentials, expected.u, rtol=1e-9, atol=1e-9)
    whole = infer(of, x, T, readout="mean", chunk=4)
    single = infer(of, x, T, readout="mean", chunk=1)
    torch.testing.assert_close(whole.scores, single.scores, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("readout", ["mean", "weighted"])
@pytest.mark.parametrize("trace", [False, True], ids=["as published", "with the trace"])
@pytest.mark.parametrize("frames", [False, True], ids=["image", "frames"])
@pytest.mark.parametrize("recurrent", [False, True], ids=["forward", "recurrent"])
@pytest.mark.parametrize("model", MODELS)
def test_saf_e_and_ottt_have_the_same_gradient(
    model: str, recurrent: bool, frames: bool, trace: bool, readout: str
) -> None:
    of, x = network(MODELS[model], recurrent=recurrent), inputs(frames=frames)
    expected = gradients(of, "ottt-a", x, readout=readout, trace_bias_and_input=trace)
    learned = {"layer1.neuron.logit", "layer2.neuron.logit"}
    assert learned.isdisjoint(expected) or learned <= expected.keys()
    assert (MODELS[model].name == "plif") == (learned <= expected.keys())
    for chunk in (1, 4):
        found = gradients(of, "saf-e", x, readout=readout, trace_bias_and_input=trace, chunk=chunk)
        assert found.keys() == expected.keys()
        for name, gradient in found.items():
            assert gradient.any(), name
            torch.testing.assert_close(gradient, expected[name], rtol=1e-9, atol=1e-11)


def test_the_gradient_of_a_learned_decay_is_that_of_its_formula() -> None:
    """q[t] = u[t−1] − V s[t−1] + λ q[t−1] and ∇λ = Σ g_u q, in loops, without autograd."""
    neuron = ParametricLIF(decay=0.7, threshold=0.8)
    of, x = network(neuron), inputs(frames=True)
    y = torch.tensor([0, 1, 2, 3])
    found = gradients(of, "saf-e", x, readout="mean")
    values = {name: p.detach() for name, p in of.named_parameters()}
    decay, v = float(torch.sigmoid(values["layer1.neuron.logit"])), 0.8
    assert decay == pytest.approx(0.7, abs=1e-7)
    of_layer = {"layer1": 0.0, "layer2": 0.0}
    normal = (x - of.mean) / of.std
    u = {"layer1": torch.zeros(4, 10).double(), "layer2": torch.zeros(4, 8).double()}
    s = {name: torch.zeros_like(each) for name, each in u.items()}
    q = {name: torch.zeros_like(each) for name, each in u.items()}
    for t in range(T):
        for name in u:
            own = values[f"{name}.bias"]
            if name == "layer1":
                own = own + normal[:, t] @ values["layer1.0.weight"].T
            else:
                own = own + s["layer1"] @ values["layer2.0.weight"].T
                own = own + normal[:, t] @ values["layer2.1.weight"].T
            kept = u[name] - v * s[name]
            q[name] = kept + decay * q[name]
            u[name] = decay * kept + own
            s[name] = (u[name] >= v).double()
        to_layer2, to_layer1 = values["readout.0.weight"], values["readout.1.weight"]
        scores = s["layer2"] @ to_layer2.T + s["layer1"] @ to_layer1.T + values["readout.bias"]
        of_scores = (torch.softmax(scores, 1) - torch.nn.functional.one_hot(y, 4)) / 4 / T
        slope = {
            name: 4 * torch.sigmoid(4 * (each - v)) * torch.sigmoid(-4 * (each - v))
            for name, each in u.items()
        }
        of_u2 = (of_scores @ to_layer2) * slope["layer2"]
        of_s1 = of_scores @ to_layer1 + of_u2 @ values["layer2.0.weight"]
        of_layer["layer2"] += float((of_u2 * q["layer2"]).sum())
        of_layer["layer1"] += float((of_s1 * slope["layer1"] * q["layer1"]).sum())
    for name, expected in of_layer.items():
        assert expected != 0
        learned = found[f"{name}.neuron.logit"]
        assert float(learned) == pytest.approx(expected * decay * (1 - decay), rel=1e-9)


def test_bptt_has_the_gradient_of_a_decay_that_autograd_finds_in_a_plain_loop() -> None:
    neuron = ParametricLIF(decay=0.7, threshold=0.8)
    of, x = network(neuron), inputs(frames=True)
    found = gradients(of, "bptt", x, readout="mean")

    class Fire(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, z: Tensor) -> Tensor:
            ctx.save_for_backward(z)
            return (z >= 0).double()

        @staticmethod
        def backward(ctx: Any, *grads: Tensor) -> Tensor:
            (z,) = ctx.saved_tensors
            return grads[0] * 4 * torch.sigmoid(4 * z) * torch.sigmoid(-4 * z)

    values = {name: p.detach().clone().requires_grad_() for name, p in of.named_parameters()}
    fire: Any = Fire.apply
    normal = (x - of.mean) / of.std
    u = [torch.zeros(4, 10).double(), torch.zeros(4, 8).double()]
    s = [torch.zeros_like(each) for each in u]
    losses: list[Tensor] = []
    for t in range(T):
        decays = [torch.sigmoid(values[f"layer{n}.neuron.logit"]) for n in (1, 2)]
        of_x = normal[:, t] @ values["layer1.0.weight"].T + values["layer1.bias"]
        u[0] = decays[0] * (u[0] - 0.8 * s[0].detach()) + of_x
        s[0] = fire(u[0] - 0.8)
        of_x = normal[:, t] @ values["layer2.1.weight"].T + values["layer2.bias"]
        of_x = of_x + s[0] @ values["layer2.0.weight"].T
        u[1] = decays[1] * (u[1] - 0.8 * s[1].detach()) + of_x
        s[1] = fire(u[1] - 0.8)
        scores = s[1] @ values["readout.0.weight"].T + s[0] @ values["readout.1.weight"].T
        scores = scores + values["readout.bias"]
        losses.append(torch.nn.functional.cross_entropy(scores, torch.tensor([0, 1, 2, 3])) / T)
    torch.stack(losses).sum().backward()
    assert found.keys() == values.keys()
    for name, value in values.items():
        torch.testing.assert_close(found[name], value.grad, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("recurrent", [False, True], ids=["forward", "recurrent"])
@pytest.mark.parametrize("model", MODELS)
def test_neurons_are_delivered_and_certified(model: str, recurrent: bool, tmp_path: Path) -> None:
    of, x = network(MODELS[model], recurrent=recurrent), inputs(frames=True)
    for layer in of.layers:  # as a training leaves them
        if isinstance(layer.neuron, ExtendedLIF) and layer.neuron.logit is not None:
            with torch.no_grad():
                layer.neuron.logit.add_(0.3)
    specification = JobSpecification(timesteps=T, neuron=MODELS[model])
    lif = convert(of, specification, class_names="abcd", frames=True, dtype=torch.float64)
    lif.save(tmp_path / "lif.safetensors")
    read = load_lif(tmp_path / "lif.safetensors")
    for step, found in zip(record(of, x, T), read.run(x), strict=True):
        for (spikes, potentials), name in zip(step, found.spikes, strict=True):
            assert torch.equal(spikes, found.spikes[name]), name
            torch.testing.assert_close(potentials, found.potentials[name], rtol=1e-9, atol=1e-9)
    state = None
    for t in range(T):
        scores, state = read.step(x[:, t], state)
    torch.testing.assert_close(scores, read(x), rtol=1e-9, atol=1e-9)
    certificate = certify(of, tmp_path / "lif.safetensors", x, torch.tensor([0, 1, 2, 3]))
    assert [
        c["spikes_differing"] for c in certificate["checks"] if c["precision"] == "float64"
    ] == [0]
    if MODELS[model].name == "plif":
        assert {of["name"] for of in lif.description.neurons.values()} == {"lif"}
        assert not any("neuron" in name for name in lif.tensors)


def test_extensions_that_are_off_leave_lif_neurons() -> None:
    x = inputs(frames=True)
    expected = infer(network(LeakyIntegrateAndFire(decay=0.7)), x, T, readout="mean")
    plain = LeakyIntegrateAndFire()
    for made in (
        ExtendedLIF(0.7, 1.0, folded=plain),
        ExtendedLIF(0.7, 1.0, synaptic_decay=0.0, folded=plain),
        ExtendedLIF(0.7, 1.0, learned_decay=True, folded=plain),
    ):
        of = network(LeakyIntegrateAndFire(decay=0.7))
        for layer in of.layers:
            layer.neuron = made
            assert layer.decay == pytest.approx(0.7)
        found = infer(of, x, T, readout="mean")
        torch.testing.assert_close(found.scores, expected.scores, rtol=1e-9, atol=1e-9)


def test_the_decay_that_is_used_follows_its_parameter() -> None:
    made = ParametricLIF(decay=0.7).neurons((3,))
    assert made.logit is not None
    assert made.decay == pytest.approx(0.7, abs=1e-7)
    optimizer = torch.optim.SGD(made.parameters(), lr=1.0)
    made.logit.grad = torch.tensor(-1.0)
    optimizer.step()
    expected = 1 / (1 + math.exp(-(math.log(0.7 / 0.3) + 1)))
    assert made.decay == pytest.approx(expected, abs=1e-6)
    assert made.fold().decay == made.decay
    with torch.no_grad():
        made.logit.fill_(50.0)
    assert made.decay == 1 - 1e-4
    state = made.init_state(torch.zeros(2, 3))
    made.step(torch.ones(2, 3), state)[1].u.sum().backward()


@pytest.mark.parametrize("updates", [0, 1, 2])
@pytest.mark.parametrize("read", [False, True], ids=["unread", "read before"])
def test_copies_with_other_weights_have_their_decay(updates: int, read: bool) -> None:
    """Copies begin with versions of their own, which may equal those of the original."""

    def decays(of: SpikingNetwork) -> list[float]:
        return [float(layer.decay) for layer in of.layers]

    of = network(MODELS["plif"])
    logits = [layer.neuron.logit for layer in of.layers if isinstance(layer.neuron, ExtendedLIF)]
    average = MovingAverage(dict(of.named_parameters()), 0.9)
    before = {name: p.detach().clone() for name, p in of.named_parameters()}
    for iteration in range(updates):
        with torch.no_grad():
            for logit in logits:
                assert logit is not None
                logit.add_(0.5)
        average.update(iteration + 1)
        if read:
            decays(of)
    after = {name: p.detach().clone() for name, p in of.named_parameters()}
    for weights, copy in (
        (average.weights, average.applied_to(of)),
        (before, of.with_weights(before)),
        (after, of.with_weights(after)),
        (after, deepcopy(of)),
    ):
        expected = [float(torch.sigmoid(weights[f"layer{n}.neuron.logit"])) for n in (1, 2)]
        assert decays(copy) == pytest.approx(expected, abs=1e-12)
        neurons = [layer.neuron for layer in copy.layers if layer.neuron is not None]
        assert [neuron.fold().decay for neuron in neurons] == decays(copy)


@pytest.mark.parametrize("name", ["plif", "cuba", "alif"])
def test_what_a_model_cannot_be_trained_by_is_refused_in_words(name: str) -> None:
    assert name in NEURONS
    for method in ({"name": "spike-representation"}, {"name": "saf-e", "update": "step"}):
        with pytest.raises(ValidationError, match=r"take saf-f|take ottt-o") as refused:
            JobSpecification.model_validate({"neuron": {"name": name}, "method": method})
        (error,) = refused.value.errors()
        assert error["loc"] == ("neuron",)
    said, constants = {
        "plif": ("set round_decays", {}),
        "cuba": ("grid_bits needs neuron.synaptic_decay = 2", {"synaptic_decay": 0.6}),
        "alif": ("grid_bits needs neuron.adaptation_decay = 2", {}),
    }[name]
    neuron = {"name": name, **constants}
    with pytest.raises(ValidationError, match=said):
        JobSpecification.model_validate({"neuron": neuron, "conversion": {"grid_bits": "auto"}})
