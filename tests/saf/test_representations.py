"""What a notebook shows of an object is what a person wants to know of it."""

from __future__ import annotations

import numpy as np

from saf.data import Dataset, digits
from saf.lif.network import LIFNetwork
from tests.saf.lif.test_network import by_hand, description, tensors


def test_a_lif_network_says_shape_classes_steps_and_weights() -> None:
    assert repr(by_hand()) == "LIFNetwork(1×1×1 → 2, T = 4, 6 weights)"


def test_a_network_on_a_grid_says_so() -> None:
    grid = {"bits": 1, "input_bits": 8}
    values = {name: (2 * value).round() / 2 for name, value in tensors().items()}
    network = LIFNetwork(description(grid=grid), values)
    assert repr(network) == "LIFNetwork(1×1×1 → 2, T = 4, 6 weights, multiples of 2^-1)"


def test_a_data_set_says_how_many_samples_of_which_shape() -> None:
    assert repr(digits()) == "Dataset(1,437 + 360 samples (training, test) of 1×8×8, 10 classes)"
    x, y = np.zeros((4, 3, 2, 8, 8), np.uint8), np.arange(4) % 2
    frames = Dataset(x, y, x[:2], y[:2], class_names=("one", "two"), x_val=x[:1], y_val=y[:1])
    shown = "Dataset(4 + 2 + 1 samples (training, test, validation) of 3×2×8×8, 2 classes)"
    assert repr(frames) == shown
