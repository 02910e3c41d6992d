"""Samples in time of different lengths: what is padding, and that it is kept."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from saf.data import Dataset, load, read, save
from saf.errors import DataError

Refused = Callable[..., None]

N, T, C = 20, 9, 3
RANDOM = np.random.default_rng(5)
Y = np.arange(N) % 2
LENGTHS = RANDOM.integers(1, T + 1, N)
LENGTHS[:2] = 1, T
X = np.where(np.arange(T)[:, None] < LENGTHS[:, None, None], RANDOM.normal(size=(N, T, C)), 0)
X = X.astype(np.float32)


def write(path: Path, **arrays: Any) -> Path:
    np.savez(path, **arrays)
    return path


def own(data: Dataset) -> dict[bytes, int]:
    """The length of each sample by its values."""
    found = {}
    for split in data.splits:
        lengths = getattr(data, f"lengths_{split}")
        assert lengths.dtype == np.int64
        for x, length in zip(getattr(data, f"x_{split}"), lengths, strict=True):
            found[x.tobytes()] = int(length)
    return found


WANTED = {x.tobytes(): int(length) for x, length in zip(X, LENGTHS, strict=True)}


@pytest.mark.parametrize(
    "names",
    [
        ("lengths_train", "lengths_test"),
        ("train_lengths", "test_lengths"),
        ("seq_lens_train", "seq_lens_test"),
        ("x_train_len", "x_test_len"),
        ("len_train", "len_test"),
        ("train/length", "test/length"),
    ],
)
def test_lengths_beside_samples_are_kept(names: tuple[str, str], tmp_path: Path) -> None:
    arrays = {"x_train": X[:14], "y_train": Y[:14], "x_test": X[14:], "y_test": Y[14:]}
    lengths = dict(zip(names, (LENGTHS[:14], LENGTHS[14:].astype(float)), strict=True))
    data = read(write(tmp_path / "d.npz", **arrays, **lengths), settings={"layout": "N T C"})
    assert own(data) == WANTED
    assert "lengths of 1 to 9 time steps" in [d.value for d in data.decisions]
    assert data.summary()["lengths"] == {
        "shortest": 1,
        "longest": T,
        "mean": pytest.approx(LENGTHS.mean()),
    }


@pytest.mark.parametrize("name", ["lengths", "seq_lens", "sequence_lengths", "seqlens"])
@pytest.mark.parametrize("lists", [{}, {"val_idx": np.arange(4), "test_idx": np.arange(4, 9)}])
def test_lengths_go_where_their_samples_go(name: str, lists: Any, tmp_path: Path) -> None:
    path = write(tmp_path / "d.npz", x=X, y=Y, **{name: LENGTHS}, **lists)
    data = read(path, settings={"layout": "N T C"})
    assert data.splits == (("train", "test", "val") if lists else ("train", "test"))
    assert own(data) == WANTED


def test_series_that_are_padded_are_kept_in_version_3(tmp_path: Path) -> None:
    data = read(write(tmp_path / "d.npz", x=X, y=Y, lengths=LENGTHS), settings={"layout": "N T C"})
    save(data, tmp_path / "d.safetensors")
    again = load(tmp_path / "d.safetensors")
    assert own(again) == WANTED
    assert b'\\"version\\": 3' in (tmp_path / "d.safetensors").read_bytes()[:4096]
    assert own(read(tmp_path / "d.safetensors")) == WANTED
    plain = Dataset(x_train=X, y_train=Y, x_test=X, y_test=Y, class_names=("a", "b"))
    save(plain, tmp_path / "plain.safetensors")
    assert b'\\"version\\": 2' in (tmp_path / "plain.safetensors").read_bytes()[:4096]
    assert plain.summary()["lengths"] is None


@pytest.mark.parametrize("channels", [1, 3])
def test_lists_of_hdf5_become_padded_series(channels: int, tmp_path: Path) -> None:
    path = tmp_path / "d.h5"
    shape = (N,) if channels == 1 else (N, channels)
    with h5py.File(path, "w") as file:
        x = file.create_dataset("x", shape, h5py.vlen_dtype(np.float32))
        for row in range(N):
            parts = [X[row, : LENGTHS[row], c] for c in range(channels)]
            if channels == 1:
                x[row] = parts[0]
            else:
                for channel, values in enumerate(parts):
                    x[row, channel] = values
        file["y"] = Y
    data = read(path)
    assert data.kind == "series"
    wanted = {x[:, :channels].tobytes(): int(n) for x, n in zip(X, LENGTHS, strict=True)}
    assert own(data) == wanted


@pytest.mark.parametrize(
    ("lengths", "says"),
    [
        (np.where(np.arange(N) == 3, 0, LENGTHS), r"lengths\[3\] is 0; samples have 1 to 9"),
        (np.where(np.arange(N) == 3, 10, LENGTHS), r"lengths\[3\] is 10"),
        (LENGTHS[:-1], "one whole number for each of the 20 samples"),
        (LENGTHS + 0.5, "one whole number"),
    ],
)
def test_lengths_that_cannot_be_are_refused(lengths: Any, says: str, tmp_path: Path) -> None:
    path = write(tmp_path / "d.npz", x=X, y=Y, lengths=lengths)
    with pytest.raises(DataError, match=says):
        read(path, settings={"layout": "N T C"})


def test_lengths_of_one_split_alone_are_refused(tmp_path: Path, refused: Refused) -> None:
    arrays = {"x_train": X, "y_train": Y, "x_test": X, "y_test": Y, "lengths_train": LENGTHS}
    path = write(tmp_path / "d.npz", **arrays)
    refused(path, "lengths for train, and none for test", "of none", layout="N T C")


def test_lengths_beside_images_and_of_labels_are_left_out(tmp_path: Path) -> None:
    images = RANDOM.integers(0, 256, (N, 1, 9, 9), np.uint8)
    data = read(write(tmp_path / "d.npz", x=images, y=Y, lengths=LENGTHS, y_len=LENGTHS))
    assert data.lengths_train is None
    told = [decision.value for decision in data.decisions]
    assert "left out: lengths" in told
    assert "left out: y_len" in told


def test_a_data_set_checks_its_lengths() -> None:
    fields: Any = {"x_train": X, "y_train": Y, "x_test": X, "y_test": Y, "class_names": ("a", "b")}
    with pytest.raises(DataError, match="lengths for train"):
        Dataset(**fields, lengths_train=LENGTHS)
    with pytest.raises(DataError, match=r"lengths_test\[0\] is 0"):
        Dataset(**fields, lengths_train=LENGTHS, lengths_test=LENGTHS * 0)
    images = fields | {"x_train": X[..., None], "x_test": X[..., None]}
    images = {k: np.clip(v, 0, 1) if k.startswith("x_") else v for k, v in images.items()}
    with pytest.raises(DataError, match="which have no time"):
        Dataset(**images, lengths_train=LENGTHS, lengths_test=LENGTHS)
