"""CIFAR's batches: pickles that are read and never run."""

from __future__ import annotations

import os
import pickle
import pickletools
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from saf.data import detect, read
from saf.data.formats.arrays.pickle_subset import read_pickled
from saf.errors import DataError

Files = dict[str, bytes]
Place = Callable[[Mapping[str, bytes]], Path]
Pack = Callable[[Mapping[str, bytes], str], Path]

NAMES = ["airplane", "automobile", "bird"]


def rows(count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 3072), np.uint8)


def python2_text(value: bytes) -> bytes:
    """SHORT_BINSTRING or BINSTRING, which Python 3 cannot write."""
    if len(value) < 256:
        return b"U" + bytes([len(value)]) + value
    return b"T" + struct.pack("<I", len(value)) + value


def python2_batch(data: np.ndarray, labels: list[int]) -> bytes:
    """The instructions of the distributed files: protocol 2, written by Python 2 and numpy 1."""
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\nq\x02cnumpy\nndarray\nq\x03K\x00\x85q\x04"
        b"U\x01bq\x05\x87q\x06Rq\x07(K\x01M" + struct.pack("<H", data.shape[0]) + b"M\x00\x0c\x86"
        b"q\x08cnumpy\ndtype\nq\x09U\x02u1q\x0aK\x00K\x01\x87q\x0bRq\x0c(K\x03U\x01|q\x0dNNN"
        b"J\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tq\x0eb\x89" + python2_text(data.tobytes()) + b"tb"
    )
    numbers = b"](" + b"".join(b"K" + bytes([label]) for label in labels) + b"e"
    files = b"](" + b"".join(python2_text(b"cat_s_%d.png" % i) for i in labels) + b"e"
    return (
        b"\x80\x02}q\x01("
        + (python2_text(b"batch_label") + python2_text(b"training batch 1 of 5"))
        + (python2_text(b"labels") + numbers)
        + (python2_text(b"data") + array)
        + (python2_text(b"filenames") + files)
        + b"u."
    )


def cifar10(write: Callable[[np.ndarray, list[int]], bytes]) -> Files:
    files = {
        f"cifar-10-batches-py/data_batch_{n}": write(rows(6, n), [0, 1, 2] * 2) for n in (1, 2)
    }
    files["cifar-10-batches-py/test_batch"] = write(rows(3, 9), [2, 1, 0])
    files["cifar-10-batches-py/batches.meta"] = (
        b"\x80\x02}q\x01(U\x0blabel_names]("
        + b"".join(map(python2_text, map(str.encode, NAMES)))
        + b"eU\x08num_visiM\x00\x0cu."
    )
    files["cifar-10-batches-py/readme.html"] = b"<html>"
    return files


def python3_batch(protocol: int) -> Callable[[np.ndarray, list[int]], bytes]:
    def write(data: np.ndarray, labels: list[int]) -> bytes:
        content = {b"data": data, b"labels": labels, b"batch_label": b"x", b"filenames": [b"f"]}
        return pickle.dumps(content, protocol)

    return write


WRITERS = {"python 2": python2_batch} | {f"protocol {n}": python3_batch(n) for n in (2, 3, 4, 5)}


def test_the_hand_written_batch_is_what_pickle_reads_from_it() -> None:
    batch = python2_batch(rows(6, 1), [0, 1, 2] * 2)
    pickletools.genops(batch)
    content = pickle.loads(batch, encoding="bytes")
    np.testing.assert_array_equal(content[b"data"], rows(6, 1))
    assert content[b"labels"] == [0, 1, 2] * 2


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("kind", ["folder", "tar.gz"])
def test_cifar10_is_read_as_every_pickle_protocol_writes_it(
    writer: str, kind: str, place: Place, pack: Pack
) -> None:
    files = cifar10(WRITERS[writer])
    path = place(files) if kind == "folder" else pack(files, kind)
    assert detect(path) == "cifar-python"
    data = read(path)
    expected = np.concatenate([rows(6, 1), rows(6, 2)]).reshape(12, 3, 32, 32)
    np.testing.assert_array_equal(data.x_train, expected)
    np.testing.assert_array_equal(data.x_test, rows(3, 9).reshape(3, 3, 32, 32))
    assert data.y_train.tolist() == [0, 1, 2] * 4
    assert data.y_test.tolist() == [2, 1, 0]
    assert data.class_names == tuple(NAMES)


@pytest.mark.parametrize("protocol", [2, 4])
def test_cifar100_is_read_with_its_fine_classes(protocol: int, pack: Pack) -> None:
    def batch(count: int, seed: int) -> bytes:
        fine = [i % 3 for i in range(count)]
        content = {b"data": rows(count, seed), b"fine_labels": fine, b"coarse_labels": [0] * count}
        return pickle.dumps(content, protocol)

    files = {
        "cifar-100-python/train": batch(9, 1),
        "cifar-100-python/test": batch(3, 2),
        "cifar-100-python/meta": pickle.dumps(
            {b"fine_label_names": NAMES, b"coarse_label_names": ["thing"]}, protocol
        ),
        "cifar-100-python/file.txt~": b"",
    }
    data = read(pack(files, "tar.gz"))
    assert data.class_names == tuple(NAMES)
    assert data.y_test.tolist() == [0, 1, 2]


def test_rows_in_fortran_order_and_labels_as_an_array_are_read() -> None:
    content = {"data": np.asfortranarray(rows(5, 1)), "labels": np.arange(5)}
    for protocol in (2, 3, 4, 5):
        values = read_pickled(pickle.dumps(content, protocol), "batch")
        np.testing.assert_array_equal(values["data"], content["data"])
        np.testing.assert_array_equal(values["labels"], np.arange(5))


