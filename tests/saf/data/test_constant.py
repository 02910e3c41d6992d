"""A split of which each sample holds one value alone is refused beside one of which none does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from saf.data import read
from saf.data.findings import findings
from saf.errors import DataError

Npz = Callable[..., Path]
RANDOM = np.random.default_rng(2)
KINDS = {
    "bytes": RANDOM.integers(0, 256, (8, 1, 5, 6), np.uint8),
    "colours": RANDOM.integers(0, 256, (8, 3, 5, 6), np.uint8),
    "floats": RANDOM.random((8, 1, 5, 6), np.float32),
    "events": RANDOM.integers(0, 4, (8, 5, 2, 9, 7), np.uint8),
    "series": RANDOM.normal(size=(8, 20, 4)).astype(np.float32),
}


@pytest.mark.parametrize("split", ["test", "val"])
@pytest.mark.parametrize("value", [0, 1])
@pytest.mark.parametrize("kind", KINDS)
def test_a_split_that_holds_one_value_is_refused(
    kind: str, value: int, split: str, npz: Npz
) -> None:
    x = KINDS[kind]
    arrays = {"x_train": x, "x_test": x[:4], "x_val": x[4:], "y_val": np.arange(4) % 2}
    assert read(npz(**arrays)).classes == 2
    arrays[f"x_{split}"] = np.full_like(arrays[f"x_{split}"], value)
    with pytest.raises(DataError, match="the splits hold values of different ranges") as caught:
        read(npz(**arrays))
    assert "scale all splits alike" in caught.value.hint.lower()


def test_samples_that_each_hold_a_value_of_their_own_are_named_by_it(npz: Npz) -> None:
    x = np.broadcast_to(np.arange(90, 94, dtype=np.uint8)[:, None, None, None], (4, 1, 5, 6))
    with pytest.raises(DataError, match=r"4 test samples holds one value alone, from 90 to 93"):
        read(npz(x_test=x))


def test_training_samples_of_values_of_their_own_are_refused_and_equal_ones_a_finding(
    npz: Npz,
) -> None:
    x = np.broadcast_to(np.arange(90, 98, dtype=np.uint8)[:, None, None, None], (8, 1, 5, 6))
    with pytest.raises(DataError, match=r"8 training samples holds one value alone"):
        read(npz(x_train=x))
    equal = read(npz(x_train=np.full_like(x, 90)))
    assert findings(equal)[0].code == "equal_samples"


def test_colours_without_a_picture_may_be_the_samples(npz: Npz) -> None:
    """Of all splits alike: patches of colours are told apart by these."""
    patches = np.broadcast_to(
        np.arange(0, 240, 30, dtype=np.uint8)[:, None, None, None], (8, 1, 5, 6)
    )
    assert len(read(npz(x_train=patches, x_test=patches[:4])).y_test) == 4


def test_one_black_sample_beside_others_is_a_sample(npz: Npz) -> None:
    x = KINDS["bytes"].copy()
    x[0] = 0
    assert len(read(npz(x_train=x, x_test=x[:4])).y_test) == 4
