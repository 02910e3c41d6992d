"""Samples of different lengths, padded to one: loss, scores and gradients are those of each sample
alone, cut at its end."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from saf.config.methods import Readout
from saf.model.batch import Batch
from saf.model.inference import infer
from saf.model.lengths import Lengths
from saf.model.network import SpikingNetwork
from saf.model.outcome import Outcome
from saf.networks.architecture import Linear
from saf.networks.chain import chained
from saf.neurons.models.alif import AdaptiveLIF
from saf.neurons.models.cuba import CurrentBasedLIF
from saf.neurons.models.lif import LeakyIntegrateAndFire
from saf.neurons.models.plif import ParametricLIF
from saf.training.micro_batches import in_parts
from saf.training.optimisation.loss import loss_function
from tests.saf.methods.rules import METHODS
from tests.saf.neurons.test_models import T, network
from tests.saf.training.trainings import specification

NEURONS = {
    "lif": LeakyIntegrateAndFire(decay=0.7),
    "plif": ParametricLIF(decay=0.7),
    "cuba": CurrentBasedLIF(decay=0.6, synaptic_decay=0.4),
    "alif": AdaptiveLIF(decay=0.8, threshold=0.7),
}
WAYS: list[tuple[str, Readout]] = [
    *(("saf-e", readout) for readout in ("mean", "weighted", "last", "max")),
    *(("ottt-a", readout) for readout in ("mean", "weighted", "last", "max")),
    *(("bptt", readout) for readout in ("mean", "weighted", "last", "max")),
    ("saf-f", "weighted"),
    ("spike-representation", "weighted"),
]


def padded(lengths: list[int], seed: int) -> Tensor:
    """Series with loud noise behind the end of each, which nothing may hear."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand((len(lengths), T, 3), generator=generator, dtype=torch.float64)
    for sample, length in zip(x, lengths, strict=True):
        sample[length:] += 3.0
    return x


