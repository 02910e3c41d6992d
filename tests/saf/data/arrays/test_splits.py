"""Which samples are for training, testing and validation, where arrays list them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io

from saf.data import read

Refused = Callable[..., None]

X = np.random.default_rng(2).integers(0, 256, (20, 9, 7, 3), np.uint8)
Y = np.arange(20) % 2
ROW_OF = {x.tobytes(): row for row, x in enumerate(X)}


def write(path: Path, **arrays: Any) -> Path:
    arrays = {"x": X, "y": Y} | arrays
    if path.suffix == ".mat":
        scipy.io.savemat(path, arrays)
    else:
        np.savez(path, **arrays)
    return path


def rows(data: Any, split: str) -> list[int]:
    """The rows of `X` that a split has; each with its label."""
    samples = getattr(data, f"x_{split}")
    if samples is None:
        return []
    found = [ROW_OF[np.ascontiguousarray(x.transpose(1, 2, 0)).tobytes()] for x in samples]
    assert getattr(data, f"y_{split}").tolist() == Y[found].tolist()
    return found


@pytest.mark.parametrize(
    ("lists", "train", "test", "val", "told"),
    [
        ({"val": [0, 1]}, range(2, 20), [0, 1], [], "val is for testing"),
        ({"test": [0, 1]}, range(2, 20), [0, 1], [], "18 other samples are for training"),
        ({"train": range(9)}, range(9), range(9, 20), [], "11 other samples are for testing"),
        ({"train": range(9), "val": range(9, 20)}, range(9), range(9, 20), [], "for testing"),
        ({"train": range(9), "val": [9]}, range(9), range(10, 20), [9], "10 other samples are"),
        ({"test": range(9), "val": [9]}, range(10, 20), range(9), [9], "10 other samples are"),
        ({"train": range(9), "test": [9]}, range(9), [9], [], "10 other samples are left out"),
    ],
)
def test_no_sample_is_in_two_splits_whichever_of_them_are_listed(
    lists: dict[str, Any], train: Any, test: Any, val: Any, told: str, tmp_path: Path
) -> None:
    listed = {f"{split}_idx": np.array(own) for split, own in lists.items()}
    masks = {f"{split}_mask": np.isin(np.arange(20), np.array(own)) for split, own in lists.items()}
    for arrays in (listed, masks):
        data = read(write(tmp_path / "d.npz", **arrays))
        assert rows(data, "train") == list(train)
        assert rows(data, "test") == list(test)
        assert rows(data, "val") == list(val)
        assert any(told in decision.value for decision in data.decisions)


@pytest.mark.parametrize("suffix", [".npz", ".mat"])
def test_lists_may_count_samples_from_1(suffix: str, tmp_path: Path) -> None:
    path = write(tmp_path / f"d{suffix}", train_idx=np.arange(1, 16), test_idx=np.arange(16, 21))
    data = read(path)
    assert rows(data, "train") == list(range(15))
    assert rows(data, "test") == list(range(15, 20))
    assert "counted from 1" in " ".join(d.why for d in data.decisions)


def test_lists_of_matlab_are_rows_or_columns_of_floats_that_count_from_1(tmp_path: Path) -> None:
    train, test = np.arange(1.0, 13.0), np.arange(13.0, 17.0)
    for lists in ({"trainInd": train, "testInd": test}, {"trainInd": train[:, None]}):
        data = read(write(tmp_path / "d.mat", **lists))
        assert rows(data, "train") == list(range(12))
    zero = read(write(tmp_path / "d.mat", train_idx=train - 1, test_idx=test - 1))
    assert rows(zero, "test") == list(range(12, 16))


@pytest.mark.parametrize(
    ("lists", "says"),
    [
        ({"train_mask": np.ones(19, bool)}, "train_mask has 19 truth values"),
        ({"train_mask": np.array([0, 1] * 8)}, "lists sample 0 twice"),
        ({"train_idx": np.arange(20)}, "no samples for testing"),
        ({"test_idx": np.arange(20)}, "no samples for training"),
        ({"train_idx": np.arange(9) + 0.5}, "not whole"),
        ({"train_idx": np.arange(21)}, "go from 0 to 20"),
    ],
)
def test_lists_that_split_nothing_are_refused(
    lists: dict[str, Any], says: str, tmp_path: Path, refused: Refused
) -> None:
    refused(write(tmp_path / "d.npz", **lists), says, "holdout")


def test_samples_that_are_all_of_other_classes_cannot_be_held_out(
    tmp_path: Path, refused: Refused
) -> None:
    refused(write(tmp_path / "d.npz", y=np.arange(20)), "has one sample", "labels_from")
