"""A spiking network is a module as any other of torch."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
import torch
import torchinfo
from torch import Tensor

from saf.config import Neuron
from saf.config.methods import Readout
from saf.kernels.lif_scan import LIFState
from saf.model.inference import infer
from saf.model.layers import Layer
from saf.model.network import SpikingNetwork
from saf.networks.build import build
from saf.networks.convnet import ConvNet
from saf.networks.resnet import ResNet18
from tests.saf.methods.rules import METHODS

T = 4


def network(readout: Readout = "mean", **changes: Any) -> SpikingNetwork:
    of = changes.pop("of", ConvNet(channels=(4, 6), gain=1.5))
    settings: dict[str, Any] = {"timesteps": T} | changes
    neuron = settings.pop("neuron", Neuron())
    found = SpikingNetwork(
        build(of, (2, 8, 8), 3),
        neuron,
        mean=[0.4, 0.5],
        std=[0.25, 0.3],
        seed=1,
        readout=readout,
        **settings,
    )
    with torch.no_grad():
        for layer in (*found.layers, found.readout_layer):
            layer.bias.uniform_(0.1, 0.4, generator=torch.Generator().manual_seed(2))
    return found.double()


def batch(*frames: int, samples: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    return torch.rand(samples, *frames, 2, 8, 8, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("readout", ["mean", "weighted"])
@pytest.mark.parametrize("frames", [(), (T,)])
def test_a_call_gives_the_scores_of_an_evaluation(readout: Readout, frames: tuple[int]) -> None:
    of, x = network(readout), batch(*frames)
    assert torch.equal(of(x), infer(of, x, T, readout=readout).scores)
    assert of(x).requires_grad
    with torch.no_grad():
        assert torch.equal(of(x), infer(of, x, T, readout=readout).scores)


def test_a_gradient_through_a_call_is_that_of_saf() -> None:
    generator = torch.Generator().manual_seed(4)
    towards = torch.randn(3, 3, generator=generator, dtype=torch.float64)

    def loss(scores: Tensor, _: Tensor) -> Tensor:
        return (scores * towards).sum()

    for readout, method, factor in (("weighted", "saf-f", 1.0), ("mean", "saf-e", float(T))):
        of, by_method = network(readout), network(readout)  # type: ignore[arg-type]
        loss(of(batch()), towards).backward()
        METHODS[method](
            by_method,
            batch(),
            towards,
            timesteps=T,
            loss=loss,
            update=lambda: None,
            trace_bias_and_input=True,
        )
        for parameter, expected in zip(of.parameters(), by_method.parameters(), strict=True):
            assert parameter.grad is not None
            assert expected.grad is not None
            assert expected.grad.any()
            torch.testing.assert_close(parameter.grad, factor * expected.grad)


def test_how_many_steps_there_are_is_told_by_the_call_the_frames_or_the_network() -> None:
    of = network(timesteps=None)
    assert torch.equal(of(batch(), 2), infer(of, batch(), 2, readout="mean").scores)
    assert torch.equal(of(batch(5)), infer(of, batch(5), 5, readout="mean").scores)
    with pytest.raises(ValueError, match=r"network\(x, timesteps\)"):
        of(batch())


def test_a_state_dict_gives_another_network_the_same_scores() -> None:
    one, other = network(), network()
    with torch.no_grad():
        other.get_parameter("layer1.0.weight").zero_()
    assert not torch.equal(one(batch()), other(batch()))
    assert not other.load_state_dict(one.state_dict()).missing_keys
    assert torch.equal(one(batch()), other(batch()))


def test_a_deep_copy_is_another_network() -> None:
    one = network()
    other = deepcopy(one)
    with torch.no_grad():
        other.get_parameter("layer1.bias").add_(1.0)
    assert not torch.equal(one(batch()), other(batch()))
    assert other.layers[0] is not one.layers[0]
    assert other.layers[0] is other.get_submodule("layer1")


def test_other_neurons_share_the_parameters_and_leave_the_network_as_it_was() -> None:
    one = network()
    before = one(batch())
    other = one.with_neuron(Neuron(threshold=0.1, decay=0.9))
    assert not torch.equal(other(batch()), before)
    assert torch.equal(one(batch()), before)
    assert all(a is b for a, b in zip(one.parameters(), other.parameters(), strict=True))
    again = SpikingNetwork(
        one.architecture, other.neuron, mean=[0.4, 0.5], std=[0.25, 0.3], seed=0, timesteps=T
    ).double()
    again.load_state_dict(one.state_dict())
    assert torch.equal(again(batch()), other(batch()))


def test_neurons_are_dropped_out_in_training_and_not_in_evaluation() -> None:
    of, x = network(neuron=Neuron(dropout=0.5)), batch()
    expected = infer(of, x, T, readout="mean").scores
    assert torch.equal(of.eval()(x), expected)
    torch.manual_seed(5)
    dropped = of.train()(x)
    torch.manual_seed(5)
    assert torch.equal(of(x), dropped)
    assert not torch.equal(dropped, expected)


def test_hooks_see_what_every_layer_and_every_map_gives() -> None:
    of, seen = network(of=ResNet18(width=0.1)), {}
    for name, module in of.named_modules():
        if list(module.parameters(recurse=True)) and module is not of:
            module.register_forward_hook(
                lambda _, given, result, name=name: seen.update({name: (given, result)})
            )
    of(batch())
    shapes = of.architecture.shapes()
    for layer in of.layers:
        given, sent = seen[layer.name]
        assert sent.shape == (T * 3, *shapes[layer.name])
        heard = {c.source for c in layer.description.connections} - {"input"}
        assert set(given[0]) == heard
        for number, _ in enumerate(layer.maps):
            assert seen[f"{layer.name}.{number}"][1].dim() == sent.dim()
    assert seen["readout"][1].shape == (T, 3, 3)


@pytest.mark.parametrize("method", sorted(METHODS))
def test_hooks_see_layers_and_maps_in_training(method: str) -> None:
    of, seen = network(), set()
    for name, module in of.named_modules():
        if list(module.parameters()) and module is not of:
            module.register_forward_hook(lambda *_, name=name: seen.add(name))
    METHODS[method](
        of,
        batch(),
        torch.zeros(3, dtype=torch.int64),
        timesteps=T,
        loss=torch.nn.functional.cross_entropy,
        update=lambda: None,
    )
    layers = ("layer1", "layer2", "readout")
    assert seen == {*layers, *(f"{name}.0" for name in layers)}


@pytest.mark.parametrize("readout", ["mean", "weighted"])
def test_what_a_hook_returns_takes_the_place_of_what_a_layer_sends(readout: Readout) -> None:
    """With nothing from the last layer the scores are what the bias gives."""
    of = network(readout)
    of.get_submodule("layer2").register_forward_hook(lambda *given: torch.zeros_like(given[-1]))
    bias = of.readout_layer.bias.expand(3, -1)
    expected = T * bias if readout == "mean" else bias
    torch.testing.assert_close(of(batch()), expected)


def test_torchinfo_counts_parameters_and_operations() -> None:
    of = network().float()
    found = torchinfo.summary(of, input_size=(2, 2, 8, 8), verbose=0)
    assert found.total_params == of.architecture.parameters
    assert found.trainable_params == of.architecture.parameters
    shown = [(row.class_name, row.output_size) for row in found.summary_list]
    assert shown[1:3] == [("Layer", [2 * T, 4, 8, 8]), ("ConvMap", [2, 4, 8, 8])]
    assert found.total_mult_adds > 0


def test_a_layer_refuses_neurons_for_a_name_that_it_has_not() -> None:
    from saf.neurons.lif import LIF

    with pytest.raises(ValueError, match="no spiking layer 'layer9'"):
        network(neurons={"layer9": LIF(0.5, 1.0)})


def test_children_are_layers_and_hold_no_state_of_a_sequence() -> None:
    of = network()
    of(batch())
    assert all(isinstance(child, Layer) for child in of.children())
    assert not [v for m in of.modules() for v in vars(m).values() if isinstance(v, LIFState)]
    assert {name for name, _ in of.named_buffers()} == {"mean", "std"}
