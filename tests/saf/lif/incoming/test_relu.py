"""Weights of a ReLU network become a network of integrate-and-fire neurons, and a training."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from saf.config import JobSpecification
from saf.config.incoming import Reading, reading_of
from saf.data import digits
from saf.lif.incoming import relu
from saf.lif.incoming.reading import read_network
from saf.lif.incoming.state_dict import Matched
from saf.lif.network import LIFNetwork, load_lif
from saf.lif.starting import settings_of, taken_over
from saf.networks.architecture import (
    Architecture,
    Connection,
    Flatten,
    LayerDescription,
    Linear,
)
from saf.training.loop import train
from tests.saf.lif.incoming.relu_networks import LAYERS, pixels, relu_network, trained

ASKED = {"network": LAYERS, "shape": "1, 8, 8"}
ONE_DIMENSION = '{"name": "layers", "layers": [{"kind": "conv1d", "channels": 6}]}'


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, float]:
    file = tmp_path_factory.mktemp("relu") / "weights.safetensors"
    return file, trained(file)


def accuracy(network: LIFNetwork) -> float:
    x, y = pixels(digits(), "test")
    return float((network.predict(x) == y).float().mean())


def test_rates_approach_the_relu_network(weights: tuple[Path, float]) -> None:
    file, of_relu = weights
    assert of_relu > 0.9
    short = read_network(file, reading_of(ASKED | {"timesteps": "1"}), digits(), "digits")
    long = read_network(file, reading_of(ASKED | {"timesteps": "64"}), digits(), "digits")
    assert accuracy(short.network) < accuracy(long.network)
    assert abs(accuracy(long.network) - of_relu) < 0.01
    assert long.network.description.decay == 1.0
    said = "\n".join(long.assumptions)
    assert "with the BatchNorm 1 folded in" in said
    assert "percentile 99.9 of the activations on 512 training samples of digits" in said
    assert f"the ReLU network has {of_relu:.1%} right" in said


def test_without_samples_no_activation_is_above_its_threshold(weights: tuple[Path, float]) -> None:
    """Every neuron then fires in proportion, whatever the image."""
    file, of_relu = weights
    found = read_network(file, reading_of(ASKED | {"timesteps": "256"}))
    assert abs(accuracy(found.network) - of_relu) < 0.02
    assert any(
        "the largest activations that the weights allow" in each for each in found.assumptions
    )


@pytest.mark.slow
def test_a_training_goes_on_from_it(weights: tuple[Path, float], tmp_path: Path) -> None:
    """ReLU → integrate-and-fire → SAF: better after an epoch than from scratch."""
    data = digits()
    network = read_network(weights[0], reading_of(ASKED | {"timesteps": "16"}), data).network
    network.save(tmp_path / "lif.safetensors")
    settings = {"epochs": 1, "timesteps": 6, "validation_share": 0.0, "batch_size": 128}
    body = taken_over({"init": {"network": "lif.safetensors"}, **settings}, settings_of(network))
    found = {}
    for name, file in (("from", tmp_path / "lif.safetensors"), ("scratch", None)):
        sent = {key: value for key, value in body.items() if file or key != "init"}
        job = JobSpecification.model_validate(sent)
        for _ in train(job, data, tmp_path / name, device="cpu", init_from=file):
            pass
        found[name] = accuracy(load_lif(tmp_path / name / "lif.safetensors"))
    assert found["from"] > 0.9
    assert found["from"] > found["scratch"]


def named(**modules: str) -> dict[str, Tensor]:
    """The state dict with other names of its modules."""
    of = {"c": "0", "n": "1", "f": "5", "o": "7"}
    new = {of[key]: name for key, name in modules.items()}
    tensors = relu_network().state_dict()
    split = ((name.partition("."), tensor) for name, tensor in tensors.items())
    return {f"{new.get(one, one)}.{rest}": tensor for (one, _, rest), tensor in split}


def changed(name: str, tensor: Tensor) -> dict[str, Tensor]:
    return {**relu_network().state_dict(), name: tensor}


@pytest.mark.parametrize(
    ("tensors", "asked", "words"),
    [
        (
            changed("5.weight", torch.zeros(24, 90)),
            {},
            "tensor 5.weight has the shape (24, 90), and layer2 of the network needs (24, 96)",
        ),
        (changed("8.weight", torch.zeros(10, 10)), {}, "the file has 4 maps (0, 5, 7, 8), and the"),
        (changed("2.weight", torch.zeros(6)), {}, "2.weight has the shape (6,)"),
        (changed("0.weight", torch.full((6, 1, 3, 3), torch.nan)), {}, "0.weight has values"),
        (changed("0.weight", torch.ones(6, 1, 3, 3, dtype=torch.int8)), {}, "is torch.int8, and"),
        (changed("0.scale", torch.zeros(6)), {}, "tensor 0.scale is none of"),
        (named(f="hidden", o="out"), {}, "do not tell their order; send order"),
        (named(c="conv", n="norm"), {}, "which map the BatchNorm norm of 6 channels follows"),
        (named(c="conv", n="norm"), {"order": "conv, norm, 5"}, "order does not name 7"),
        (named(n="2"), {}, "between 0 and the BatchNorm 2 is a module without weights"),
        (named(n="2"), {"order": "0, 2, 5"}, "order does not name 7"),
        (named(), {"shape": "1, 9, 9"}, "needs (24, 96)"),
        (named(), {"network": '{"name": "resnet18"}'}, "has connections besides those"),
        (named(), {"network": LAYERS.replace("average_pool", "average_pool1d")}, "one dimension"),
        (named(), {"network": ONE_DIMENSION}, "one dimension (layer1)"),
        (named(), {"network": ""}, "send network"),
    ],
)
def test_what_does_not_fit_is_refused_by_its_tensor(
    tensors: dict[str, Tensor], asked: dict[str, Any], words: str, tmp_path: Path
) -> None:
    save_file(tensors, tmp_path / "weights.safetensors")
    if words == "needs (24, 96)":
        words = "tensor 5.weight has the shape (24, 96)"
        asked = {"shape": "1, 12, 12"}
    with pytest.raises(ValueError, match=re.escape(words)):
        read_network(tmp_path / "weights.safetensors", reading_of({**ASKED, **asked}))


def test_names_or_an_order_tell_what_follows_what(tmp_path: Path) -> None:
    def read(tensors: dict[str, Tensor], **more: str) -> dict[str, Tensor]:
        save_file(tensors, tmp_path / "weights.safetensors")
        return read_network(
            tmp_path / "weights.safetensors", reading_of({**ASKED, **more})
        ).network.tensors

    plain = read(named())
    for tensors, more in (
        (named(c="conv1", n="bn1", f="fc1", o="fc2"), {"order": "conv1,bn1,fc1,fc2"}),
        (named(c="features.0", n="features.1", f="classifier.1", o="classifier.3"), {}),
        (named(c="conv", n="norm", f="z", o="a"), {"order": "conv, norm, z, a"}),
    ):
        found = read(tensors, **more)
        assert all(torch.equal(tensor, found[name]) for name, tensor in plain.items())


def test_the_values_of_a_percentile_are_of_all_neurons(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not of every fourth of 8, as each 4th of all values would be."""
    monkeypatch.setattr(relu, "MOST_VALUES", 64)
    to_8 = Linear(out_features=8)
    architecture = Architecture(
        input_shape=(2, 1, 1),
        layers=(_layer("layer1", Connection(source="input", operations=(Flatten(), to_8))),),
        readout=_layer("readout", Connection(source="layer1", operations=(to_8,))),
    )
    bias = np.array([0.0, 5.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0])
    maps = [
        Matched("layer1", np.zeros((8, 2)), bias, ""),
        Matched("readout", np.zeros((8, 8)), bias, ""),
    ]
    of = relu.ReLU(architecture, maps, (), ())
    assert of.percentiles(torch.zeros(32, 2, 1, 1), 99.0) == [5.0]


def _layer(name: str, heard: Connection) -> LayerDescription:
    return LayerDescription(name=name, connections=(heard,))


def test_a_lif_network_needs_nothing_said(weights: tuple[Path, float], tmp_path: Path) -> None:
    network = read_network(weights[0], reading_of(ASKED)).network
    network.save(tmp_path / "lif.safetensors")
    again = read_network(tmp_path / "lif.safetensors", Reading())
    assert (again.source, again.assumptions) == ("lif", ())
    assert load_file(tmp_path / "lif.safetensors").keys() == network.tensors.keys()
