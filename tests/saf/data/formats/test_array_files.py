"""Files of arrays of other programs: HDF5, MATLAB's, STL-10, CIFAR in binary."""

from __future__ import annotations

import gzip
import io
import tracemalloc
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import scipy.io

from saf.data import detect, read
from saf.data.formats.format import NeedsChoiceError
from saf.errors import DataError

Files = dict[str, bytes]
Place = Callable[[Mapping[str, bytes]], Path]
Pack = Callable[[Mapping[str, bytes], str], Path]
RANDOM = np.random.default_rng(6)
X = RANDOM.integers(0, 256, (20, 9, 7, 3), np.uint8)
Y = np.arange(20) % 2


def hdf5(content: Mapping[str, Any], userblock: int = 0, **options: Any) -> bytes:
    buffer = io.BytesIO()
    with h5py.File(buffer, "w", userblock_size=userblock) as file:
        for name, values in content.items():
            file.create_dataset(name, data=values, **options)
    return buffer.getvalue()


def mat(**variables: Any) -> bytes:
    buffer = io.BytesIO()
    scipy.io.savemat(buffer, variables, do_compression=True)
    return buffer.getvalue()


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


@pytest.mark.parametrize("name", ["{}_32x32.mat", "svhn/{}.mat"])
def test_svhn_is_read_with_10_as_the_digit_0(name: str, pack: Pack) -> None:
    x = RANDOM.integers(0, 256, (32, 32, 3, 30), np.uint8)
    y = np.arange(30) % 10
    files = {
        name.format(split): mat(X=x[..., own], y=np.where(y == 0, 10, y)[own, None].astype("u1"))
        for split, own in (("train", slice(20)), ("test", slice(20, 30)))
    }
    path = pack(files, "zip")
    assert detect(path) == "mat"
    data = read(path)
    np.testing.assert_array_equal(data.x_train, x[..., :20].transpose(3, 2, 0, 1))
    np.testing.assert_array_equal(data.y_test, y[20:])
    assert data.class_names == tuple("0123456789")
    assert "label 10 is the digit 0" in [d.value for d in data.decisions]


@pytest.mark.parametrize(
    ("name", "shape", "labels"),
    [
        ("x", (80, 32, 32), 40),  # ORL, 40 faces
        ("x", (80, 32, 32), 10),
        ("X", (32, 32, 3, 80), 12),
        ("X", (32, 32, 3, 80), 9),
        ("images", (32, 32, 3, 80), 10),
    ],
)
def test_only_svhns_variables_are_svhn_whatever_the_file_is_called(
    name: str, shape: tuple[int, ...], labels: int, tmp_path: Path
) -> None:
    path = tmp_path / "ORL_32x32.mat"
    y = np.arange(80) % labels + 1
    path.write_bytes(mat(**{name: RANDOM.integers(0, 256, shape, np.uint8), "y": y[:, None]}))
    data = read(path)
    assert data.class_names == tuple(str(n) for n in range(1, labels + 1))


def test_variables_of_a_mat_file_are_arrays_by_name(tmp_path: Path) -> None:
    path = tmp_path / "data.mat"
    gray = X[..., 0]
    variables = {"trainX": gray[:14], "trainY": Y[:14] + 1, "testX": gray[14:], "testY": Y[14:] + 1}
    path.write_bytes(mat(**variables, info={"by": "us"}, cells=np.array(["a", 1], object)))
    data = read(path)
    assert sorted(data.skipped) == [
        "cells: neither numbers nor texts",
        "info: neither numbers nor texts",
    ]
    np.testing.assert_array_equal(data.x_train[:, 0], gray[:14])
    assert data.y_test.tolist() == Y[14:].tolist()
    assert data.class_names == ("1", "2")


def test_mat_files_of_version_7_3_have_their_axes_reversed(tmp_path: Path) -> None:
    path = tmp_path / "data.mat"
    content = bytearray(hdf5({"X": X.T, "y": Y[np.newaxis].astype(float)}, userblock=512))
    content[:19] = b"MATLAB 7.3 MAT-file"
    path.write_bytes(bytes(content))
    assert detect(path) == "mat"
    data = read(path)
    together = {x.tobytes() for x in (*data.x_train, *data.x_test)}
    assert together == {x.tobytes() for x in X.transpose(0, 3, 1, 2)}


