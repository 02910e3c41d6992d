"""The canonical file: the same bytes for the same data, and suspicion of any other."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

from saf.data import Dataset, Limits, load, read, save
from saf.errors import DataError

Build = Callable[..., Dataset]
ARRAYS = ("x_train", "y_train", "x_test", "y_test")


def same(left: Dataset, right: Dataset) -> None:
    assert left.class_names == right.class_names
    for name in ARRAYS:
        a, b = getattr(left, name), getattr(right, name)
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("kind", ["images", "floats", "events"])
def test_what_was_saved_is_what_is_loaded(dataset: Build, tmp_path: Path, kind: str) -> None:
    generator = np.random.default_rng(0)
    shape = {"floats": (3, 4, 6), "events": (5, 2, 3, 7)}.get(kind)
    x = {} if shape is None else {"x_train": generator.random((10, *shape), np.float32)}
    if x:
        x["x_test"] = x["x_train"][:4]
    data = dataset(**x)
    saved = save(data, tmp_path / "deep" / "d.safetensors")
    content = (tmp_path / "deep" / "d.safetensors").read_bytes()
    assert saved.sha256 == hashlib.sha256(content).hexdigest()
    assert saved.bytes == len(content)
    same(load(tmp_path / "deep" / "d.safetensors"), data)
    same(read(tmp_path / "deep" / "d.safetensors"), data)
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["d.safetensors"]


def test_a_validation_split_is_kept(dataset: Build, tmp_path: Path) -> None:
    x = np.random.default_rng(1).integers(0, 256, (3, 3, 4, 6), np.uint8)
    data = dataset(x_val=x, y_val=np.array([1, 0, 1]))
    path = tmp_path / "d.safetensors"
    save(data, path)
    for found in (load(path), read(path)):
        same(found, data)
        np.testing.assert_array_equal(found.x_val, x)
        assert found.y_val is not None
        assert found.y_val.tolist() == [1, 0, 1]
    assert set(safetensors.numpy.load_file(path)) == {*ARRAYS, "x_val", "y_val"}
    limits = Limits(max_samples=10)
    assert read(path, limits=limits).classes == 2
    more = dataset(x_val=np.zeros((11, 3, 4, 6), np.uint8), y_val=np.zeros(11, np.int64))
    save(more, path)
    with pytest.raises(DataError, match="x_val has 11 samples; at most 10"):
        read(path, limits=limits)


def test_half_a_validation_split_is_no_canonical_file(dataset: Build, tmp_path: Path) -> None:
    path = tmp_path / "d.safetensors"
    data = dataset(x_val=np.zeros((3, 3, 4, 6), np.uint8), y_val=np.array([1, 0, 1]))
    save(data, path)
    content = path.read_bytes()
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:end])
    del header["x_val"]  # the last one, so that the rest still lies where the header says
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(len(text).to_bytes(8, "little") + text + content[end : -3 * 3 * 4 * 6])
    with pytest.raises(DataError, match="its tensors are"):
        load(path)


def test_without_a_validation_split_the_bytes_are_those_of_ever(tmp_path: Path) -> None:
    x = (np.arange(6 * 3 * 4 * 5) % 251).astype(np.uint8).reshape(6, 3, 4, 5)
    images = Dataset(x[:4], np.arange(4) % 2, x[4:], np.array([0, 1]), ("cat", "dög"))
    values = x.reshape(6, 1, 3, 4, 5).astype(np.float32)
    frames = Dataset(values[:4], np.arange(4) % 2, values[4:], np.array([0, 1]), ("a", "b"))
    # Written down: data sets are stored under the hash of their file, and jobs name that.
    assert [save(data, tmp_path / "d").sha256 for data in (images, frames)] == [
        "b611bc4e735ef4455ca3f2766bac2d505efdc9c66ef8d2680808c960a1c4e109",
        "55e565d43ceec12d7f4f4888e4320ec192f7d5c282b8e661533dc92b1f89a28d",
    ]


def test_safetensors_itself_reads_the_file(dataset: Build, tmp_path: Path) -> None:
    data = dataset()
    save(data, tmp_path / "d.safetensors")
    tensors = safetensors.numpy.load_file(tmp_path / "d.safetensors")
    for name in ARRAYS:
        np.testing.assert_array_equal(tensors[name], getattr(data, name))


def test_arrays_that_are_not_contiguous_are_saved_in_their_order(
    dataset: Build, tmp_path: Path
) -> None:
    base = dataset()
    turned = base.x_train.transpose(0, 1, 3, 2)
    data = dataset(x_train=turned, x_test=base.x_test.transpose(0, 1, 3, 2))
    save(data, tmp_path / "d.safetensors")
    same(load(tmp_path / "d.safetensors"), data)


def test_samples_that_were_loaded_cannot_be_written_to(dataset: Build, tmp_path: Path) -> None:
    save(dataset(), tmp_path / "d.safetensors")
    with pytest.raises(ValueError, match="read-only"):
        load(tmp_path / "d.safetensors").x_train[:] = 0


COUNTS = np.random.default_rng(2).poisson(3.0, (10, 5, 2, 3, 7)).astype(np.uint8)
SERIES = np.random.default_rng(3).normal(size=(10, 6, 3)).astype(np.float32)


@pytest.mark.parametrize(
    ("x", "unit", "version", "kept"),
    [
        (COUNTS, 1, 2, 1),
        (COUNTS, 255, 1, 255),
        (COUNTS.astype(np.float32), 255, 1, 1),
        (COUNTS.astype(np.float32), 1, 1, 1),
        (SERIES, 255, 2, 1),
        (COUNTS[..., 0, 0], 1, 2, 1),
        (COUNTS[..., 0, 0], 255, 2, 255),
    ],
)
def test_a_file_says_what_its_bytes_mean_where_they_are_not_shares_of_the_brightest(
    dataset: Build, tmp_path: Path, x: Any, unit: int, version: int, kept: int
) -> None:
    path = tmp_path / "d.safetensors"
    data = dataset(x_train=x, x_test=x[:4], unit=unit)
    save(data, path)
    content = path.read_bytes()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    said = json.loads(header["__metadata__"]["saf_dataset"])
    assert said["version"] == version
    assert ("unit" in said) is (version == 2)
    found = load(path)
    assert (data.unit, found.unit) == (kept, kept)
    same(found, data)
    assert found.summary() == data.summary()


def test_equal_data_keep_the_file_that_they_had_before_there_were_units(
    dataset: Build, tmp_path: Path
) -> None:
    assert save(dataset(), tmp_path / "images").sha256 == (
        "90ad768542bdd48597f4e73b6d13dfae5b431e25ab59f3463a28c99804f4dbc3"
    )
    x = COUNTS.astype(np.float32)
    events = dataset(x_train=x, x_test=x[:4])
    assert save(events, tmp_path / "events").sha256 == (
        "356fdc64c2be0b446a11a6ea326fd77f4c7178621050f40de1abe73aec1e7cd3"
    )


def test_samples_that_lie_crosswise_in_memory_are_written_as_their_copy(
    dataset: Build, tmp_path: Path
) -> None:
    x = np.asfortranarray(COUNTS)
    crosswise = save(dataset(x_train=x, x_test=x[:4], unit=1), tmp_path / "a")
    straight = save(dataset(x_train=COUNTS, x_test=COUNTS[:4], unit=1), tmp_path / "b")
    assert crosswise == straight


def test_a_failed_write_leaves_the_old_file_and_no_part(dataset: Build, tmp_path: Path) -> None:
    path = tmp_path / "d.safetensors"
    save(dataset(), path)
    before = path.read_bytes()
    script = (
        "import resource, signal, sys, pathlib\n"
        "from saf.data import load, save\n"
        "data = load(pathlib.Path(sys.argv[1]))\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (500, 500))\n"
        "try:\n    save(data, pathlib.Path(sys.argv[1]))\n"
        "except OSError:\n    sys.exit(7)\n"
    )
    assert subprocess.run([sys.executable, "-c", script, str(path)], check=False).returncode == 7
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def rewritten(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    change(header)
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + content[8 + length :])


def described(**changes: Any) -> Callable[[dict[str, Any]], object]:
    def change(header: dict[str, Any]) -> None:
        value = json.loads(header["__metadata__"]["saf_dataset"]) | changes
        header["__metadata__"]["saf_dataset"] = json.dumps(value)

    return change


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda h: h.pop("__metadata__"), "lacks 'saf_dataset'"),
        (lambda h: h["__metadata__"].update(saf_dataset="no"), "no JSON"),
        (lambda h: h["__metadata__"].update(saf_dataset="[" * 100_000), "no JSON"),
        (lambda h: h["__metadata__"].update(saf_dataset="[]"), "lack the class names"),
        (described(version=4), "version '4'"),
        (described(version=2), "lack the unit"),
        (described(version=2, unit="1"), "lack the unit"),
        (described(version=2, unit=7), "the unit of the samples is 7"),
        (described(version=2, unit=1), "images in bytes have the unit 1"),
        (described(class_names=[1, 2]), "name of class 0 is no text"),
        (described(class_names=["a", ["b"]]), "name of class 1 is no text"),
        (described(class_names=["a", "b\n"]), "control characters"),
        (described(class_names=["a"]), "1 class"),
        (lambda h: h["x_test"].update(shape=[2, 3, 4, 12]), "x_test has 2 samples"),
        (lambda h: h["x_test"].update(shape=[4, 3, 4, 7]), "damaged"),
        (lambda h: h["x_test"].update(dtype="I8"), "x_test has the type I8"),
        (lambda h: h["x_test"].update(dtype="NO"), "damaged"),
        (lambda h: h["x_test"].update(data_offsets=[0, 2**60]), "damaged"),
        (lambda h: h.update(z_test=h.pop("x_test")), "its tensors are"),
        (lambda h: h["y_train"].update(shape=[2**63, 2**63]), "damaged"),
    ],
)
def test_a_header_that_lies_is_refused(
    dataset: Build, tmp_path: Path, change: Callable[[dict[str, Any]], object], says: str
) -> None:
    path = tmp_path / "d.safetensors"
    save(dataset(), path)
    rewritten(path, change)
    with pytest.raises(DataError) as caught:
        load(path)
    assert says in str(caught.value)
    assert caught.value.hint


def test_labels_out_of_range_in_a_file_from_elsewhere_are_refused(
    dataset: Build, tmp_path: Path
) -> None:
    path = tmp_path / "d.safetensors"
    save(dataset(), path)
    content = bytearray(path.read_bytes())
    start = 8 + int.from_bytes(content[:8], "little")
    content[start + 16 : start + 24] = (77).to_bytes(8, "little")  # y_train[2]
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"y_train\[2\] is 77"):
        load(path)


def test_a_missing_file_is_told_from_a_damaged_one(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no file"):
        load(tmp_path / "d.safetensors")
    (tmp_path / "d.safetensors").write_bytes(b"no header at all")
    with pytest.raises(DataError, match="damaged"):
        load(tmp_path / "d.safetensors")


def test_files_that_were_left_out_are_known_to_who_trains(dataset: Build, tmp_path: Path) -> None:
    path = tmp_path / "d.safetensors"
    names = tuple(f"{number}.png: cut short" for number in range(130))
    save(dataset(skipped=names), path)
    found = load(path)
    assert (len(found.skipped), found.skipped[:100]) == (130, names[:100])
    assert found.summary()["skipped"]["count"] == 130
    whole = path.read_bytes()
    for wrong in (b'{\\"count\\": 99 ', b'{\\"count\\": -10'):
        path.write_bytes(whole.replace(b'{\\"count\\": 130', wrong))
        assert path.read_bytes() != whole
        with pytest.raises(DataError, match="skipped"):
            load(path)
