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


def network_of(settings: dict[str, str]) -> Any:
    return JobSpecification.model_validate({"network": settings}).network


def shapes() -> list[tuple[int, int, int]]:
    return [(1 + (height + width) % 3, height, width) for height, width in product(SIZES, SIZES)]


def refusal(name: str, shape: tuple[int, int, int]) -> str | None:
    try:
        build(network_of({"name": name}), shape, 5)
    except NetworkError as error:
        return str(error)
    return None


@pytest.mark.parametrize("name", [name for name in NAMES if name != "layers"])
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
        for other in named.partition(", or resize")[0].split(" or "):
            build(network_of({"name": other}), shape, 5)
    assert refused or name in ("convnet", "mlp", "delay")


def test_images_of_every_size_have_a_network() -> None:
    for shape in shapes():
        if shape[1:] == (1, 1) and shape[0] == 1:
            continue  # one number alone
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
