"""Files of arrays of other programs: HDF5, MATLAB's, STL-10, CIFAR in binary."""

from __future__ import annotations

import gzip
import tracemalloc
from collections.abc import Callable, Mapping
from pathlib import Path

import h5py
import numpy as np
import pytest

from saf.data import detect, read
from saf.errors import DataError
from tests.saf.data.array_files import X, Y, hdf5, mat

Files = dict[str, bytes]
Pack = Callable[[Mapping[str, bytes], str], Path]
RANDOM = np.random.default_rng(6)


def stl10() -> Files:
    x = RANDOM.integers(0, 256, (6, 3, 96, 96), np.uint8)
    y = np.array([1, 2, 3, 1, 2, 3], np.uint8)
    stored = x.transpose(0, 1, 3, 2)
    return {
        "stl10_binary/train_X.bin": stored[:4].tobytes(),
        "stl10_binary/train_y.bin": y[:4].tobytes(),
        "stl10_binary/test_X.bin": stored[4:].tobytes(),
        "stl10_binary/test_y.bin": y[4:].tobytes(),
        "stl10_binary/unlabeled_X.bin": stored[:1].tobytes(),
        "stl10_binary/class_names.txt": b"airplane\nbird\ncar\n",
        "x": x.tobytes(),
    }


def test_stl10_is_turned_and_its_labels_counted_from_1(pack: Pack) -> None:
    files = stl10()
    x = np.frombuffer(files.pop("x"), np.uint8).reshape(-1, 3, 96, 96)
    path = pack(files, "tar.gz")
    assert detect(path) == "stl10"
    data = read(path)
    np.testing.assert_array_equal(data.x_train, x[:4])
    np.testing.assert_array_equal(data.x_test, x[4:])
    assert data.y_test.tolist() == [1, 2]
    assert data.class_names == ("airplane", "bird", "car")
    assert data.skipped == ("stl10_binary/unlabeled_X.bin: images without labels",)


def test_stl10_that_was_cut_short_is_refused(pack: Pack) -> None:
    files = stl10()
    files["stl10_binary/train_X.bin"] = files["stl10_binary/train_X.bin"][:-5]
    with pytest.raises(DataError, match="a multiple of 27648"):
        read(pack(files, "zip"))
    del files["stl10_binary/test_y.bin"]
    with pytest.raises(DataError, match=r"lacks test_y\.bin"):
        read(pack(files, "zip"))


@pytest.mark.parametrize("fine", [False, True])
def test_cifar_in_binary_is_read(fine: bool, pack: Pack) -> None:
    x = RANDOM.integers(0, 256, (15, 3072), np.uint8)
    y = (np.arange(15) % 3).astype(np.uint8)
    labels = [np.full(15, 9, np.uint8), y] if fine else [y]
    rows = np.concatenate([*(each[:, None] for each in labels), x], axis=1)
    names = b"apple\nbeaver\nwhale\n\n"
    if fine:
        files = {"train.bin": rows[:10].tobytes(), "fine_label_names.txt": names}
    else:
        files = {f"data_batch_{n}.bin": rows[5 * n - 5 : 5 * n].tobytes() for n in (1, 2)}
        files["batches.meta.txt"] = names
    files["test.bin" if fine else "test_batch.bin"] = rows[10:].tobytes()
    path = pack({f"cifar/{name}": content for name, content in files.items()}, "tar.gz")
    assert detect(path) == "cifar-binary"
    data = read(path)
    np.testing.assert_array_equal(data.x_train, x[:10].reshape(-1, 3, 32, 32))
    np.testing.assert_array_equal(data.x_test, x[10:].reshape(-1, 3, 32, 32))
    assert data.y_train.tolist() == y[:10].tolist()
    assert data.class_names == ("apple", "beaver", "whale")