def learnt(
    of: SpikingNetwork, method: str, readout: str, x: Tensor, y: Tensor, **more: Any
) -> tuple[Outcome, dict[str, Tensor]]:
    of.zero_grad()
    loss = loss_function(specification().loss, torch.tensor([0.5, 1.0, 2.0, 1.5]).double())
    steps = more.pop("timesteps", T)
    batch = Batch(x=x, y=y, timesteps=steps, loss=loss, update=lambda: None, **more)
    settings = {"name": method} | ({} if readout == "weighted" else {"readout": readout})
    if method not in ("saf-f", "spike-representation"):
        settings["readout"] = readout
    found = specification(method=settings).method.rule()(of, batch)
    return found, {n: p.grad.clone() for n, p in of.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("recurrent", [False, True], ids=["forward", "recurrent"])
@pytest.mark.parametrize("neuron", NEURONS)
@pytest.mark.parametrize(("method", "readout"), WAYS, ids=lambda way: str(way))
def test_each_sample_is_learnt_from_as_if_it_ended(
    method: str, readout: Readout, neuron: str, recurrent: bool
) -> None:
    if method == "spike-representation" and neuron != "lif":
        pytest.skip("it knows lif alone")
    of, own = network(NEURONS[neuron], recurrent=recurrent), [3, T, 1, 6]
    x, y = padded(own, 1), torch.tensor([0, 1, 2, 3])
    lengths = Lengths(torch.tensor(own))
    chunk = None if recurrent else 4
    whole, gradients = learnt(of, method, readout, x, y, lengths=lengths, chunk=chunk)
    expected = {name: torch.zeros_like(gradient) for name, gradient in gradients.items()}
    losses, spikes = [], torch.zeros_like(whole.firing_rates)
    for n, length in enumerate(own):
        alone, share = learnt(
            of, method, readout, x[n : n + 1, :length], y[n : n + 1], timesteps=length
        )
        torch.testing.assert_close(whole.scores[n], alone.scores[0], rtol=1e-9, atol=1e-12)
        losses.append(alone.loss)
        spikes += alone.firing_rates * length
        for name, gradient in share.items():
            expected[name] += gradient / len(own)
    torch.testing.assert_close(whole.loss, torch.stack(losses).mean(), rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(whole.firing_rates, spikes / sum(own))
    assert any(gradient.any() for gradient in gradients.values())
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, expected[name], rtol=1e-8, atol=1e-11)
    found = infer(
        of,
        x,
        T,
        readout=readout,
        chunk=4,
        lengths=lengths,
        loss=lambda scores, weights=None: F.cross_entropy(scores, y),
    )
    torch.testing.assert_close(found.scores, whole.scores, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(found.firing_rates, whole.firing_rates)


@pytest.mark.parametrize("method", ["ottt-o", "saf-e"])
def test_updates_after_each_step_are_those_of_samples_that_go_on(method: str) -> None:
    """With a rate of 0, so that the weights stay: the gradients add up to those of one update."""
    of, own = network(NEURONS["lif"]), [3, T, 1, 6]
    x, y = padded(own, 1), torch.tensor([0, 1, 2, 3])
    more: dict[str, Any] = {"lengths": Lengths(torch.tensor(own))}
    _, expected = learnt(of, "ottt-a", "mean", x, y, **more)
    of.zero_grad()
    settings = {"name": method} | ({"update": "step"} if method == "saf-e" else {})
    loss = loss_function(specification().loss, torch.tensor([0.5, 1.0, 2.0, 1.5]).double())
    batch = Batch(x=x, y=y, timesteps=T, loss=loss, update=lambda: None, **more)
    specification(method=settings).method.rule()(of, batch)
    for name, gradient in expected.items():
        grad = of.get_parameter(name).grad
        assert grad is not None
        torch.testing.assert_close(grad, gradient, rtol=1e-9, atol=1e-12)


@pytest.mark.slow
@settings(max_examples=15, deadline=None)
@given(
    own=st.lists(st.integers(1, T), min_size=2, max_size=5),
    parts=st.integers(1, 5),
    way=st.sampled_from(WAYS),
    chunk=st.integers(1, T),
)
def test_parts_of_a_batch_add_up(
    own: list[int], parts: int, way: tuple[str, Readout], chunk: int
) -> None:
    method, readout = way
    of, x = network(NEURONS["lif"]), padded(own, 3)
    y = torch.arange(len(own)) % 4
    lengths = Lengths(torch.tensor(own))
    whole, gradients = learnt(of, method, readout, x, y, lengths=lengths)
    settings: dict[str, Any] = {"name": method}
    if method not in ("saf-f", "spike-representation"):
        settings["readout"] = readout
    loss = loss_function(specification().loss, torch.tensor([0.5, 1.0, 2.0, 1.5]).double())
    of.zero_grad()
    rule = in_parts(specification(method=settings).method.rule(), parts)
    batch = Batch(
        x=x, y=y, timesteps=T, loss=loss, update=lambda: None, lengths=lengths, chunk=chunk
    )
    found = rule(of, batch)
    torch.testing.assert_close(found.scores, whole.scores, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(found.loss, whole.loss, rtol=1e-9, atol=1e-12)
    for name, gradient in gradients.items():
        grad = of.get_parameter(name).grad
        assert grad is not None
        torch.testing.assert_close(grad, gradient, rtol=1e-8, atol=1e-11)


@pytest.mark.parametrize(("method", "readout"), WAYS, ids=lambda way: str(way))
def test_samples_that_fill_all_time_steps_are_learnt_from_as_others(
    method: str, readout: Readout
) -> None:
    of, x, y = network(NEURONS["lif"]), padded([T, T], 5), torch.tensor([0, 3])
    plain, expected = learnt(of, method, readout, x, y)
    lengths = Lengths(torch.tensor([T, T]))
    found, gradients = learnt(of, method, readout, x, y, lengths=lengths)
    torch.testing.assert_close(found.scores, plain.scores, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(found.loss, plain.loss, rtol=1e-9, atol=1e-12)
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, expected[name], rtol=1e-8, atol=1e-11)


def test_methods_are_all_tried() -> None:
    assert {method for method, _ in WAYS} | {"ottt-o"} == set(METHODS)


@pytest.mark.parametrize("method", ["saf-e", "saf-f", "ottt-a", "bptt"])
def test_spikes_of_a_sample_are_counted_in_more_than_its_bfloat16(method: str) -> None:
    """Above 256 not every whole number is one of bfloat16."""
    of = SpikingNetwork(
        chained([[Linear(out_features=2048)], [Linear(out_features=3)]], (3,)),
        LeakyIntegrateAndFire(decay=0.5, threshold=0.01),
        mean=(0.0,) * 3,
        std=(1.0,) * 3,
        seed=1,
        compute_dtype=torch.bfloat16,
    )
    x, y = padded([T, T], 2).float(), torch.tensor([0, 1])
    loss = loss_function(specification().loss, None)
    rule = specification(method={"name": method}).method.rule()
    found = [
        rule(of, Batch(x=x, y=y, timesteps=T, loss=loss, update=lambda: None, lengths=lengths))
        for lengths in (None, Lengths(torch.tensor([T, T])))
    ]
    assert 2048 * float(found[0].firing_rates) > 256
    assert torch.equal(found[0].firing_rates, found[1].firing_rates)
