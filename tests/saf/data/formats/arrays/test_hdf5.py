"""Arrays in HDF5."""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from saf.data import detect, read
from saf.errors import DataError
from tests.saf.data.array_files import X, Y, hdf5

Pack = Callable[[Mapping[str, bytes], str], Path]
RANDOM = np.random.default_rng(6)


@pytest.mark.parametrize("options", [{}, {"chunks": True, "compression": "gzip"}])
@pytest.mark.parametrize(
    "names",
    ["x_train y_train x_test y_test", "train/x train/y test/x test/y", "X_tr y_tr X_te y_te"],
)
def test_datasets_of_hdf5_are_arrays_by_name(
    names: str, options: dict[str, Any], tmp_path: Path
) -> None:
    arrays = dict(zip(names.split(), (X[:14], Y[:14], X[14:], Y[14:]), strict=True))
    path = tmp_path / "data.h5"
    path.write_bytes(hdf5(arrays, **options))
    assert detect(path) == "hdf5"
    data = read(path)
    np.testing.assert_array_equal(data.x_train, X[:14].transpose(0, 3, 1, 2))
    assert data.y_test.tolist() == Y[14:].tolist()


def test_a_file_of_hdf5_for_each_split_with_names_of_classes(pack: Pack) -> None:
    names = np.array([b"non-cat", b"cat"])
    one = {"train_set_x": X[:14], "train_set_y": Y[:14], "list_classes": names}
    two = {"test_set_x": X[14:], "test_set_y": Y[14:], "list_classes": names}
    data = read(pack({"train_cat.h5": hdf5(one), "test_cat.h5": hdf5(two)}, "zip"))
    assert data.class_names == ("non-cat", "cat")
    np.testing.assert_array_equal(data.x_test, X[14:].transpose(0, 3, 1, 2))


def test_texts_and_objects_of_hdf5_are_labels_or_left_out(tmp_path: Path) -> None:
    path = tmp_path / "data.h5"
    with h5py.File(path, "w") as file:
        file["x"] = X
        file["y"] = np.array(["a", "b"] * 10, dtype=h5py.string_dtype())
        file["meta"] = np.zeros(3, [("a", "i4")])
        file.create_dataset("parts", (2,), dtype=h5py.vlen_dtype(np.uint8))
    data = read(path)
    assert data.class_names == ("a", "b")
    assert sorted(data.skipped) == [
        "meta: neither numbers nor texts",
        "parts: neither numbers nor texts",
    ]


def _external(file: Any, outside: Path) -> None:
    file.create_dataset("x", (20, 3), np.uint8, external=[(str(outside), 0, 60)])


def _soft(file: Any, outside: Path) -> None:
    file["x"] = h5py.SoftLink("/y")


def _other_file(file: Any, outside: Path) -> None:
    file["x"] = h5py.ExternalLink(str(outside), "/x")


def _virtual(file: Any, outside: Path) -> None:
    layout = h5py.VirtualLayout((20, 3), np.uint8)
    layout[:] = h5py.VirtualSource(str(outside), "x", shape=(20, 3))
    file.create_virtual_dataset("x", layout)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (_external, "lie in other files"),
        (_soft, "is a link"),
        (_other_file, "is a link"),
        (_virtual, "lie in other files"),
    ],
)
def test_hdf5_that_asks_for_other_files_is_refused(
    make: Callable[[Any, Path], None], says: str, tmp_path: Path
) -> None:
    outside = tmp_path / "secret.h5"
    outside.write_bytes(hdf5({"x": np.zeros((20, 3), np.uint8)}))
    path = tmp_path / "data.h5"
    with h5py.File(path, "w") as file:
        file["y"] = Y
        make(file, outside)
    with pytest.raises(DataError, match=says):
        read(path)


def test_a_damaged_hdf5_is_refused(tmp_path: Path) -> None:
    content = hdf5({"x": X, "y": Y}, compression="gzip", chunks=True)
    path = tmp_path / "data.h5"
    path.write_bytes(content[:600])
    with pytest.raises(DataError, match="damaged or no HDF5"):
        read(path)
    at = content.find(b"\x78\x5e") if b"\x78\x5e" in content else len(content) // 2
    path.write_bytes(content[: at + 20] + bytes(200) + content[at + 220 :])
    with pytest.raises(DataError, match=r"cannot be read|damaged"):
        read(path)


def packed_chunk(shape: tuple[int, ...], content: bytes, filters: Any = "gzip") -> bytes:
    """An HDF5 of samples in one chunk that is said to be of this shape and holds `content`."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        x = file.create_dataset("x", shape, np.uint8, chunks=shape, compression=filters)
        x.id.write_direct_chunk((0,) * len(shape), content)
        file["y"] = np.arange(shape[0]) % 2
    return buffer.getvalue()


@pytest.mark.slow
def test_chunks_that_unpack_to_more_than_they_say_are_refused_before_they_are(
    tmp_path: Path,
) -> None:
    path = tmp_path / "d.h5"
    shape = (20, 1, 256, 256)
    bomb = zlib.compress(bytes(640 * 2**20), 1)  # HDF5 would take 640 MiB
    path.write_bytes(packed_chunk(shape, bomb))
    with pytest.raises(DataError, match="unpack to more than the 1310720 bytes of a chunk"):
        read(path)
    path.write_bytes(packed_chunk(shape, RANDOM.bytes(5 * 2**20)))
    with pytest.raises(DataError, match="unpack to more than"):
        read(path)
    right = RANDOM.integers(0, 256, shape, np.uint8)
    path.write_bytes(packed_chunk(shape, zlib.compress(right.tobytes(), 1)))
    assert len(read(path).x_train) == 16


def test_filters_that_are_not_there_are_named(tmp_path: Path) -> None:
    path = tmp_path / "d.h5"
    with h5py.File(path, "w") as file:
        plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plist.set_chunk((20, 9, 7, 3))
        plist.set_filter(32015, h5py.h5z.FLAG_OPTIONAL)  # Zstandard
        space = h5py.h5s.create_simple(X.shape)
        h5py.h5d.create(file.id, b"x", h5py.h5t.NATIVE_UINT8, space, plist)
        file["y"] = Y
    with pytest.raises(DataError, match="is compressed by 32015, which is not read"):
        read(path)
