"""The network `delay`, and where a job with delays is refused."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from saf.config import JobSpecification
from saf.estimate.operations import multiply_adds
from saf.networks.architecture import INPUT, Linear
from saf.networks.build import NetworkError, build_for


def specification(**changes: object) -> JobSpecification:
    asked = {"network": {"name": "delay", "features": [8, 6], "delays": [0, 3]}, "timesteps": 4}
    return JobSpecification.model_validate(asked | changes)


def test_every_layer_hears_each_source_once_for_each_delay() -> None:
    found = build_for(specification(), (3, 1, 1), 5, in_time=True)
    assert found.delays == {INPUT: 3, "layer1": 3}
    assert not found.has_feedback
    assert [c.delay for c in found.layers[1].connections] == [0, 3]
    assert found.classes == 5


def test_learned_delays_are_heard_beside_what_comes_at_once() -> None:
    asked = {"name": "delay", "features": [8, 6], "delays": [0, 3], "learned": True}
    found = build_for(specification(network=asked), (3, 1, 1), 5, in_time=True)
    fixed = build_for(specification(), (3, 1, 1), 5, in_time=True)
    assert found.delays == fixed.delays
    assert [c.taps for c in found.layers[1].connections] == [(0,), (0, 1, 2, 3)]
    assert found.parameters == fixed.parameters + 3 * 8 + 8 * 6
    assert found.tap_weights == 4 * (3 * 8 + 8 * 6)
    assert multiply_adds(found) == multiply_adds(found.at_each_tap())


def test_one_channel_is_enough() -> None:
    found = build_for(specification(), (1, 1, 1), 2, in_time=True)
    of_input, of_layer1 = (layer.connections[0].operations[-1] for layer in found.layers)
    assert isinstance(of_input, Linear)
    assert isinstance(of_layer1, Linear)
    assert (of_input.standardised, of_layer1.standardised) == (False, True)


def test_images_have_no_delays() -> None:
    with pytest.raises(NetworkError, match=r"for data in time.*use convnet or .*mlp or rnn, or"):
        build_for(specification(), (3, 8, 8), 5, in_time=False)
    listed = {"name": "layers", "layers": [{"kind": "linear", "features": 4, "delays": [0, 2]}]}
    with pytest.raises(NetworkError, match="layers as chosen delays its input"):
        build_for(specification(network=listed), (3, 8, 8), 5, in_time=False)


def test_decays_are_as_many_as_layers() -> None:
    asked = specification(neuron={"decays": [0.5, 0.6, 0.7]})
    with pytest.raises(NetworkError, match="3 values, and delay as chosen has 2") as refused:
        build_for(asked, (3, 8, 8), 5, in_time=True)
    assert refused.value.pointer == "/neuron/decays"


@pytest.mark.parametrize("delays", [[1, 2], [0, 2, 2], [], [0, -1]])
def test_delays_without_0_twice_or_before_their_time_are_refused(delays: list[int]) -> None:
    with pytest.raises(ValidationError, match="delays"):
        specification(network={"name": "delay", "delays": delays})


def test_layers_of_ones_own_have_delays_and_feedback() -> None:
    listed = {
        "name": "layers",
        "layers": [
            {"kind": "conv1d", "channels": 4, "kernel": 2, "recurrent": True},
            {"kind": "linear", "features": 6, "recurrent": True, "delays": [0, 2]},
            {"kind": "linear", "features": 5, "delays": [0, 3], "learned_delays": True},
        ],
    }
    found = build_for(specification(network=listed), (8, 1, 1), 5, in_time=True)
    heard = [[(c.source, c.taps) for c in layer.connections] for layer in found.layers]
    assert heard == [
        [(INPUT, (0,)), ("layer1", (0,))],
        [("layer1", (0,)), ("layer1", (2,)), ("layer2", (0,))],
        [("layer2", (0,)), ("layer2", (0, 1, 2, 3))],
    ]
    assert found.has_feedback
    layers: list[dict[str, Any]] = [{"kind": "linear", "features": n} for n in (8, 6)]
    same = {"name": "layers", "layers": layers}
    for each in layers:
        each["delays"] = [0, 3]
    of_layers, of_delay = (
        build_for(specification(**changes), (3, 1, 1), 5, in_time=True)
        for changes in ({"network": same}, {})
    )
    assert of_layers == of_delay
    for each in layers:
        each |= {"delays": [0], "recurrent": True}
    rnn = {"name": "rnn", "features": [8, 6]}
    of_layers, of_rnn = (
        build_for(specification(network=network), (3, 1, 1), 5, in_time=True)
        for network in (same, rnn)
    )
    assert of_layers == of_rnn
    image = {"name": "layers", "layers": [{"kind": "linear", "features": 5, "delays": [0, 1]}]}
    with pytest.raises(NetworkError, match="an image is the same at every time step"):
        build_for(specification(network=image), (3, 8, 8), 5, in_time=False)
