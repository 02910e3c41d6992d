"""A network that is another one is refused in a line, and what to start from instead is named."""

from __future__ import annotations

import json

import pytest

from saf.config import JobSpecification
from saf.config.networks import Network
from saf.errors import UserConfigError
from saf.networks.build import build
from saf.networks.finetuning import check_same_network


def network(**settings: object) -> Network:
    return JobSpecification.model_validate({"network": settings}).network


def test_the_network_of_a_file_is_named_and_not_printed() -> None:
    convnet = network(name="convnet", channels=[4, 4])
    text = build(network(name="mlp"), (1, 8, 8), 3).model_dump_json()
    plain = json.loads(text.replace('"standardised":true', '"standardised":false'))
    uploaded = network(name="uploaded", description=plain)
    with pytest.raises(UserConfigError, match=r"it is uploaded and not convnet$") as caught:
        check_same_network(uploaded, convnet)
    assert "start from the lif.safetensors of the job" in caught.value.hint
    with pytest.raises(UserConfigError, match=r"it is convnet and not mlp$") as caught:
        check_same_network(convnet, network(name="mlp"))
    assert caught.value.hint == "take the network of the job that init names"
    with pytest.raises(UserConfigError, match=r"it has channels \[4, 4\] and not \[8, 8\]"):
        check_same_network(convnet, network(name="convnet", channels=[8, 8]))
