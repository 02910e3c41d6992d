"""Which grid a network is rounded to, and what cannot be."""

from typing import Any

import pytest

from saf.config import JobSpecification
from saf.lif.convert import on_grid, round_to_grid
from saf.lif.grid.exactness import bounds
from saf.lif.network import LIFNetwork
from tests.saf.lif.grid_networks import architecture_of_one_layer, converted, exact_grid, images


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"neuron": {"decay": 0.75}}, "neuron.decay = 0.5, not 0.75"),
        ({"neuron": {"threshold": 2.0}}, "neuron.threshold = 1, not 2"),
        ({"timesteps": 17}, "at most 16, not 17"),
    ],
)
def test_job_that_cannot_be_proven_is_refused_with_the_reason(
    wrong: dict[str, Any], reason: str
) -> None:
    with pytest.raises(ValueError, match=reason) as refused:
        JobSpecification.model_validate({**wrong, "conversion": {"grid_bits": "auto"}})
    (error,) = refused.value.errors()  # type: ignore[attr-defined]
    assert error["loc"] == ("conversion",)
    JobSpecification.model_validate({**wrong, "conversion": {"grid_bits": None}})


@pytest.mark.parametrize("bits", ["many", 0, 21, 2.5, True, [8]], ids=str)
def test_grid_bits_are_a_number_auto_or_nothing(bits: Any) -> None:
    with pytest.raises(ValueError, match="grid_bits") as refused:
        JobSpecification.model_validate({"conversion": {"grid_bits": bits}})
    (error,) = refused.value.errors()  # type: ignore[attr-defined]
    assert error["loc"] == ("conversion", "grid_bits")


def test_auto_takes_the_finest_exact_grid() -> None:
    network, x = converted(architecture_of_one_layer(), 5, 4, "saf-f"), images(5, 40)
    *_, rounded = round_to_grid(network, "auto", x, exact_grid(network).predict(x))
    assert rounded is not None
    chosen, refused = rounded
    assert refused is None
    grid = chosen.description.grid
    assert grid is not None
    assert all(bound.within for bound in bounds(chosen))
    assert not all(bound.within for bound in bounds(on_grid(network, grid.bits + 1)))


def test_auto_leaves_alone_what_is_exact_on_no_grid() -> None:
    network, x = converted(architecture_of_one_layer(), 5, 4, "saf-f"), images(5, 4)
    tensors = dict(network.tensors)
    tensors["layer1.bias"] = tensors["layer1.bias"] + 2.0**24
    network = LIFNetwork(network.description, tensors)
    *_, rounded = round_to_grid(network, "auto", x, network.predict(x))
    assert rounded is not None
    left, refused = rounded
    assert left is network
    assert refused is not None
    assert "too large" in refused


def test_auto_leaves_alone_what_loses_too_much_accuracy() -> None:
    network, x = converted(architecture_of_one_layer(), 5, 4, "saf-f"), images(5, 200)
    tensors = dict(network.tensors)
    # One neuron so far from the threshold that its layer leaves 3 bits to all weights.
    tensors["layer1.bias"] = tensors["layer1.bias"].clone()
    tensors["layer1.bias"][0] = -(2.0**13)
    network = LIFNetwork(network.description, tensors)
    *_, rounded = round_to_grid(network, "auto", x, network.predict(x))
    assert rounded is not None
    left, refused = rounded
    assert left is network
    assert refused is not None
    assert "costs" in refused
