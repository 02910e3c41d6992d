"""A network's parameters, their initialisation, and how connections compute and differentiate."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from hypothesis import given, settings
from torch import Tensor

from saf.config import Neuron
from saf.model.network import SpikingNetwork
from saf.model.operations import apply, apply_traced, scale_over_time
from saf.model.weight_standardisation import standardise, standardised
from saf.networks.architecture import (
    Architecture,
    AveragePool,
    Connection,
    Conv,
    Flatten,
    LayerDescription,
    Linear,
    Operation,
    Scale,
    SumPool,
)
from saf.networks.build import build
from saf.networks.convnet import ConvNet
from saf.networks.mlp import MLP
from saf.networks.mobilenet import MobileNet
from saf.networks.vgg import VGG11, VGG16
from tests.saf.methods import reference_maps
from tests.saf.networks.random_networks import Case, cases


def convnet(seed: int | None = 0) -> SpikingNetwork:
    architecture = build(ConvNet(channels=(4, 6)), (3, 8, 8), 10)
    return SpikingNetwork(architecture, Neuron(), mean=[0.1, 0.2, 0.3], std=[1, 2, 4], seed=seed)


def with_feedback() -> Architecture:
    return Architecture(
        input_shape=(2, 4, 4),
        layers=(
            LayerDescription(
                name="layer1",
                connections=(
                    Connection(source="input", operations=(Conv(out_channels=3),)),
                    Connection(
                        source="layer2", operations=(Conv(out_channels=3, standardised=False),)
                    ),
                ),
            ),
            LayerDescription(
                name="layer2",
                connections=(Connection(source="layer1", operations=(Conv(out_channels=3),)),),
            ),
        ),
        readout=LayerDescription(
            name="readout",
            connections=(
                Connection(source="layer2", operations=(Flatten(), Linear(out_features=2))),
            ),
        ),
    )


def test_parameters_are_named_by_layer_and_map() -> None:
    shapes = {name: tuple(p.shape) for name, p in convnet().named_parameters()}
    assert shapes == {
        "layer1.0.weight": (4, 3, 3, 3),
        "layer1.0.gain": (4, 1, 1, 1),
        "layer1.bias": (4,),
        "layer2.0.weight": (6, 4, 3, 3),
        "layer2.0.gain": (6, 1, 1, 1),
        "layer2.bias": (6,),
        "readout.0.weight": (10, 96),
        "readout.bias": (10,),
    }
    assert {name for name, _ in convnet().named_buffers()} == {"mean", "std"}


def test_maps_are_counted_through_all_connections_of_a_layer() -> None:
    network = SpikingNetwork(with_feedback(), Neuron(), mean=[0, 0], std=[1, 1], seed=0)
    names = {name for name, _ in network.named_parameters() if name.startswith("layer1")}
    assert names == {"layer1.0.weight", "layer1.0.gain", "layer1.1.weight", "layer1.bias"}


@settings(max_examples=30, deadline=None)
@given(case=cases())
def test_the_description_counts_the_parameters_of_the_network(case: Case) -> None:
    network = case.network
    assert sum(p.numel() for p in network.parameters()) == network.architecture.parameters


def test_the_seed_alone_decides_the_weights() -> None:
    state = torch.random.get_rng_state()
    one, same, other = convnet(7), convnet(7), convnet(8)
    free, another = convnet(None), convnet(None)
    assert torch.equal(torch.random.get_rng_state(), state), "the global generator was used"
    weight = "layer2.0.weight"
    assert torch.equal(one.get_parameter(weight), same.get_parameter(weight))
    assert not torch.equal(one.get_parameter(weight), other.get_parameter(weight))
    assert not torch.equal(free.get_parameter(weight), another.get_parameter(weight))


def test_weights_start_as_in_the_published_code() -> None:
    architecture = build(VGG11(), (3, 32, 32), 10)
    network = SpikingNetwork(architecture, Neuron(), mean=[0.0] * 3, std=[1.0] * 3, seed=0)
    for name, parameter in network.named_parameters():
        if name.endswith("bias"):
            assert not parameter.any()
        elif name.endswith("gain"):
            assert (parameter == 1).all()
        else:
            fan_out = parameter.shape[0] * math.prod(parameter.shape[2:])
            std = 0.01 if name == "readout.0.weight" else math.sqrt(2 / fan_out)
            values = parameter.detach()
            assert float(values.std()) == pytest.approx(std, rel=0.1)
            assert abs(float(values.mean())) < 0.1 * std


def test_a_grouped_convolution_starts_by_its_own_fan_out() -> None:
    architecture = build(MobileNet(), (3, 32, 32), 10)
    network = SpikingNetwork(architecture, Neuron(), mean=[0] * 3, std=[1] * 3, seed=0)
    depthwise = network.get_parameter("block13_layer2.0.weight")
    assert depthwise.shape == (1024, 1, 3, 3)
    assert depthwise.detach().std().item() == pytest.approx(math.sqrt(2 / 9), rel=0.05)


def test_gains_start_where_the_architecture_says() -> None:
    for chosen, gain in ((VGG16(width=0.1), 1.3), (VGG11(width=0.1), 1.0)):
        network = SpikingNetwork(
            build(chosen, (3, 32, 32), 10), Neuron(), mean=[0] * 3, std=[1] * 3, seed=0
        )
        gains = [p for name, p in network.named_parameters() if name.endswith("gain")]
        assert len(gains) in (8, 13)
        assert all((p == torch.tensor(gain)).all() for p in gains)


def test_standardised_linear_maps_start_as_convolutions_do() -> None:
    architecture = build(MLP(features=(300, 200)), (1, 8, 8), 10)
    network = SpikingNetwork(architecture, Neuron(), mean=[0], std=[1], seed=0)
    stds = [network.get_parameter(f"{name}.0.weight").std().item() for name in
            ("layer1", "layer2", "readout")]  # fmt: skip
    assert stds == pytest.approx([math.sqrt(2 / 300), math.sqrt(2 / 200), 0.01], rel=0.05)


def test_feedback_starts_at_zero() -> None:
    network = SpikingNetwork(with_feedback(), Neuron(), mean=[0, 0], std=[1, 1], seed=0)
    assert not network.get_parameter("layer1.1.weight").any()
    assert network.get_parameter("layer1.0.weight").all()


def test_effective_weights_are_standardised_by_output_channel() -> None:
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(5, 4, 3, 3, dtype=torch.float64, generator=generator) * 3 + 1
    gain = torch.rand(5, 1, 1, 1, dtype=torch.float64, generator=generator) + 0.5
    effective = standardise(weight, gain)
    torch.testing.assert_close(effective, reference_maps.standardised(weight, gain))
    rows = effective.flatten(1)
    torch.testing.assert_close(rows.mean(1), torch.zeros(5, dtype=torch.float64))
    # var · n = gain² for weights that are large against the 1e-4
    torch.testing.assert_close(rows.var(1) * 36, gain.flatten() ** 2, rtol=1e-5, atol=0)


@pytest.mark.parametrize("shape", [(5, 4, 3, 3), (5, 7), (4, 1, 3, 3)])
def test_standardising_in_few_passes_is_standardising_and_a_factor(shape: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(shape, dtype=torch.float64, generator=generator) * 0.3 + 0.2
    gain = torch.rand(shape[0], *(1,) * (len(shape) - 1), dtype=torch.float64, generator=generator)
    weight.requires_grad_()
    gain.requires_grad_()
    expected = 2.74 * standardise(weight, gain)
    found = standardised(weight, gain, 2.74, torch.float64)
    torch.testing.assert_close(found, expected, rtol=1e-13, atol=1e-14)
    by = torch.randn(shape, dtype=torch.float64, generator=generator)
    ours = torch.autograd.grad((found * by).sum(), (weight, gain))
    theirs = torch.autograd.grad((expected * by).sum(), (weight, gain))
    for of, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(of, other, rtol=1e-11, atol=1e-12)


@settings(max_examples=20, deadline=None)
@given(case=cases())
def test_folded_weights_and_operations_are_the_plain_ones(case: Case) -> None:
    network = case.network
    plain, folded = network.effective(), network.folded()
    shapes = network.architecture.shapes()
    for layer in (*network.architecture.layers, network.architecture.readout):
        own, other = plain[layer.name], folded[layer.name]
        assert torch.equal(own.bias, other.bias)
        for wire, wire_folded in zip(own.wires, other.wires, strict=True):
            x = torch.rand(2, *shapes[wire.source], dtype=torch.float64)
            torch.testing.assert_close(
                apply(wire.operations, wire.weights, x),
                apply(wire_folded.operations, wire_folded.weights, x),
                rtol=1e-12,
                atol=1e-13,
            )


def test_pooling_keeps_nothing_for_the_backward_pass() -> None:
    saved: list[Tensor] = []
    x = torch.rand(2, 3, 8, 8, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t) or t, lambda t: t):
        apply((AveragePool(), SumPool()), [], x)
    assert not saved


def test_standardising_a_single_weight_is_refused() -> None:
    connection = Connection(
        source="input", operations=(Conv(out_channels=2, kernel=1, padding=0, groups=2),)
    )
    with pytest.raises(ValueError, match="cannot be standardised"):
        Architecture(
            input_shape=(2, 4, 4),
            layers=(LayerDescription(name="layer1", connections=(connection,)),),
            readout=LayerDescription(
                name="readout",
                connections=(
                    Connection(source="layer1", operations=(Flatten(), Linear(out_features=2))),
                ),
            ),
        )


def test_a_layer_cannot_take_the_name_of_something_else() -> None:
    description = with_feedback().model_dump()
    description["layers"][1]["name"] = "parameters"
    description["layers"][0]["connections"][1]["source"] = "parameters"
    description["readout"]["connections"][0]["source"] = "parameters"
    architecture = Architecture.model_validate(description)
    with pytest.raises(ValueError, match="cannot be named parameters"):
        SpikingNetwork(architecture, Neuron(), mean=[0, 0], std=[1, 1], seed=0)


@pytest.mark.parametrize(
    ("mean", "std", "message"),
    [
        ([0.5], [1.0], "each of the input channels, which become 2"),
        ([0.5, 0.5], [1.0], "each of the input channels, which become 2"),
        ([0.5, 0.5], [1.0, 0.0], "positive"),
    ],
)
def test_statistics_that_do_not_fit_the_input_are_refused(
    mean: list[float], std: list[float], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        SpikingNetwork(with_feedback(), Neuron(), mean=mean, std=std, seed=0)


@pytest.mark.parametrize("shape", [(2, 3, 8, 8), (2, 5, 3, 8, 8)])
def test_images_and_frames_are_normalised_by_channel(shape: tuple[int, ...]) -> None:
    x = torch.rand(shape)
    normalised = convnet().normalise(x)
    for channel, (mean, std) in enumerate([(0.1, 1.0), (0.2, 2.0), (0.3, 4.0)]):
        expected = (x.select(-3, channel) - mean) / std
        torch.testing.assert_close(normalised.select(-3, channel), expected)


def test_arithmetic_follows_the_parameters_to_another_type() -> None:
    network = convnet().double()
    assert network.dtype == network.normalise(torch.rand(1, 3, 8, 8)).dtype == torch.float64
    assert network.effective()["layer1"].bias.dtype == torch.float64
    network.float().compute_dtype = torch.bfloat16
    assert network.effective()["layer1"].wires[0].weights[0].dtype == torch.bfloat16
    assert network.parameter_dtype == torch.float32


CHAINS: list[tuple[str, tuple[int, ...], tuple[Operation, ...]]] = [
    ("plain", (4, 8, 8), (Conv(out_channels=6),)),
    ("strided in groups", (4, 8, 8), (Conv(out_channels=6, stride=2, groups=2),)),
    ("depthwise", (4, 7, 7), (Conv(out_channels=4, kernel=5, padding=2, groups=4),)),
    ("rectangular", (4, 5, 9), (Conv(out_channels=2, kernel=2, padding=0, stride=2),)),
    ("pooled and scaled", (4, 9, 9), (Scale(factor=2.74), AveragePool(), Conv(out_channels=3))),
    ("sum pooled", (4, 9, 9), (SumPool(kernel=4), Flatten(), Linear(out_features=5))),
    (
        "two maps in a row",
        (4, 8, 8),
        (
            Conv(out_channels=3),
            Scale(factor=0.5),
            AveragePool(),
            Flatten(),
            Linear(out_features=7),
        ),
    ),
    ("nothing", (4, 8, 8), ()),
]


def chain(
    shape: tuple[int, ...], operations: tuple[Operation, ...]
) -> tuple[list[Tensor], Tensor, Tensor, reference_maps.Wire]:
    generator = torch.Generator().manual_seed(0)
    weights, maps = [], []
    for operation, before in Connection(source="input", operations=operations).shapes(shape):
        maps.append(reference_maps.Map(operation))
        if isinstance(operation, Conv | Linear):
            weight = torch.randn(operation.weight_shape(before), generator=generator).double()
            weights.append(weight.requires_grad_())
            maps[-1] = reference_maps.Map(operation, f"{len(weights) - 1}", weight=weight.detach())
    x, trace = torch.rand(2, 3, *shape, generator=generator, dtype=torch.float64)
    return weights, x.requires_grad_(), trace, reference_maps.Wire("input", maps)


@pytest.mark.parametrize(
    ("shape", "operations"), [c[1:] for c in CHAINS], ids=[c[0] for c in CHAINS]
)
@pytest.mark.parametrize("traced", [False, True])
def test_a_connection_computes_and_differentiates_as_written_out(
    shape: tuple[int, ...], operations: tuple[Operation, ...], traced: bool
) -> None:
    weights, x, trace, wire = chain(shape, operations)
    if traced:
        out = apply_traced(operations, weights, x, trace)
    else:
        out = apply(operations, weights, x)
    torch.testing.assert_close(out, reference_maps.send(wire, x.detach()))
    by = torch.randn(out.shape, generator=torch.Generator().manual_seed(1)).double()
    (out * by).sum().backward()
    gradients: dict[str, Tensor] = {}
    value = trace if traced else x.detach()
    of_x = reference_maps.send_back(wire, value, by, gradients)
    torch.testing.assert_close(x.grad, of_x)
    for number, weight in enumerate(weights):
        torch.testing.assert_close(weight.grad, gradients[f"{number}.weight"])


def test_a_traced_map_keeps_the_trace_and_not_the_spikes() -> None:
    """Otherwise one evaluation would cost the memory of two."""
    (weight,), x, trace, _ = chain((4, 8, 8), (Conv(out_channels=6),))
    saved: list[Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t) or t, lambda t: t):
        apply_traced((Conv(out_channels=6),), [weight], x, trace)
    assert [t.data_ptr() for t in saved] == [trace.data_ptr(), weight.data_ptr()]


def test_a_traced_map_without_weight_gradient_still_sends_one_back() -> None:
    (weight,), x, trace, _ = chain((4, 8, 8), (Conv(out_channels=6),))
    apply_traced((Conv(out_channels=6),), [weight.detach()], x, trace).sum().backward()
    through = x.grad
    x.grad = None
    F.conv2d(x, weight, padding=1).sum().backward()
    torch.testing.assert_close(through, x.grad)


def test_a_constant_over_time_has_factors_of_its_own_forward_and_backward() -> None:
    constant = torch.tensor([[1.0, 2.0]], requires_grad=True)
    scaled = scale_over_time(constant, [1.0, 1.5, 1.75], [1.0, 10.0, 100.0])
    assert scaled.tolist() == [[[1.0, 2.0]], [[1.5, 3.0]], [[1.75, 3.5]]]
    scaled.sum().backward()
    assert constant.grad is not None
    assert constant.grad.tolist() == [[111.0, 111.0]]
