"""OTTT_O learns the λ of a layer after every time step: potentials and traces live on, by what λ is
by then."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from saf.config import Surrogate
from saf.model.batch import Batch
from saf.model.network import SpikingNetwork
from saf.networks.architecture import (
    INPUT,
    Architecture,
    Connection,
    LayerDescription,
    Linear,
)
from saf.neurons.models.plif import ParametricLIF
from tests.saf.methods.rules import rule_of

SIZES = (3, 4, 3, 2)  # of the input, two layers and the readout
STEPS, RATE, V, SLOPE = 6, 0.5, 0.6, 1.0


def network_of(delay: int) -> SpikingNetwork:
    """The second layer hears the first at once and, where there is a `delay`, after it."""

    def layer(name: str, source: str, size: int, *delays: int) -> LayerDescription:
        operations = (Linear(out_features=size),)
        connections = tuple(
            Connection(source=source, operations=operations, delay=each) for each in delays
        )
        return LayerDescription(name=name, connections=connections)

    delays = (0, delay) if delay else (0,)
    architecture = Architecture(
        input_shape=SIZES[:1],
        layers=(layer("one", INPUT, SIZES[1], 0), layer("two", "one", SIZES[2], *delays)),
        readout=layer("readout", "two", SIZES[3], 0),
    )
    neuron = ParametricLIF(decay=0.5, threshold=V, surrogate=Surrogate(slope=SLOPE))
    network = SpikingNetwork(architecture, neuron, mean=[0.0] * 3, std=[1.0] * 3, seed=0).double()
    generator = torch.Generator().manual_seed(3)
    for name, parameter in network.named_parameters():
        if ".neuron." not in name:
            torch.nn.init.normal_(parameter, 0.2, 0.6, generator=generator)
    return network


class _Spike(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:  # type: ignore[no-untyped-def]
        ctx.save_for_backward(x)
        return (x >= 0).to(x.dtype)

    @staticmethod
    def backward(ctx, grad: Tensor) -> Tensor:  # type: ignore[no-untyped-def]
        s = torch.sigmoid(SLOPE * ctx.saved_tensors[0])
        return grad * SLOPE * s * (1.0 - s)


def trained_by_hand(
    start: dict[str, Tensor], x: Tensor, y: Tensor, delay: int
) -> tuple[dict[str, Tensor], int]:
    """The parameters after as many updates as there are time steps, and the number of spikes."""
    p = {name: value.clone().requires_grad_() for name, value in start.items()}
    zero = {"one": x.new_zeros(len(x), SIZES[1]), "two": x.new_zeros(len(x), SIZES[2])}
    u, s, q = dict(zero), dict(zero), dict(zero)
    of_two, of_readout = zero["one"], zero["two"]  # traces of what "two" and the readout hear
    sent, traces, fired = [], [], 0

    def heard(name: str, spikes: Tensor, trace: Tensor) -> Tensor:
        weight = p[name]
        return spikes @ weight.detach().T + trace @ (weight - weight.detach()).T

    def fire(name: str, current: Tensor) -> Tensor:
        decay = torch.sigmoid(p[f"{name}.neuron.logit"])
        kept = u[name] - V * s[name]
        q[name] = kept + decay.detach() * q[name]
        now = decay.detach() * kept + current
        now = now + (decay - decay.detach()) * q[name]
        u[name] = now.detach()
        spikes: Tensor = _Spike.apply(now - V)  # type: ignore[no-untyped-call]
        s[name] = spikes.detach()
        return spikes

    for t in range(STEPS):
        one = fire("one", x @ p["one.0.weight"].T + p["one.bias"])
        of_two = torch.sigmoid(p["two.neuron.logit"]).detach() * of_two + one.detach()
        current = heard("two.0.weight", one, of_two - one.detach() + one) + p["two.bias"]
        sent.append(one.detach())
        traces.append(of_two)
        if delay and t >= delay:
            current = current + heard("two.1.weight", sent[t - delay], traces[t - delay])
        two = fire("two", current)
        of_readout = 0.5 * of_readout + two.detach()
        scores = heard("readout.0.weight", two, of_readout) + p["readout.bias"]
        (F.cross_entropy(scores, y) / STEPS).backward()
        fired += int(one.sum() + two.sum())
        with torch.no_grad():
            for value in p.values():
                if value.grad is not None:
                    value -= RATE * value.grad
                    value.grad = None
    return {name: value.detach() for name, value in p.items()}, fired


@pytest.mark.parametrize("delay", [0, 1, 2])
def test_a_learned_decay_goes_on_from_its_traces(delay: int) -> None:
    network = network_of(delay)
    start = {name: value.detach().clone() for name, value in network.named_parameters()}
    generator = torch.Generator().manual_seed(4)
    x = torch.rand(5, SIZES[0], generator=generator, dtype=torch.float64)
    y = torch.tensor([0, 1, 1, 0, 1])
    expected, fired = trained_by_hand(start, x, y, delay)
    optimizer = torch.optim.SGD(network.parameters(), lr=RATE)

    def update() -> None:
        optimizer.step()
        optimizer.zero_grad()

    batch = Batch(x=x, y=y, timesteps=STEPS, loss=F.cross_entropy, update=update)
    outcome = rule_of("ottt-o")(network, batch)
    assert float(outcome.firing_rates @ torch.tensor(SIZES[1:3]).double()) * 30 == pytest.approx(
        fired
    )
    for name, value in network.named_parameters():
        assert (value - start[name]).abs().max() > 1e-4, f"{name} learns"
        torch.testing.assert_close(value.detach(), expected[name], rtol=1e-11, atol=1e-12)