def test_a_damaged_mat_file_is_refused(tmp_path: Path) -> None:
    content = mat(X=X, y=Y)
    path = tmp_path / "data.mat"
    path.write_bytes(content[:200] + bytes(100) + content[300:])
    with pytest.raises(DataError, match=r"damaged or no \.mat") as caught:
        read(path)
    assert "npz" in caught.value.hint


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


def test_rows_of_pixels_of_matlab_may_be_columns_of_images(tmp_path: Path) -> None:
    images = RANDOM.integers(0, 256, (20, 16, 16), np.uint8)
    path = tmp_path / "usps.mat"
    path.write_bytes(mat(fea=images.transpose(0, 2, 1).reshape(20, -1), gnd=Y[:, None] + 1))
    with pytest.raises(NeedsChoiceError) as caught:
        read(path)
    assert [c.value for c in caught.value.questions[0].candidates] == ["N H W", "N W H"]
    data = read(path, settings={"layout": "N W H"})
    assert {x.tobytes() for x in (*data.x_train, *data.x_test)} == {x.tobytes() for x in images}


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


def packed_chunk(shape: tuple[int, ...], content: bytes, filters: Any = "gzip") -> bytes:
    """An HDF5 of samples in one chunk that is said to be of this shape and holds `content`."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        x = file.create_dataset("x", shape, np.uint8, chunks=shape, compression=filters)
        x.id.write_direct_chunk((0,) * len(shape), content)
        file["y"] = np.arange(shape[0]) % 2
    return buffer.getvalue()


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


def matlab_73(path: Path, **variables: Any) -> Path:
    """A file as MATLAB writes version 7.3: axes reversed, texts as numbers, cells as references."""
    with h5py.File(path, "w", userblock_size=512) as file:
        for name, (kind, values) in variables.items():
            if kind == "cell":
                inside = file.require_group("#refs#")
                references = []
                for text in values:
                    codes = np.array([list(map(ord, text))], np.uint16).T
                    own = inside.create_dataset(f"{name}{len(inside)}", data=codes)
                    own.attrs["MATLAB_class"] = np.bytes_("char")
                    references.append(own.ref)
                data: Any = np.array([references], h5py.ref_dtype)
            elif kind == "char":
                data = np.array([list(map(ord, text)) for text in values], np.uint16).T
            else:
                data = np.asarray(values).T
            file.create_dataset(name, data=data).attrs["MATLAB_class"] = np.bytes_(kind)
    content = bytearray(path.read_bytes())
    content[:19] = b"MATLAB 7.3 MAT-file"
    path.write_bytes(content)
    return path


CELLS: Any = ("cell", ["ant", "bumblebee"])


@pytest.mark.parametrize("names", [CELLS, ("char", ["ant      ", "bumblebee"])])
def test_cells_and_characters_of_matlab_are_texts(names: Any, tmp_path: Path) -> None:
    texts = [names[1][y].strip() for y in Y]
    path = tmp_path / "d.mat"
    matlab_73(path, X=("uint8", X), y=("double", Y[:, None] + 1.0), class_names=names)
    assert read(path).class_names == ("ant", "bumblebee")
    matlab_73(path, X=("uint8", X), y=("cell", texts))
    assert read(path).class_names == ("ant", "bumblebee")
    values = names[1] if names[0] == "char" else np.array(names[1], object)
    path.write_bytes(mat(X=X, y=Y[:, None] + 1, class_names=values))
    assert read(path).class_names == ("ant", "bumblebee")
    path.write_bytes(mat(X=X, y=np.array(texts, object)))
    assert read(path).class_names == ("ant", "bumblebee")


def test_truth_values_of_matlab_are_black_and_white(tmp_path: Path) -> None:
    path = tmp_path / "d.mat"
    truth = X > 99
    x, y = ("logical", truth.astype("u1")), ("double", Y[None])
    wanted = np.where(truth, 255, 0).transpose(0, 3, 1, 2)
    test = Y == 1
    mask = ("logical", test[None].astype("u1"))
    for content in (
        matlab_73(path, X=x, y=y).read_bytes(),
        mat(X=truth, y=Y, test_mask=test),
        matlab_73(path, X=x, y=y, test_mask=mask).read_bytes(),
    ):
        path.write_bytes(content)
        data = read(path)
        both = {x.tobytes() for x in (*data.x_train, *data.x_test)}
        assert both == {x.tobytes() for x in wanted.astype("u1")}
    np.testing.assert_array_equal(data.x_test, wanted[test])
