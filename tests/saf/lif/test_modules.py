"""A LIF network is a module as any other of torch."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
import torchinfo
from safetensors.torch import load_file
from torch import Tensor

import saf
from saf.lif.convert import on_grid
from saf.lif.network import LIFNetwork
from saf.networks.architecture import (
    INPUT,
    Architecture,
    Connection,
    Conv,
    Flatten,
    LayerDescription,
    Linear,
)
from tests.saf.lif.grid_networks import converted, described, images

T = 5


def architecture() -> Architecture:
    return Architecture(
        input_shape=(2, 8, 8),
        layers=(
            LayerDescription(
                name="layer1",
                connections=(Connection(source=INPUT, operations=(Conv(out_channels=4),)),),
            ),
            LayerDescription(
                name="layer2",
                connections=(Connection(source="layer1", operations=(Conv(out_channels=3),)),),
            ),
        ),
        readout=LayerDescription(
            name="readout",
            connections=(
                Connection(source="layer2", operations=(Flatten(), Linear(out_features=3))),
            ),
        ),
    )


def network(method: str = "saf-e") -> LIFNetwork:
    return converted(architecture(), 1, T, method)


X = images(2, 6)


def test_parameters_are_named_as_the_tensors_of_the_file(tmp_path: Path) -> None:
    one = network()
    one.save(tmp_path / "lif.safetensors")
    of_file = load_file(tmp_path / "lif.safetensors")
    assert one.state_dict().keys() == of_file.keys() == dict(one.named_parameters()).keys()
    assert all(torch.equal(one.state_dict()[name], tensor) for name, tensor in of_file.items())
    assert not any(parameter.requires_grad for parameter in one.parameters())
    other = LIFNetwork(one.description, {n: torch.zeros_like(t) for n, t in of_file.items()})
    other.load_state_dict(of_file)
    assert torch.equal(other(X), one(X))


def test_to_changes_the_network_itself_and_a_copy_leaves_it() -> None:
    one = network()
    in_float64 = one.copied(dtype=torch.float64)
    assert (one.dtype, in_float64.dtype) == (torch.float32, torch.float64)
    expected = in_float64(X.double())
    assert one.to(dtype=torch.float64) is one
    assert one.dtype == torch.float64
    assert torch.equal(one(X.double()), expected)
    with torch.no_grad():
        in_float64.get_parameter("readout.bias").add_(1.0)
    assert torch.equal(one(X.double()), expected)


def test_normalisation_is_rounded_once_whatever_types_the_weights_had_before() -> None:
    """A mean of 0.1 in bfloat16 is another one in float64, unless it is made anew."""
    plain = network().description.model_copy(update={"mean": (0.1, 0.7), "std": (0.3, 0.9)})
    fine = LIFNetwork(plain, network().copied(dtype=torch.float64).tensors)
    weights = {n: t.to(torch.bfloat16).double() for n, t in fine.tensors.items()}
    around = LIFNetwork(plain, weights).to(torch.bfloat16).to(torch.float64)
    assert torch.equal(around(X.double()), LIFNetwork(plain, weights)(X.double()))


def test_a_type_that_cannot_hold_the_weights_is_refused_and_nothing_changes() -> None:
    one = network()
    large = LIFNetwork(one.description, {n: 1e6 * t for n, t in one.tensors.items()})
    before = large(X)
    with pytest.raises(ValueError, match="no finite numbers"):
        large.half()
    assert large.dtype == torch.float32
    assert torch.equal(large(X), before)


def test_weights_that_no_network_can_have_are_refused_when_they_are_loaded() -> None:
    one = network()
    broken = dict(one.state_dict())
    broken["layer2.bias"] = torch.full_like(broken["layer2.bias"], torch.nan)
    with pytest.raises(ValueError, match=r"layer2\.bias holds values that are no finite numbers"):
        network().load_state_dict(broken)
    rounded = on_grid(network(), 6)
    with pytest.raises(ValueError, match=r"not on the grid of 2\^-6"):
        rounded.load_state_dict(one.state_dict())


def test_a_deep_copy_is_another_network() -> None:
    one = network()
    other = deepcopy(one)
    before = one(X)
    with torch.no_grad():
        other.get_parameter("layer1.bias").add_(5.0)
    assert torch.equal(one(X), before)
    assert not torch.equal(other(X), before)
    assert deepcopy(other).description == one.description


def test_a_layer_may_have_the_name_of_a_method_in_a_file(tmp_path: Path) -> None:
    """Files name layers as they like: such a network is read, run and written as any other."""
    one = network()
    for name in ("run", "step", "tensors", "training"):
        tensors = {
            f"{name}{key.removeprefix('layer1')}" if key.startswith("layer1.") else key: tensor
            for key, tensor in one.tensors.items()
        }
        told = one.description.architecture.model_dump_json().replace('"layer1"', f'"{name}"')
        renaming = {"architecture": Architecture.model_validate_json(told)}
        description = one.description.model_copy(update=renaming)
        renamed = LIFNetwork(description, tensors)
        renamed.save(tmp_path / "lif.safetensors")
        loaded = saf.load_lif(tmp_path / "lif.safetensors")
        assert torch.equal(loaded(X), one(X))
        assert f"{name}.0.weight" in loaded.state_dict()
        assert torch.equal(loaded.double()(X.double()), network().double()(X.double()))


@pytest.mark.parametrize("method", ["saf-e", "saf-f"])
def test_hooks_see_spikes_and_may_put_others_in_their_place(method: str) -> None:
    of, seen = network(method), {}
    for name, module in of.named_modules():
        if list(module.parameters()) and module is not of:
            module.register_forward_hook(
                lambda _, given, result, name=name: seen.update({name: (given, result)})
            )
    of(X)
    for name, spikes in next(of.chunks(X)).spikes.items():
        assert torch.equal(seen[name][1], spikes)
    assert set(seen) == {f"{n}{m}" for n in ("layer1", "layer2", "readout") for m in ("", ".0")}
    of.get_submodule("layer2").register_forward_hook(lambda *given: torch.zeros_like(given[-1]))
    bias = of.readout_layer.bias.expand(len(X), -1)
    torch.testing.assert_close(of(X), T * bias if method == "saf-e" else bias)


def test_a_replaced_spike_is_the_one_that_is_reset_and_fed_back() -> None:
    """A neuron whose hook silences it is not reset: its potential goes on rising."""
    of = network()
    plain = [step.potentials["layer1"].clone() for step in of.run(X)]
    of.get_submodule("layer1").register_forward_hook(lambda *given: torch.zeros_like(given[-1]))
    silenced = [step.potentials["layer1"].clone() for step in of.run(X)]
    assert torch.equal(plain[0], silenced[0])
    factor = sum(0.5**k for k in range(T))
    torch.testing.assert_close(silenced[-1], factor * silenced[0])
    assert not torch.equal(plain[-1], silenced[-1])


def test_torchinfo_counts_parameters_and_operations() -> None:
    of = network()
    found = torchinfo.summary(of, input_size=(2, 2, 8, 8), verbose=0)
    assert found.total_params == of.description.architecture.parameters
    assert found.trainable_params == 0
    assert found.total_mult_adds > 0


def test_a_network_on_the_meta_device_has_shapes_alone() -> None:
    of: Any = network().to("meta")
    assert of.device.type == "meta"
    there = of.to_empty(device="cpu")
    there.load_state_dict(network().state_dict())
    assert torch.equal(there(X), network()(X))


def test_a_tensor_is_refused_that_the_description_does_not_ask_for() -> None:
    one = network()
    more: dict[str, Tensor] = {**one.tensors, "layer3.bias": torch.zeros(1)}
    with pytest.raises(ValueError, match=r"layer3\.bias"):
        LIFNetwork(described(architecture(), T, None), more)
