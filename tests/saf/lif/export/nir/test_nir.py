"""NIR says what the network is, to the last spike, in every reader that it is written for."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import nir
import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from saf.config import JobSpecification
from saf.config.targets import TARGETS, NoReaderError
from saf.lif.export.nir.environments import INTERPRETER, PLACE
from saf.lif.export.nir.target import NIRTarget
from saf.lif.exporting import check, export
from saf.lif.network import LIFNetwork
from saf.networks.architecture import (
    INPUT,
    Architecture,
    Connection,
    Conv,
    Flatten,
    LayerDescription,
    Linear,
    Scale,
    SumPool,
    Upsample,
)
from saf.networks.build import build
from tests.saf.lif.export.conftest import Replayed
from tests.saf.lif.grid_networks import architecture_of_one_layer, converted, exact_grid, samples

NAMES = sorted(name for name, kind in TARGETS.members().items() if issubclass(kind, NIRTarget))


def architecture(network: dict[str, Any], *shape: int) -> Architecture:
    job = JobSpecification.model_validate({"network": network})
    return build(job.network, shape, 10)


def residual() -> LIFNetwork:
    return converted(architecture({"name": "resnet18", "width": 0.0625}, 1, 8, 8), 3, 3, "saf-f")


def odd() -> LIFNetwork:
    """Groups, a factor without weights, a pooling of 3, a branch, and a bias without weights."""
    conv = Conv(out_channels=6, groups=2, standardised=False)
    layers = (
        LayerDescription(
            name="layer1", connections=(Connection(source=INPUT, operations=(conv,)),)
        ),
        LayerDescription(
            name="layer2",
            connections=(
                Connection(source="layer1", operations=(Scale(factor=1.5), SumPool(kernel=3))),
                Connection(
                    source="layer1",
                    operations=(SumPool(kernel=3), Conv(out_channels=6, standardised=False)),
                ),
            ),
        ),
        LayerDescription(name="sum", connections=(Connection(source="layer2"),), relay=True),
        LayerDescription(name="layer3", connections=(Connection(source="sum"),)),
    )
    ways = (Flatten(), Linear(out_features=5))
    readout = LayerDescription(
        name="readout",
        connections=tuple(Connection(source=s, operations=ways) for s in ("layer3", "layer2")),
    )
    found = Architecture(input_shape=(2, 7, 6), layers=layers, readout=readout)
    return converted(found, 5, 4, "saf-e")


NETWORKS: dict[str, Callable[[], LIFNetwork]] = {
    "linear": lambda: converted(architecture_of_one_layer(), 1, 4, "saf-e"),
    "frames": lambda: converted(architecture_of_one_layer(), 2, 4, "saf-f", frames=True),
    "convolutions": lambda: converted(
        architecture({"name": "convnet", "channels": [6, 8]}, 2, 10, 10), 3, 4, "saf-f"
    ),
    "matrices": lambda: converted(
        architecture({"name": "mlp", "features": [16, 12]}, 1, 4, 4), 3, 4, "saf-f"
    ),
    "residual": residual,
    "odd": odd,
}


@cache
def network_on_a_grid(kind: str) -> LIFNetwork:
    return exact_grid(NETWORKS[kind]())


UNSAID = {"nir-spyx": {"residual", "odd"}, "nir-rockpool": NETWORKS.keys() - {"matrices"}}
AS_ELSEWHERE = {"matrices", "residual"}  # test_three_networks.py has such in every reader
SAID = [(name, kind) for name in NAMES for kind in NETWORKS if kind not in UNSAID.get(name, ())]


class Interpreter:
    """NIR as its paper says, with the reset by subtraction that it cannot say."""

    def __init__(self, path: Path) -> None:
        self._reader = path.stem
        graph = nir.read(path)
        self._nodes, self._edges = dict(graph.nodes), list(graph.edges)

    def play(self, frames: list[Tensor]) -> tuple[dict[str, Tensor], list[Tensor]]:
        u: dict[str, Tensor] = {}
        fired: dict[str, list[Tensor]] = {}
        outputs = []
        for frame in frames:
            there = {"input": frame.flatten(1) if self._reader == "rockpool" else frame}
            while len(there) < len(self._nodes):
                for name, node in self._nodes.items():
                    heard = [source for source, to in self._edges if to == name]
                    if name in there or not all(source in there for source in heard):
                        continue
                    x = sum((there[source] for source in heard[1:]), there[heard[0]])
                    if not isinstance(node, nir.LIF | nir.CubaLIF | nir.IF):
                        there[name] = applied(node, x, last=self._reader == "spyx")
                        continue
                    decay, threshold = constants(node, self._reader)
                    u[name] = decay * u.get(name, torch.zeros(())) + x
                    spikes = (u[name] > np.nextafter(threshold, np.float32(0))).float()
                    u[name] = u[name] - spikes * round(float(threshold), 6)
                    there[name] = spikes
                    fired.setdefault(name, []).append(spikes)
            outputs.append(there["output"])
        return {name: torch.stack(steps, 1) for name, steps in fired.items()}, outputs


def constants(node: Any, reader: str) -> tuple[float, np.float32]:
    threshold = node.v_threshold.flat[0]
    match node:
        case nir.IF():
            return 1.0, threshold
        case nir.CubaLIF():
            return float(1 - 1 / node.r.flat[0]), threshold
    tau = float(node.tau.flat[0])
    r = float(node.r.flat[0])
    if reader == "rockpool":
        return float(np.float32(np.exp(-1 / (1 + r)))), threshold
    if reader == "spyx":
        return 1 - 1 / tau, threshold
    return (float(np.exp(-1 / tau)) if r == 1 else 1 - 1 / r), threshold


def applied(node: Any, x: Tensor, *, last: bool) -> Tensor:
    match node:
        case nir.Affine():
            return F.linear(x, torch.from_numpy(node.weight), torch.from_numpy(node.bias))
        case nir.Conv2d():
            weight, bias = torch.from_numpy(node.weight), torch.from_numpy(node.bias)
            stride = tuple(map(int, node.stride))
            return F.conv2d(x, weight, bias, stride, tuple(map(int, node.padding)))
        case nir.SumPool2d():
            side = int(node.kernel_size[0])
            return F.avg_pool2d(x.double(), side, divisor_override=1).float()
        case nir.AvgPool2d():
            return F.avg_pool2d(x, int(node.kernel_size[0]))
        case nir.Flatten():
            return (x.movedim(1, -1) if last else x).flatten(1 + node.start_dim)
    return x


@pytest.mark.slow
@pytest.mark.parametrize(("name", "kind"), SAID)
def test_the_graph_is_the_network_rounding_of_the_input_and_all(
    name: str, kind: str, tmp_path: Path
) -> None:
    network = network_on_a_grid(kind)
    assert not check(network, name)
    export(network, name, tmp_path)
    (file,) = tmp_path.glob("*.nir")
    x = samples(7, 5, network)
    steps = network.timesteps
    given = [network._normalise(x[:, t] if network.description.frames else x) for t in range(steps)]
    fired, outputs = Interpreter(file).play(given)
    ours = list(network.run(x))
    for layer, spikes in ours[0].spikes.items():
        whole = torch.stack([step.spikes[layer] for step in ours], 1)
        assert spikes.shape[1:] == fired[f"lif_{layer}"].shape[2:]
        assert torch.equal(whole, fired[f"lif_{layer}"]), layer
    if network.description.readout == "mean":
        total: Tensor = sum(outputs[1:], outputs[0])
        assert torch.equal(total.argmax(1), ours[-1].scores.argmax(1))


def test_what_nir_cannot_say_is_refused_with_the_layer(tmp_path: Path) -> None:
    plain = converted(architecture_of_one_layer(), 1, 4, "saf-f")
    unleaky = LIFNetwork(plain.description.model_copy(update={"decay": 1.0}), plain.tensors)
    for name in NAMES:
        assert bool(check(unleaky, name)) == (name not in ("nir-sinabs", "nir-spyx")), name
    spread = Connection(
        source=INPUT, operations=(Upsample(factor=2), Flatten(), Linear(out_features=4))
    )
    again = Connection(source="layer1", operations=(Linear(out_features=4),))
    layer = LayerDescription(name="layer1", connections=(spread, again))
    readout = LayerDescription(
        name="readout",
        connections=(Connection(source="layer1", operations=(Linear(out_features=3),)),),
    )
    found = Architecture(input_shape=(1, 3, 3), layers=(layer,), readout=readout)
    network = converted(found, 1, 3, "saf-f")
    for name in NAMES:
        obstacles = check(network, name)
        assert {each.layer for each in obstacles} == {"layer1"}
        assert "feedback" in str(obstacles)
        assert "upsampling" in str(obstacles)


def test_names_of_classes_stay_what_they_are_in_the_program(tmp_path: Path) -> None:
    plain = converted(architecture_of_one_layer(), 1, 2, "saf-f")
    classes = ['"""', "back\\slash", "{brace}", *map(str, range(3, len(plain.class_names)))]
    update = {"class_names": tuple(classes)}
    network = LIFNetwork(plain.description.model_copy(update=update), plain.tensors)
    export(network, "nir-norse", tmp_path)
    text = (tmp_path / "run_norse.py").read_text()
    found: dict[str, Any] = {}
    exec(text[text.index("OF = ") : text.index("def in_order")], {"json": json}, found)
    assert found["OF"]["class_names"] == classes


