"""numpy's archives of arrays."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from saf.data import Limits, detect, read
from saf.errors import DataError

Npz = Callable[..., Path]
BYTES = np.random.default_rng(1).integers(0, 256, (8, 3, 5, 6), np.uint8)


def test_bytes_are_taken_as_they_are(npz: Npz) -> None:
    path = npz(x_train=BYTES, x_test=BYTES[:4])
    assert detect(path) == "npz"
    data = read(path)
    np.testing.assert_array_equal(data.x_train, BYTES)
    assert data.x_train.dtype == np.uint8
    assert data.y_train.tolist() == [0, 1] * 4
    assert data.class_names == ("0", "1")


def test_class_names_are_read_when_there_are_any(npz: Npz) -> None:
    path = npz(class_names=np.array(["cat", "dog", "emu"]))
    assert read(path).class_names == ("cat", "dog", "emu")


def test_images_without_channels_get_one(npz: Npz) -> None:
    data = read(npz(x_train=BYTES[:, 0], x_test=BYTES[:4, 0]))
    np.testing.assert_array_equal(data.x_train, BYTES[:, :1])


@pytest.mark.parametrize("dtype", ["int64", "int16", "uint32", ">i4"])
def test_integers_within_a_byte_become_bytes(dtype: str, npz: Npz) -> None:
    data = read(npz(x_train=BYTES.astype(dtype), x_test=BYTES[:4].astype(dtype)))
    assert data.x_train.dtype == np.uint8
    np.testing.assert_array_equal(data.x_train, BYTES)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", ">f4"])
def test_floats_become_float32(dtype: str, npz: Npz) -> None:
    x = (BYTES / 255).astype(dtype)
    data = read(npz(x_train=x, x_test=x[:4]))
    assert data.x_train.dtype == np.float32
    np.testing.assert_array_equal(data.x_train, x.astype(np.float32))


def test_arrays_in_fortran_order_and_compressed_ones_are_read(npz: Npz, tmp_path: Path) -> None:
    np.testing.assert_array_equal(
        read(npz(x_train=np.asfortranarray(BYTES), x_test=BYTES[:4])).x_train, BYTES
    )
    path = tmp_path / "compressed.npz"
    np.savez_compressed(path, x_train=BYTES, y_train=np.arange(8) % 2, x_test=BYTES, y_test=[1] * 8)
    np.testing.assert_array_equal(read(path).x_train, BYTES)


@pytest.mark.parametrize("dtype", ["uint8", "int64", "float32"])
def test_event_frames_are_counts_of_any_type_and_not_scaled(dtype: str, npz: Npz) -> None:
    counts = np.random.default_rng(0).poisson(3.0, (8, 4, 2, 5, 6)).astype(dtype)
    data = read(npz(x_train=counts, x_test=counts[:4]))
    assert (data.timesteps, data.sample_shape) == (4, (2, 5, 6))
    assert data.x_train.dtype == (np.float32 if dtype == "float32" else np.uint8)
    assert data.unit == 1
    np.testing.assert_array_equal(data.x_train, counts)


def test_counts_that_are_no_bytes_in_one_split_are_floats_in_all(npz: Npz) -> None:
    counts = np.random.default_rng(0).poisson(3.0, (8, 4, 2, 5, 6)).astype(np.uint8)
    few = counts[:4].astype(np.int16)
    few[0, 0, 0, 0, 0] = 300
    data = read(npz(x_train=counts, x_test=few))
    assert {data.x_train.dtype, data.x_test.dtype} == {np.dtype(np.float32)}
    np.testing.assert_array_equal(data.x_train, counts)
    np.testing.assert_array_equal(data.x_test, few)


def test_an_array_that_runs_the_other_way_in_memory_is_read_as_it_is(npz: Npz) -> None:
    counts = np.random.default_rng(0).poisson(3.0, (8, 4, 2, 5, 6)).astype(np.uint8)
    data = read(npz(x_train=np.asfortranarray(counts), x_test=counts[:4]))
    np.testing.assert_array_equal(data.x_train, counts)
    assert data.x_train.flags.c_contiguous


@pytest.mark.parametrize("name", ["val", "valid", "validation"])
def test_a_validation_split_is_read_when_there_is_one(name: str, npz: Npz) -> None:
    assert read(npz()).y_val is None
    x = np.random.default_rng(2).integers(0, 256, (3, 1, 5, 6), np.uint8)
    data = read(npz(**{f"x_{name}": x.astype(np.int64), f"y_{name}": np.array([1, 0, 1])}))
    np.testing.assert_array_equal(data.x_val, x)
    assert data.x_val is not None
    assert data.x_val.dtype == np.uint8
    assert data.y_val is not None
    assert data.y_val.tolist() == [1, 0, 1]


@pytest.mark.parametrize(
    ("arrays", "says", "remedy"),
    [
        ({"x_train": BYTES[:7]}, "x_train has 7 samples, and there are 8 labels", "one label"),
        ({"x_train": BYTES}, "training samples have the shape (3, 5, 6), test samples (1", "one"),
        ({"x_train": BYTES[:, 0]}, "different numbers of axes", "one shape"),
        ({"x_train": BYTES.astype(complex)}, "complex128, which is not read", "uint8"),
        ({"x_train": BYTES.astype("S1")}, "not numbers", "savez"),
        ({"x_train": np.zeros((0, 1, 5, 6))}, "has the shape (0, 1, 5, 6)", "empty"),
        ({"x_train": BYTES[:, :1] / 255 * np.nan}, "NaN", "Remove"),
        ({"x_train": np.full((8, 1, 5, 6), 1e300)}, "x_train floats from 1e+300", "alike"),
        (
            {"x_train": BYTES[:, :1] / 255, "x_test": BYTES[:4, :1] / 1.0},
            "different ranges",
            "[0, 1]",
        ),
        ({"y_train": np.arange(8) / 8}, "values that are not whole; labels are integers", "NaN"),
        ({"y_test": np.array([0, 1, 2, 0])}, "y_test[2] is 2; labels are in 0…1", "Number"),
        ({"y_test": np.array([0, 1, -2, 0])}, "y_test[2] is -2; labels are in 0…1", "Number"),
        ({"y_train": np.array([0, 1, -1, 0] * 2)}, "y_train[2] is -1", "without a label"),
        ({"y_train": np.full((8, 4), 0.25)}, "its rows are not one-hot", "argmax"),
        ({"y_train": np.array(["a", "b"] * 4)}, "some splits have texts as labels", "same way"),
        ({"x_val": BYTES[:2, :1]}, "lacks y_val for its validation split", "or neither"),
        ({"y_valid": [0, 1]}, "lacks x_val for its validation split", "leave out y_valid"),
        (
            {"x_val": BYTES[:2, :1], "y_val": [0, 1], "y_validation": [0, 1]},
            "holds y_val and y_validation: which of them are the labels for val?",
            "labels_from",
        ),
        ({"x_val": BYTES[:2], "y_val": [0, 1]}, "validation samples (3, 5, 6)", "one shape"),
        ({"x_val": BYTES[:2, :1], "y_val": [0, 2]}, "y_val[1] is 2; labels are in 0…1", "Number"),
        ({"without": "y_test"}, "lacks y_test; it holds x_test", "leave out x_test"),
        ({"without": "y_train"}, "lacks y_train; it holds x_test", "Name the arrays"),
        (
            {"class_names": np.array(["a", "b", "c"]), "y_train": np.arange(8)},
            "from 0 to 7",
            "name",
        ),
        ({"class_names": np.array(["a\x07", "b"])}, "control characters", "printable"),
    ],
)
def test_arrays_that_cannot_be_used_are_refused_with_the_remedy(
    arrays: dict[str, Any], says: str, remedy: str, npz: Npz
) -> None:
    with pytest.raises(DataError) as caught:
        read(npz(**arrays))
    assert says in str(caught.value)
    assert remedy in caught.value.hint


def test_sides_beyond_the_limit_are_refused(npz: Npz) -> None:
    wide = np.full((8, 1, 1, 2000), 255, np.uint8)
    with pytest.raises(DataError, match="1024 pixels on a side") as caught:
        read(npz(x_train=wide, x_test=wide[:4]))
    assert "Scale" in caught.value.hint


def test_arrays_of_objects_are_refused_and_not_unpickled(npz: Npz, tmp_path: Path) -> None:
    mark = tmp_path / "executed"

    class Harm:
        def __reduce__(self) -> Any:
            return (open, (str(mark), "w"))

    path = npz(x_train=np.array([Harm()] * 8, dtype=object))
    with pytest.raises(DataError, match=r"x_train.npy is an array of object"):
        read(path)
    assert not mark.exists()


def replace_header(path: Path, name: str, header: str, version: bytes = b"\x01\x00") -> None:
    """Give an array of the archive another header, keeping its values."""
    with zipfile.ZipFile(path) as archive:
        contents = {n: archive.read(n) for n in archive.namelist()}
    old = contents[name]
    values = old[10 + int.from_bytes(old[8:10], "little") :]
    text = header.encode("latin-1") + b"\n"
    contents[name] = b"\x93NUMPY" + version + len(text).to_bytes(2, "little") + text + values
    with zipfile.ZipFile(path, "w") as archive:
        for member, content in contents.items():
            archive.writestr(member, content)


def described(shape: str, descr: str = "'|u1'") -> str:
    return f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}"


@pytest.mark.parametrize(
    ("header", "says"),
    [
        (described("(8, 1, 5, 7)"), "expected 280 bytes for the shape (8, 1, 5, 7), found 240"),
        (described("(9999999, 1, 1000, 1000)"), "at most 4.0 GiB"),
        (described("(1000, 1, 1000, 1000)"), "announces more than 1100 times"),
        (described("(8, -1, 5, 6)"), "has the shape (8, -1, 5, 6)"),
        (
            described("(1, 1, 1, 1, 1, 1, 1, 1, 8)"),
            "x_train.npy has the shape (1, 1, 1, 1, 1, 1, 1, 1, 8)",
        ),
        (described("(8, 1, 5, 6)", "'|O'"), "array of object"),
        (described("(8, 1, 5, 6)", "[('a', '|u1'), ('b', '|O')]"), "which is not read"),
        (described("(8, 1, 5, 6)", "'<U0'"), "x_train.npy has the shape"),
        (described("(8, 1, 5, 6)", "'no such type'"), "broken header"),
        (described("(8, 1, 5, 6)", "7"), "broken header"),
        (described("'long'"), "broken header"),
        ("{" * 500, "broken header"),
        ("__import__('os').system('true')", "broken header"),
        ("(" * 5000, "broken header"),
        (" " * 20_000 + "{}", "broken header"),
    ],
)
def test_a_header_that_lies_or_is_no_header_is_refused(header: str, says: str, npz: Npz) -> None:
    path = npz()
    replace_header(path, "x_train.npy", header)
    with pytest.raises(DataError) as caught:
        read(path)
    assert says in str(caught.value)
    assert "x_train.npy" in str(caught.value)


def test_an_unknown_version_of_the_array_format_is_refused(npz: Npz) -> None:
    path = npz()
    replace_header(path, "x_train.npy", described("(8, 1, 5, 6)"), version=b"\x07\x00")
    with pytest.raises(DataError, match="broken header"):
        read(path)


def test_a_changed_byte_is_found_by_the_checksum(npz: Npz) -> None:
    path = npz(x_train=BYTES)
    content = path.read_bytes()
    path.write_bytes(content.replace(BYTES.tobytes()[:50], bytes(50)))
    with pytest.raises(DataError, match=r"x_train.npy is damaged"):
        read(path)


def test_values_that_a_small_file_announces_take_no_memory(npz: Npz) -> None:
    with pytest.raises(DataError, match="more than 100 bytes, the most that is accepted"):
        read(npz(), limits=Limits(max_unpacked_bytes=100))


def test_a_single_array_is_told_what_to_send(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    np.save(buffer, BYTES)
    (tmp_path / "x.npy").write_bytes(buffer.getvalue())
    with pytest.raises(DataError, match="single array") as caught:
        read(tmp_path / "x.npy")
    assert "npz" in caught.value.hint
