"""Which grid a network is rounded to, and what cannot be."""

from typing import Any

import pytest
import torch

from saf.config import JobSpecification
from saf.lif.convert import on_grid, round_to_grid
from saf.lif.grid.exactness import bounds
from saf.lif.network import LIFNetwork
from tests.saf.lif.grid_networks import architecture_of_one_layer, converted, exact_grid, images


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"neuron": {"decay": 0.75}}, r"neuron.decay = 2\^−n .*, not 0.75: .*; 0.5 is the nearest"),
        ({"neuron": {"decays": [0.5, 0.9]}}, "neuron.decays = .*, not 0.9: .*; 1 is the nearest"),
        ({"neuron": {"threshold": 2.0}}, "neuron.threshold = 1, not 2"),
        ({"neuron": {"name": "cuba", "synaptic_decay": 0.9}}, "synaptic_decay = .*, not 0.9"),
        (
            {"neuron": {"name": "alif", "adaptation_decay": 0.5}},
            "adaptation .*, not 0.2; .* is one",
        ),
        ({"neuron": {"name": "plif"}}, "plif learns others: set round_decays"),
        ({"timesteps": 24}, "at most 23 with λ = 0.5, not 24.*precision = float64"),
        ({"timesteps": 54, "precision": "float64"}, "at most 52 with λ = 0.5, not 54"),
        ({"timesteps": 9, "neuron": {"decays": [1.0, 0.125]}}, "at most 8 with λ = 0.125, not 9"),
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


@pytest.mark.parametrize(("samples", "is_taken"), [(20, True), (19, False)])
def test_a_grid_of_auto_may_cost_one_sample_of_20_or_more(samples: int, is_taken: bool) -> None:
    network, x = converted(architecture_of_one_layer(), 5, 14, "saf-f"), images(5, 1000)
    predicted, finest = network.predict(x), exact_grid(network)
    bits = finest.description.grid.bits if finest.description.grid else 0
    coarser = [on_grid(network, fewer).predict(x) != predicted for fewer in (bits - 1, bits - 2)]
    differs = finest.predict(x) != predicted
    everywhere = torch.stack([differs, *coarser]).all(0).nonzero()[:1, 0]
    rows = torch.cat([everywhere, (~differs).nonzero()[: samples - 1, 0]])
    assert len(rows) == samples
    *_, rounded = round_to_grid(network, "auto", x[rows], predicted[rows])
    assert rounded is not None
    assert (rounded.refused is None) is is_taken


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
    assert "with a single bit layer1 (λ = 0.5, T = 4) needs 36 of 24 bits" in refused
    assert "precision float64" in refused


def test_a_network_of_float64_takes_a_grid_of_float32_where_there_is_one() -> None:
    single, x = converted(architecture_of_one_layer(), 5, 4, "saf-f"), images(5, 40)
    double = single.copied(dtype=torch.float64)
    large = dict(double.tensors)
    large["layer1.bias"] = large["layer1.bias"] + 2.0**20
    for network, exact_in_float32 in (
        (double, True),
        (LIFNetwork(double.description, large), False),
    ):
        *_, rounded = round_to_grid(network, "auto", x.double(), network.predict(x.double()))
        assert rounded is not None
        chosen = bounds(rounded.network)
        assert all(bound.within for bound in chosen)
        assert all(bound.exact_in(24) for bound in chosen) == exact_in_float32


@pytest.mark.parametrize("conversion", [{"grid_bits": "auto"}, {"weight_bits": 4}], ids=str)
def test_learned_decays_are_rounded_where_that_is_asked_for(conversion: dict[str, Any]) -> None:
    plif = {"neuron": {"name": "plif"}, "conversion": {**conversion, "round_decays": True}}
    assert JobSpecification.model_validate(plif).conversion.round_decays
    with pytest.raises(ValueError, match="that of lif is not: leave it out"):
        JobSpecification.model_validate({**plif, "neuron": {"name": "lif"}})
    with pytest.raises(ValueError, match="set grid_bits or weight_bits too"):
        JobSpecification.model_validate({**plif, "conversion": {"round_decays": True}})


@pytest.mark.parametrize(
    "fits",
    [
        {"timesteps": 23},
        {"timesteps": 52, "precision": "float64"},
        {"timesteps": 1000, "neuron": {"decay": 1.0}},
        {"timesteps": 8, "neuron": {"decays": [1.0, 0.5, 0.125]}},
        {"neuron": {"name": "cuba", "decay": 0.25, "synaptic_decay": 0.0}},
        {"neuron": {"name": "alif", "adaptation": 0.25, "adaptation_decay": 0.5}},
    ],
    ids=str,
)
def test_job_that_might_be_proven_is_taken(fits: dict[str, Any]) -> None:
    JobSpecification.model_validate({**fits, "conversion": {"grid_bits": "auto"}})


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


def test_features_that_vary_between_two_levels_are_told_and_no_grid_is_tried() -> None:
    """An income beside a ratio, of one range: what is learnt of the ratio would be rounded away."""
    network, x = converted(architecture_of_one_layer(), 5, 4, "saf-f"), images(5, 40)
    std = tuple(1e-4 for _ in network.description.std)
    narrow = LIFNetwork(network.description.model_copy(update={"std": std}), network.tensors)
    between = 0.4 + 1e-4 * x
    *_, rounded = round_to_grid(narrow, "auto", between, narrow.predict(between))
    assert rounded is not None
    left, refused = rounded
    assert left is narrow
    assert refused is not None
    assert "one of 256 levels" in refused
    assert "StandardScaler" in refused
    *_, of_bytes = round_to_grid(narrow, "auto", x, narrow.predict(x))
    assert of_bytes is not None
    assert "256 levels" not in (of_bytes[1] or "")