def test_without_a_reader_the_certificate_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = converted(architecture_of_one_layer(), 1, 3, "saf-f")
    monkeypatch.delenv(INTERPRETER, raising=False)
    monkeypatch.setenv(PLACE, str(tmp_path / "none"))
    target = TARGETS["nir-norse"]()
    if target.missing(target.readers):
        done = export(network, "nir-norse", tmp_path, samples(0, 4, network))
        assert done.verdict == "not_replayed"
        assert "`saf readers install together`" in done.certificate["statement"]
    monkeypatch.setenv(INTERPRETER, sys.executable)
    monkeypatch.setattr(type(target), "readers", ("no-such-reader",))
    with (
        pytest.raises(NoReaderError, match="has no no-such-reader"),
        target.replay(network, tmp_path),
    ):
        pass
    monkeypatch.setenv(INTERPRETER, "/nowhere/python")
    with pytest.raises(NoReaderError, match="does not run"), target.replay(network, tmp_path):
        pass


@pytest.mark.slow
@pytest.mark.parametrize(("name", "kind"), [each for each in SAID if each[1] not in AS_ELSEWHERE])
def test_the_reader_spikes_as_the_network_does(
    name: str, kind: str, tmp_path: Path, replayed: Replayed
) -> None:
    network = network_on_a_grid(kind)
    done = replayed(network, name, tmp_path, samples(3, 6, network))
    assert done.verdict == "identical", done.certificate["statement"]
    assert set(TARGETS[name].readers) < done.certificate["reader"].keys()
    assert done.certificate["spikes_compared"] > 0


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_another_decay_off_the_grid_is_the_same_but_for_rounding(
    name: str, tmp_path: Path, replayed: Replayed
) -> None:
    of = {"name": "convnet", "channels": [8]}
    if name == "nir-rockpool":
        of = {"name": "mlp", "features": [32, 16]}
    plain = converted(architecture(of, 1, 8, 8), 3, 6, "saf-e")
    network = LIFNetwork(plain.description.model_copy(update={"decay": 0.8}), plain.tensors)
    done = replayed(network, name, tmp_path, samples(3, 24, network))
    assert done.verdict in ("identical", "equivalent"), done.certificate["statement"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["nir-snntorch", "nir-spikingjelly", "nir-spyx"])
def test_a_file_as_its_reader_takes_it_is_another_network_and_said_to_be(
    name: str, tmp_path: Path, replayed: Replayed
) -> None:
    network = NETWORKS["convolutions"]()
    target = TARGETS[name].model_validate({"name": name, "reset": "as read"})
    assert isinstance(target, NIRTarget)
    done = replayed(network, target, tmp_path, samples(3, 24, network))
    assert done.verdict == "differs"
    assert done.certificate["settings"] == {"reset": "as read"}
