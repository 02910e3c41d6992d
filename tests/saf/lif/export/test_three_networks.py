"""Digits, a convolutional and a residual network on a grid at every target: the same network there,
or refused for what the target cannot express; of chips, what does not fit."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from saf.config.targets import TARGETS, CannotExportError
from saf.data import digits
from saf.lif.exporting import export
from saf.lif.network import LIFNetwork
from tests.saf.lif.export.conftest import Replayed
from tests.saf.lif.grid_networks import architected, samples

NETWORKS: dict[str, Callable[[], LIFNetwork]] = {
    "digits": lambda: architected({"name": "mlp", "features": [16]}, 1, 8, 8),
    "convolutional": lambda: architected({"name": "convnet", "channels": [4, 6]}, 1, 28, 28),
    "residual": lambda: architected({"name": "resnet18", "width": 0.0625}, 1, 8, 8),
}
REFUSED = {
    ("residual", "nir-spyx"): "layer stem: it adds up several connections",
    ("convolutional", "nir-rockpool"): "layer layer1: it has a convolution or a pooling",
    ("residual", "nir-rockpool"): "layer stem: it has a convolution or a pooling",
}
SERIAL = {"readout", "spikes a step", "weights"}  # what Xylo has for series, of any network here
IMAGES = {"input channels", "hidden neurons", "map", "output neurons"}
UNFIT = {
    ("digits", "speck"): {"decay", "input", "weights"},
    ("digits", "loihi"): {"potentials", "reset", "weights"},
    ("digits", "xylo"): {"input channels", "output neurons"} | SERIAL,
    ("convolutional", "speck"): {"decay", "input", "weights"},
    ("convolutional", "loihi"): {"potentials", "reset", "weights"},
    ("convolutional", "xylo"): IMAGES | SERIAL,
    ("residual", "speck"): {"decay", "input", "weights", "maps", "cores"},
    ("residual", "loihi"): {"reset", "weights"},
    ("residual", "xylo"): IMAGES | SERIAL,
}
CHECKS = [name for name, kind in TARGETS.members().items() if kind.is_check]
RUNNING = [name for name in TARGETS.names() if name not in CHECKS]
made = cache(lambda name: NETWORKS[name]())


@pytest.mark.slow
@pytest.mark.parametrize("target", RUNNING)
@pytest.mark.parametrize("name", NETWORKS)
def test_every_spike_and_prediction_is_that_of_the_network_or_it_is_refused(
    name: str, target: str, tmp_path: Path, replayed: Replayed
) -> None:
    network = made(name)
    if why := REFUSED.get((name, target)):
        with pytest.raises(CannotExportError, match=why):
            export(network, target, tmp_path)
        assert not [*tmp_path.iterdir()]
        return
    x = digits().x_test[:20] if name == "digits" else samples(5, 3, network)
    done = replayed(network, target, tmp_path, x, unit=digits().unit if name == "digits" else 255)
    assert done.verdict == "identical", done.certificate["statement"]
    assert done.certificate["spikes_compared"] > 0
    assert done.certificate["predictions_differing"] == 0
    assert {*TARGETS[target].readers} <= done.certificate["reader"].keys()


@pytest.mark.slow
@pytest.mark.parametrize("chip", CHECKS)
@pytest.mark.parametrize("name", NETWORKS)
def test_of_a_chip_the_limits_that_it_does_not_keep_are_said(
    name: str, chip: str, tmp_path: Path
) -> None:
    done = export(made(name), chip, tmp_path, samples(5, 3, made(name)))
    assert done.verdict == "not_replayed"
    limits = done.certificate["facts"]["limits"]
    assert {limit["what"] for limit in limits if not limit["fits"]} == UNFIT[name, chip]
    assert all(limit["change"] for limit in limits if not limit["fits"])
