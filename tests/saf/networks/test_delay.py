"""The network `delay`, and where a job with delays is refused."""

from __future__ import annotations

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


def test_images_and_grids_have_no_delays() -> None:
    with pytest.raises(NetworkError, match=r"for data in time.*use convnet or .*mlp or rnn, or"):
        build_for(specification(), (3, 8, 8), 5, in_time=False)
    asked = specification(conversion={"grid_bits": 8})
    with pytest.raises(NetworkError, match="delays, for which nothing is proven") as refused:
        build_for(asked, (3, 8, 8), 5, in_time=True)
    assert refused.value.pointer == "/conversion/grid_bits"


def test_decays_are_as_many_as_layers() -> None:
    asked = specification(neuron={"decays": [0.5, 0.6, 0.7]})
    with pytest.raises(NetworkError, match="3 values, and delay as chosen has 2") as refused:
        build_for(asked, (3, 8, 8), 5, in_time=True)
    assert refused.value.pointer == "/neuron/decays"


@pytest.mark.parametrize("delays", [[1, 2], [0, 2, 2], [], [0, -1]])
def test_delays_without_0_twice_or_before_their_time_are_refused(delays: list[int]) -> None:
    with pytest.raises(ValidationError, match="delays"):
        specification(network={"name": "delay", "delays": delays})
