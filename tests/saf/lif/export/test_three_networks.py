"""Digits, a convolutional and a residual network on a grid are the same network at every target."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from saf.data import digits
from saf.lif.exporting import export
from saf.lif.network import LIFNetwork
from tests.saf.lif.grid_networks import architected, samples

NETWORKS: dict[str, Callable[[], LIFNetwork]] = {
    "digits": lambda: architected({"name": "mlp", "features": [16]}, 1, 8, 8),
    "convolutional": lambda: architected({"name": "convnet", "channels": [4, 6]}, 1, 28, 28),
    "residual": lambda: architected({"name": "resnet18", "width": 0.0625}, 1, 8, 8),
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "target"),
    [(name, target) for name in NETWORKS for target in ("c", "wasm", "python", "onnx")]
    + [("residual", "torch-export")],  # it takes seconds, and has tests of its own
)
def test_every_spike_and_prediction_is_that_of_the_network(
    name: str, target: str, tmp_path: Path
) -> None:
    network = NETWORKS[name]()
    x = digits().x_test[:20] if name == "digits" else samples(5, 3, network)
    done = export(network, target, tmp_path, x, unit=digits().unit if name == "digits" else 255)
    assert done.verdict == "identical", done.certificate["statement"]
    assert done.certificate["spikes_compared"] > 0
