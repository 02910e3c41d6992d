"""What a refusal recommends is followed: it works."""

from __future__ import annotations

import re
from itertools import product
from typing import Any

import pytest

from saf.config import JobSpecification
from saf.config.networks import NETWORKS
from saf.networks.build import NetworkError, build

SIZES = (1, 2, 3, 7, 8, 15, 16, 28, 31, 32, 50, 64, 95, 512)
NAMES = sorted(model.model_fields["name"].default for model in NETWORKS)


def network_of(settings: dict[str, Any]) -> Any:
    return JobSpecification.model_validate({"network": settings}).network


def shapes() -> list[tuple[int, int, int]]:
    return [(1 + (height + width) % 3, height, width) for height, width in product(SIZES, SIZES)]


def refusal(name: str, shape: tuple[int, int, int]) -> str | None:
    try:
        build(network_of({"name": name}), shape, 5)
    except NetworkError as error:
        return str(error)
    return None


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("layers", "uploaded")])
def test_every_network_that_a_refusal_recommends_accepts_the_data_set(name: str) -> None:
    refused = 0
    for shape in shapes():
        said = refusal(name, shape)
        if said is None:
            continue
        refused += 1
        _, found, named = said.partition("; use ")
        if not found:
            assert re.search("resize|crop or pad|standardised|neurons", said), said
            continue
        others, _, or_layers = named.partition(", or layers of kind ")
        if or_layers:
            layers = [{"kind": or_layers, "features": 7}]
            build(network_of({"name": "layers", "layers": layers}), shape, 5)
        for other in others.partition(", or resize")[0].replace(", ", " or ").split(" or "):
            build(network_of({"name": other}), shape, 5)
    assert refused or not NETWORKS[name].of_images


@pytest.mark.parametrize("channels", [1, 2, 12, 1024])
@pytest.mark.parametrize("classes", [2, 1000])
def test_every_network_that_is_recommended_for_series_takes_them(
    channels: int, classes: int
) -> None:
    for name in NAMES:
        if not NETWORKS[name].of_images:
            continue
        with pytest.raises(NetworkError, match="without a place") as refused:
            build(network_of({"name": name}), (channels, 1, 1), classes)
        _, _, named = str(refused.value).partition("; use ")
        others, _, kind = named.partition(", or layers of kind ")
        assert "mlp" in others
        for other in others.replace(", ", " or ").split(" or "):
            build(network_of({"name": other}), (channels, 1, 1), classes)
        layers = [{"kind": kind, "features": 5}]
        build(network_of({"name": "layers", "layers": layers}), (channels, 1, 1), classes)


def test_a_convolution_over_series_is_refused_where_it_stands() -> None:
    layers = [{"kind": "linear", "features": 5}, {"kind": "conv", "channels": 5}]
    with pytest.raises(NetworkError, match="places of an image") as refused:
        build(network_of({"name": "layers", "layers": layers}), (4, 1, 1), 3)
    assert refused.value.pointer == "/network/layers/1/kind"


def test_images_of_every_size_have_a_network() -> None:
    for shape in shapes():
        if shape[1:] == (1, 1):
            continue  # values without a place
        build(network_of({"name": "convnet"}), shape, 5)


def test_images_that_are_not_square_lose_no_pixel_in_the_last_pooling() -> None:
    for name in ("vgg11", "vgg16", "resnet18", "mobilenet"):
        architecture = build(network_of({"name": name}), (3, 95, 50), 4)
        (connection,) = architecture.readout.connections
        shape = architecture.shapes()[connection.source]
        assert connection.output_shape(shape) == (4,)
        pooled = connection.operations[0] if name.startswith("r") else connection.operations[1]
        kernel = getattr(pooled, "kernel", 1)
        assert shape[1] % kernel == 0
        assert shape[2] % kernel == 0