@pytest.mark.parametrize("empty", ["test", "val"])
@pytest.mark.parametrize("suffix", [".h5", ".mat"])
def test_an_empty_split_is_refused_and_nothing_is_held_out(
    suffix: str, empty: str, tmp_path: Path
) -> None:
    arrays = {"x_train": X, "y_train": Y, f"x_{empty}": X[:0], f"y_{empty}": Y[:0]}
    path = tmp_path / f"d{suffix}"
    path.write_bytes(hdf5(arrays) if suffix == ".h5" else mat(**arrays))
    with pytest.raises(DataError, match=rf"x_{empty} has the shape \(0, 9, 7, 3\): it is empty"):
        read(path)


@pytest.mark.parametrize("suffix", [".h5", ".mat"])
def test_other_empty_arrays_are_left_out_and_told(suffix: str, tmp_path: Path) -> None:
    arrays = {"x": X, "y": Y, "remarks": Y[:0]}
    path = tmp_path / f"d{suffix}"
    path.write_bytes(hdf5(arrays) if suffix == ".h5" else mat(**arrays))
    assert read(path).skipped == ("remarks: empty",)


def test_labels_of_stl10_count_from_1_also_where_the_last_class_lacks(pack: Pack) -> None:
    labels = np.array([1, 2] * 5, np.uint8)
    images = RANDOM.integers(0, 256, (10, 3 * 96 * 96), np.uint8).tobytes()
    files = {"train_X.bin": images, "train_y.bin": labels.tobytes()}
    files["class_names.txt"] = b"airplane\nbird\ncar\n"
    data = read(pack(files, "tar"))
    assert {data.class_names[y] for y in data.y_train} == {"airplane", "bird"}


@pytest.mark.parametrize("packed", [False, True])
def test_files_of_more_than_ten_million_bytes_are_read(packed: bool, tmp_path: Path) -> None:
    x = np.zeros((20, 1, 720, 720), np.uint8)
    x[:, 0, 0, 0] = 255
    path = tmp_path / ("d.h5.gz" if packed else "d.h5")
    content = hdf5({"x": x, "y": Y})
    path.write_bytes(gzip.compress(content, 1) if packed else content)
    assert len(read(path).x_train) == 16


@pytest.mark.parametrize("kind", ["S2000000", "text"])
def test_texts_that_are_no_names_are_not_loaded(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "d.h5"
    with h5py.File(path, "w") as file:
        file["x"], file["y"] = X, Y
        if kind == "text":
            file["notes"] = np.array(["a" * 9_000_000] * 8, h5py.string_dtype())
        else:
            file.create_dataset("notes", (40,), kind, chunks=(1,), compression="gzip")
    tracemalloc.start()
    try:
        assert read(path).skipped == ("notes: neither numbers nor texts",)
        assert tracemalloc.get_traced_memory()[1] < 150e6
    finally:
        tracemalloc.stop()


def test_a_batch_of_cifar_in_binary_that_is_missing_is_refused_or_told(pack: Pack) -> None:
    rows = {n: bytes([n % 2]) + bytes([40 * n]) * 3071 + bytes(1) for n in range(1, 6)}
    files = {f"data_batch_{n}.bin": row * 2 for n, row in rows.items()}
    files |= {"test_batch.bin": rows[1] + rows[2]}
    assert not [d for d in read(pack(files, "tar")).decisions if "batches" in d.value]
    del files["data_batch_5.bin"]
    assert [d for d in read(pack(files, "tar")).decisions if d.value == "4 of 5 batches"]
    del files["data_batch_2.bin"]
    with pytest.raises(DataError, match=r"lacks data_batch_2\.bin"):
        read(pack(files, "tar"))


def test_a_second_array_in_a_file_is_not_overlooked(tmp_path: Path) -> None:
    """`numpy.save` into a file that is open for more."""
    for name, array in (("x", X), ("y", Y)):
        with (tmp_path / f"{name}.npy").open("ab") as file:
            np.save(file, array)
            np.save(file, array)
    with pytest.raises(DataError, match="holds more behind its array"):
        read(tmp_path)
