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

from saf.data import Dataset, load, read, save
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


def test_writing_to_a_loaded_array_leaves_the_file_as_it_was(
    dataset: Build, tmp_path: Path
) -> None:
    data = dataset()
    save(data, tmp_path / "d.safetensors")
    load(tmp_path / "d.safetensors").x_train[:] = 0
    same(load(tmp_path / "d.safetensors"), data)


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
        (described(version=2), "version '2'"),
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