class Run:
    """Pickles to a call of any function."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
@pytest.mark.parametrize("function", [os.system, eval, print, getattr])
def test_a_pickle_that_calls_a_function_is_refused_and_calls_nothing(
    protocol: int, function: Any, place: Place, tmp_path: Path
) -> None:
    mark = tmp_path / "executed"
    argument = (
        f"touch {mark}" if function is os.system else f"__import__('os').mkdir({str(mark)!r})"
    )
    batch = pickle.dumps({b"data": Run(function, argument), b"labels": [0, 1]}, protocol)
    files = cifar10(python2_batch) | {"cifar-10-batches-py/data_batch_2": batch}
    with pytest.raises(DataError, match="data_batch_2") as caught:
        read(place(files))
    assert caught.value.hint
    assert not mark.exists()
    if function in (os.system, eval):  # the file would have done harm
        pickle.loads(batch)
        assert mark.exists()


def array_of(dtype: str, content: bytes = bytes(8), shape: bytes = b"K\x01") -> bytes:
    return (
        b"\x80\x02cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
        b"(K\x01" + shape + b"\x85cnumpy\ndtype\n" + python2_text(dtype.encode()) + b"K\x00K\x01"
        b"\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89"
        + python2_text(content)
        + b"tb."
    )


@pytest.mark.parametrize(
    ("batch", "says"),
    [
        (array_of("O8"), "not of uint8, int32 or int64"),
        (array_of("V8"), "not of uint8, int32 or int64"),
        (array_of("i8", bytes(7)), "damaged"),
        (array_of("i8", shape=b"J\xff\xff\xff\xff"), "without a shape"),
        (array_of("i8", shape=b"\x8a\x08" + bytes(7) + b"\x40"), "damaged"),
        (b"\x80\x02c__builtin__\neval\n.", "holds no dictionary"),
        (b"\x80\x02}K\x01K\x02\x86K\x03s.", "a key that is neither text nor number"),
        (b"\x80\x02(K\x01K\x02u.", "damaged"),
        (b"\x80\x02]K\x01K\x02s.", "entries for what is no dictionary"),
        (b"\x80\x02}K\x01a.", "items for what is no list"),
        (b"\x80\x02h\x07.", "damaged"),
        (b"\x80\x02K\x01K\x02.", "damaged"),
        (b"\x80\x02B\xff\xff\xff\xffabc.", "damaged"),
        (b"\x80\x04\x8e" + b"\xff" * 8 + b"abc.", "damaged"),
        (b"\x80\x04\x95" + b"\xff" * 8 + b".", "damaged"),
        (b"\x80\x02}}b.", "the state of an object"),
        (b"\x80\x02cos\nsystem\nU\x02ls\x85\x81.", "the instruction 0x81"),
        (b"\x80\x02cos\nsystem\nU\x02ls\x85R.", "a call of 'os.system'"),
        (b"\x80\x02(U\x02lscos\nsystem\no.", "the instruction 0x6f"),
        (b"\x80\x02(U\x02lsios\nsystem\n.", "the instruction 0x69"),
        (b"\x80\x02\x82\x01.", "the instruction 0x82"),
        (b"\x80\x02U\x01aQ.", "the instruction 0x51"),
        (b"", "damaged"),
        (b"not a pickle at all", "batch"),
    ],
)
def test_damaged_and_ill_meant_pickles_are_refused(batch: bytes, says: str, place: Place) -> None:
    files = cifar10(python2_batch) | {"cifar-10-batches-py/data_batch_1": batch}
    with pytest.raises(DataError) as caught:
        read(place(files))
    assert says in str(caught.value)
    assert "data_batch_1" in str(caught.value)


def test_tuples_nested_by_doubling_take_no_exponential_time() -> None:
    doubled = b"\x80\x02K\x01q\x00" + b"h\x00h\x00\x86q\x00" * 200 + b"}h\x00K\x01s."
    with pytest.raises(DataError, match="key that is neither"):
        read_pickled(doubled, "batch")


def test_a_name_of_a_class_is_never_looked_up() -> None:
    read_pickled(b"\x80\x02cthis_module_does_not_exist\nnothing\n.", "batch")


def with_batch(**content: Any) -> Files:
    whole = {"data": rows(6, 1), "labels": [0, 1, 2] * 2} | content
    return cifar10(python2_batch) | {
        "cifar-10-batches-py/data_batch_1": pickle.dumps(
            {key: value for key, value in whole.items() if value is not None}, 2
        )
    }


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ({"data": None}, "no array of bytes named 'data'"),
        ({"data": rows(6, 1).astype(np.int64)}, "no array of bytes named 'data'"),
        ({"data": rows(6, 1)[:, :1000]}, "have 1000 bytes; 3072"),
        ({"labels": None}, "neither 'labels' nor 'fine_labels'"),
        ({"labels": [0, 1]}, "holds 6 images and 2 labels"),
        ({"labels": [0, 1, 2, "3", 4, 5]}, "label 3 is no class number"),
        ({"labels": [0, 1, 2, 0, 7, 2]}, "data_batch_1: labels[4] is 7; labels are in 0…2"),
        ({"labels": [0, 1, 2, 0, -1, 2]}, "data_batch_1: labels[4] is -1"),
    ],
)
def test_a_batch_that_lacks_something_is_refused(
    content: dict[str, Any], says: str, place: Place
) -> None:
    with pytest.raises(DataError) as caught:
        read(place(with_batch(**content)))
    assert says in str(caught.value)


@pytest.mark.parametrize("missing", ["data_batch_1", "test_batch"])
def test_a_missing_batch_is_named(missing: str, place: Place) -> None:
    files = cifar10(python2_batch)
    del files[f"cifar-10-batches-py/{missing}"]
    with pytest.raises(DataError, match=f"lacks {missing}"):
        read(place(files), "cifar-python")
