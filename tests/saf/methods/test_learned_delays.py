"""Learned delays: BPTT against autograd through a loop, and what decays.

That SAF-E and OTTT have the gradient of a loop, centres included, is tested with all random
networks.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from saf.config import SGD, Neuron
from saf.model.network import SpikingNetwork
from saf.networks.architecture import (
    INPUT,
    Architecture,
    Connection,
    LayerDescription,
    LearnedDelay,
    Linear,
)
from saf.neurons.fire import derivative, fire
from saf.training.optimisation.optimizers import optimizer_of
from tests.saf.methods.rules import METHODS

T, WIDTH = 7, 0.6


def network(*, recurrent: bool, seed: int, span: int = 3) -> SpikingNetwork:
    def heard(source: str, features: int, delay: int = 0, span: int = 0) -> Connection:
        return Connection(
            source=source,
            operations=(Linear(out_features=features),),
            delay=delay,
            learned_delay=LearnedDelay(span=span, width=WIDTH) if span else None,
        )

    own = (heard("layer2", 4, 1, 2),) if recurrent else ()
    of = SpikingNetwork(
        Architecture(
            input_shape=(3,),
            layers=(
                LayerDescription(name="layer1", connections=(heard(INPUT, 5, 0, 2),)),
                LayerDescription(name="layer2", connections=(heard("layer1", 4, 0, span), *own)),
            ),
            readout=LayerDescription(name="readout", connections=(heard("layer2", 2),)),
        ),
        Neuron(decay=0.8),
        mean=[0.0] * 3,
        std=[1.0] * 3,
        seed=0,
    ).double()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in of.named_parameters():
            parameter.normal_(0.0, 0.9, generator=generator)
            if name.endswith("centre"):
                parameter.uniform_(generator=generator)
    return of


def loss_of_a_loop(of: SpikingNetwork, x: Tensor, y: Tensor) -> Tensor:
    """Σ_t loss(o[t], y) / T with every weight at every tap, spikes with a surrogate gradient."""
    surrogate = derivative(of.neuron.surrogate)
    sent: dict[str, list[Tensor]] = {"input": list(x.unbind(1)), "layer1": [], "layer2": []}
    u = {"layer1": x.new_zeros(len(x), 5), "layer2": x.new_zeros(len(x), 4)}
    s = {name: torch.zeros_like(potential) for name, potential in u.items()}
    total = x.new_zeros(())
    for t in range(T):
        for layer in of.architecture.layers:
            name = layer.name
            current = of.get_parameter(f"{name}.bias").expand_as(u[name])
            for number, connection in enumerate(layer.connections):
                weight = of.get_parameter(f"{name}.{number}.weight")
                delay = connection.learned_delay
                assert delay is not None
                c = delay.span * of.get_parameter(f"{name}.{number}.centre")
                e = [(-((d - c) ** 2) / (2 * WIDTH**2)).exp() for d in range(delay.span + 1)]
                for d, own in enumerate(e):
                    then = t - d - connection.delay
                    if then >= 0:
                        arriving = sent[connection.source][then]
                        current = current + arriving @ (weight * own / sum(e)).T
            u[name] = 0.8 * (u[name] - s[name].detach()) + current
            s[name] = fire(u[name] - 1.0, surrogate)
            sent[name].append(s[name])
        scores = s["layer2"] @ of.get_parameter("readout.0.weight").T
        total = total + F.cross_entropy(scores + of.get_parameter("readout.bias"), y) / T
    return total


@settings(max_examples=5, deadline=None)
@given(recurrent=st.booleans(), seed=st.integers(0, 1000))
def test_bptt_has_the_gradient_of_autograd_centres_included(recurrent: bool, seed: int) -> None:
    of = network(recurrent=recurrent, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn((3, T, 3), generator=generator, dtype=torch.float64)
    y = torch.tensor([0, 1, 1])
    expected = torch.autograd.grad(loss_of_a_loop(of, x, y), list(of.parameters()))
    given_to = {"timesteps": T, "loss": F.cross_entropy, "update": lambda: None}
    METHODS["bptt"](of, x, y, **given_to)
    for (name, parameter), gradient in zip(of.named_parameters(), expected, strict=True):
        found = torch.zeros_like(gradient) if parameter.grad is None else parameter.grad
        torch.testing.assert_close(found, gradient, rtol=1e-9, atol=1e-12, msg=name)


def test_weights_decay_and_delays_do_not() -> None:
    of = network(recurrent=False, seed=0)
    optimizer = optimizer_of(SGD(learning_rate=1.0, weight_decay=0.5), dict(of.named_parameters()))
    before = {name: p.detach().clone() for name, p in of.named_parameters()}
    for parameter in of.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    for name, parameter in of.named_parameters():
        kept = 1.0 if name.endswith("centre") else 0.5
        torch.testing.assert_close(parameter.detach(), kept * before[name])
