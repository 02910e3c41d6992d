"""What comes with the library, and what importing it costs."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from saf.data import BUILTIN, CATALOGUE, Dataset, digits
from saf.data.labels import holdout
from saf.errors import DataError


@pytest.fixture(scope="module")
def data() -> Dataset:
    return digits()


def test_the_catalogue_agrees_with_the_data(data: Dataset) -> None:
    assert CATALOGUE.keys() == BUILTIN.keys()
    for name, load in BUILTIN.items():
        entry, loaded = CATALOGUE[name], load()
        assert entry.shape == loaded.sample_shape
        assert entry.timesteps == loaded.timesteps
        assert entry.classes == loaded.classes
        assert entry.class_names == loaded.class_names
        assert (entry.train, entry.test) == (len(loaded.y_train), len(loaded.y_test))
        assert entry.val == (0 if loaded.y_val is None else len(loaded.y_val))


def test_every_digit_is_there_once_and_scaled_to_a_byte(data: Dataset) -> None:
    from sklearn.datasets import load_digits

    original = load_digits()
    scaled = np.floor(original.images * 255 / 16 + 0.5).astype(np.uint8)
    ours = np.concatenate([data.x_train, data.x_test])
    labels = np.concatenate([data.y_train, data.y_test])
    assert ours.dtype == np.uint8
    assert ours.shape == (1797, 1, 8, 8)
    assert {(image.tobytes(), label) for image, label in zip(ours, labels, strict=True)} == {
        (image.tobytes(), label) for image, label in zip(scaled, original.target, strict=True)
    }
    assert (ours.min(), ours.max()) == (0, 255)


def test_the_split_is_stratified_and_always_the_same(data: Dataset) -> None:
    again = digits()
    np.testing.assert_array_equal(data.x_test, again.x_test)
    train, test = np.bincount(data.y_train), np.bincount(data.y_test)
    assert np.abs(test / (train + test) - 0.2).max() < 0.005
    # Written down, so that another version of a library cannot move samples between the splits.
    assert data.y_test[:20].tolist() == [8, 9, 9, 5, 1, 0, 2, 2, 8, 2, 0, 6, 3, 3, 0, 9, 1, 5, 2, 5]


def test_the_holdout_of_one_class_does_not_depend_on_the_order_of_samples() -> None:
    labels = np.array([0] * 7 + [1] * 13)
    keys = [f"image {index}" for index in range(20)]
    chosen = {key for key, test in zip(keys, holdout(labels, keys, 2), strict=True) if test}
    order = np.random.default_rng(0).permutation(20)
    shuffled = [keys[index] for index in order]
    again = holdout(labels[order], shuffled, 2)
    assert {key for key, test in zip(shuffled, again, strict=True) if test} == chosen
    assert len(chosen) == 4


@pytest.mark.parametrize(
    ("counts", "held_out"),
    [
        ([10, 10], [2, 2]),
        ([1, 9], [0, 2]),
        ([2, 2], [1, 0]),
        ([3, 3, 3], [1, 1, 0]),
    ],
)
def test_a_fifth_is_held_out_and_no_class_loses_its_only_sample(
    counts: list[int], held_out: list[int]
) -> None:
    labels = np.repeat(np.arange(len(counts)), counts)
    chosen = holdout(labels, [str(index) for index in range(len(labels))], len(counts))
    assert np.bincount(labels[chosen], minlength=len(counts)).tolist() == held_out


def test_of_classes_of_one_sample_none_can_be_held_out() -> None:
    with pytest.raises(DataError, match="each of the 3 classes has one sample"):
        holdout(np.arange(3), ["a", "b", "c"], 3)


def test_importing_the_package_loads_neither_torch_nor_scikit_learn() -> None:
    script = (
        "import sys, saf.data; sys.exit(bool({'torch', 'sklearn', 'scipy'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
