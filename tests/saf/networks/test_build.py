from __future__ import annotations

import pytest
import torch

from saf.config import Neuron
from saf.config.networks import Network
from saf.lif.convert import convert
from saf.methods.saf import SafE
from saf.model.inference import infer, record
from saf.model.network import SpikingNetwork
from saf.networks.build import NetworkError, build
from saf.networks.convnet import ConvNet
from saf.networks.layers import ConvLayer, LayerList, LinearLayer, PoolLayer
from saf.networks.mlp import MLP
from saf.networks.mobilenet import MobileNet
from saf.networks.resnet import ResNet18, ResNet34, ResNet50
from saf.networks.vgg import VGG11, VGG11F, VGG16
from tests.saf.training.trainings import resolved


def listed(*layers: ConvLayer | LinearLayer | PoolLayer) -> LayerList:
    return LayerList(layers=layers)


LISTED = listed(
    ConvLayer(channels=6, kernel=5, stride=2),
    PoolLayer(kernel=2),
    ConvLayer(channels=6, groups=3),
    LinearLayer(features=20),
    LinearLayer(features=16),
)


@pytest.mark.parametrize(
    ("network", "shape", "parameters"),
    [
        # weights, gains and biases, counted by hand
        (ConvNet(), (1, 8, 8), 352 + 18560 + 36992 + 2570),
        (VGG11(), (3, 32, 32), 9_228_362),
        (VGG16(), (3, 32, 32), 14_724_042),
        (VGG11F(), (3, 32, 32), 9_228_362 + 512 * 64 * 9),
        (MLP(features=(10,)), (1, 8, 8), 64 * 10 + 20 + 110),
    ],
)
def test_a_network_has_the_parameters_that_its_plan_says(
    network: Network, shape: tuple[int, ...], parameters: int
) -> None:
    architecture = build(network, shape, 10)
    assert architecture.parameters == parameters
    module = SpikingNetwork(
        architecture, Neuron(), mean=[0.5] * shape[0], std=[1] * shape[0], seed=0
    )
    assert sum(p.numel() for p in module.parameters()) == parameters


@pytest.mark.parametrize("network", [VGG16(width=0.25), MobileNet(width=0.25), ResNet50(width=0.1)])
def test_the_last_layers_of_a_deep_network_fire_from_the_start(network: Network) -> None:
    architecture = build(network, (3, 32, 32), 10)
    module = SpikingNetwork(architecture, Neuron(), mean=[0.5] * 3, std=[0.3] * 3, seed=0)
    x = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    rates = infer(module, x, 4, readout="mean").firing_rates
    assert (rates > 0.02).all()


@pytest.mark.parametrize(
    ("network", "shape"),
    [
        (VGG16(width=0.05), (3, 32, 32)),
        (VGG11F(width=0.05), (3, 32, 32)),
        (MobileNet(width=0.1), (3, 32, 32)),
        (ResNet18(width=0.06), (3, 32, 32)),
        (ResNet34(width=0.06), (1, 8, 8)),
        (ResNet50(width=0.04), (3, 80, 80)),
        (MLP(features=(30, 20)), (2, 5, 7)),
        (LISTED, (1, 28, 28)),
    ],
)
def test_every_network_spikes_alike_with_saf_and_lif_neurons(
    network: Network, shape: tuple[int, ...]
) -> None:
    architecture = build(network, shape, 4)
    module = SpikingNetwork(
        architecture, Neuron(), mean=[0.5] * shape[0], std=[0.3] * shape[0], seed=1
    ).double()
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if name.endswith("residual_gain"):
                parameter.fill_(0.5)
            elif name.endswith("gain"):
                parameter.fill_(2.0)
            if not parameter.any() and name.endswith("weight"):  # of feedback, which starts at 0
                parameter.normal_(0.0, 0.1, generator=torch.Generator().manual_seed(4))
            if name.endswith("bias"):
                parameter.uniform_(0.0, 0.5, generator=torch.Generator().manual_seed(3))
    x = torch.rand(3, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    of_saf = [[s for s, _ in step] for step in record(module, x, 5)]
    assert all(sum(step[layer].sum() for step in of_saf) > 0 for layer in range(len(of_saf[0])))
    specification = resolved(network=network, method=SafE(), timesteps=5)
    lif = convert(module, specification, class_names="abcd", frames=False, dtype=torch.float64)
    for saf_spikes, step in zip(of_saf, lif.run(x), strict=True):
        for ours, theirs in zip(saf_spikes, step.spikes.values(), strict=True):
            assert torch.equal(ours, theirs)
    scores = infer(module, x, 5, readout="mean").scores
    torch.testing.assert_close(lif(x), scores, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("network", "shape", "pointer", "says"),
    [
        (VGG11(), (1, 8, 8), "/network", "convnet"),
        (VGG11(), (3, 8, 40), "/network", "convnet or resnet18 or mobilenet or mlp"),
        (VGG11F(), (1, 28, 28), "/network", "multiple of 8"),
        (VGG11(pooling="max"), (3, 32, 32), "/network/pooling", "average"),
        (VGG16(), (1, 28, 28), "/network", "convnet or vgg11"),
        (ConvNet(), (100, 32, 32), "/network", "64 channels"),
        (listed(PoolLayer(kind="max_pool")), (1, 8, 8), "/network/layers/0/kind", "average"),
        (listed(PoolLayer()), (1, 8, 8), "/network/layers", "no layer of neurons"),
        (listed(ConvLayer(channels=2, groups=2)), (1, 8, 8), "/network/layers/0", "2 groups"),
        (listed(ConvLayer(channels=2, kernel=1)), (1, 8, 8), "/network/layers/0", "standardised"),
        (
            listed(LinearLayer(features=4), ConvLayer(channels=2)),
            (1, 8, 8),
            "/network/layers/1",
            "image",
        ),
    ],
)
def test_a_network_that_cannot_be_built_says_which_field_and_what_to_change(
    network: Network, shape: tuple[int, ...], pointer: str, says: str
) -> None:
    with pytest.raises(NetworkError, match=says) as caught:
        build(network, shape, 10)
    assert caught.value.pointer == pointer


def test_a_single_class_is_refused_at_the_data_set() -> None:
    with pytest.raises(NetworkError) as caught:
        build(ConvNet(), (1, 8, 8), 1)
    assert caught.value.pointer == "/dataset"


def test_a_pooling_at_the_end_of_a_list_belongs_to_the_readout() -> None:
    network = listed(ConvLayer(channels=2), PoolLayer())
    readout = build(network, (1, 8, 8), 10).readout
    kinds = [operation.kind for operation in readout.connections[0].operations]
    assert kinds == ["scale", "average_pool", "flatten", "linear"]
    assert next(reversed(list(build(network, (1, 8, 8), 10).weight_shapes()))) == (10, 32)
