"""Files of known kinds that are not read are refused with what to do instead."""

from __future__ import annotations

import gzip
import pickle
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import torch

from saf.data import read
from saf.errors import DataError
from tests.saf.data.array_files import hdf5

RECORDING = hdf5({f"events/{name}": np.arange(9) for name in "xytp"})
Pack = Callable[[Mapping[str, bytes], str], Path]


@pytest.mark.parametrize(
    ("name", "content", "says", "remedy"),
    [
        ("data.pkl", pickle.dumps({"x": [1]}), "is a pickle", "numpy.savez"),
        ("unnamed", pickle.dumps({"x": [1]}), "is a pickle", "numpy.savez"),
        ("train.tfrecord", b"\x10" + bytes(60), "is a TFRecord", "as_numpy"),
        ("a.tfrecord-00000-of-00001", b"\x10" + bytes(60), "is a TFRecord", "as_numpy"),
        ("data.arrow", b"ARROW1" + bytes(60), "is an Arrow file", "to_parquet"),
        ("data.arff", b"@relation x\n@data\n1,2\n", "is an ARFF file", "csv"),
        ("usps", b"1 1:0.5 2:-1 3:0.25\n", "LIBSVM", "load_svmlight_file"),
        ("data.xlsx", b"\x01" * 60, "table of another program", "csv"),
    ],
)
def test_a_file_that_is_never_read_says_what_to_do(
    name: str, content: bytes, says: str, remedy: str, tmp_path: Path, pack: Pack
) -> None:
    (tmp_path / name).write_bytes(content)
    for path in (tmp_path / name, pack({name: content}, "tar")):
        if path.suffix == ".tar" and "." not in name:
            continue  # nothing but the content tells
        with pytest.raises(DataError) as caught:
            read(path)
        assert says in str(caught.value)
        assert remedy in caught.value.hint


def test_a_file_of_torch_is_not_unpickled(tmp_path: Path) -> None:
    path = tmp_path / "data.pt"
    torch.save({"x": torch.zeros(3)}, path)
    with pytest.raises(DataError, match=r"is a file of torch\.save, a pickle") as caught:
        read(path)
    assert "tensor.numpy()" in caught.value.hint


@pytest.mark.parametrize(
    ("content", "says", "remedy"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid", "pointer of Git LFS", "git lfs pull"),
        (b"\n<!DOCTYPE html><html>Virus scan", "is a web page", "download the file again"),
        (
            gzip.compress(gzip.compress(b"x" * 600, mtime=0), mtime=0),
            "is compressed twice",
            "Unpack it once",
        ),
        (b"%PDF-1.7", "is a PDF", "images"),
    ],
)
def test_what_came_in_place_of_an_archive_is_told(
    content: bytes, says: str, remedy: str, tmp_path: Path
) -> None:
    (tmp_path / "data.zip").write_bytes(content)
    with pytest.raises(DataError, match=says) as caught:
        read(tmp_path / "data.zip")
    assert remedy in caught.value.hint


@pytest.mark.parametrize(
    ("ending", "content", "says", "remedy"),
    [
        ("wav", b"RIFF", "holds sounds", "numpy.stack"),
        ("mp4", b"....ftyp", "holds films", "train/<class>"),
        ("nii.gz", gzip.compress(b"x", mtime=0), "image of a kind that is not read", "Convert"),
        ("csv", b"1,2,0,1\n2,3,1,1\n", "holds 8 tables", "frames N T C H W"),
        ("png", b"version https://git-lfs.github.com/spec/v1", "pointer of Git LFS", "skip"),
    ],
)
def test_files_of_a_kind_in_folders_of_classes_say_what_to_do(
    ending: str, content: bytes, says: str, remedy: str, pack: Pack
) -> None:
    names = [f"{s}/{c}/{n}.{ending}" for s in ("train", "test") for c in "ab" for n in "01"]
    with pytest.raises(DataError, match=says) as caught:
        read(pack(dict.fromkeys(names, content), "zip"))
    assert remedy in caught.value.hint


def test_structures_of_matlab_say_what_to_do(tmp_path: Path) -> None:
    scipy.io.savemat(tmp_path / "d.mat", {"train": {"X": [[1, 2]], "y": [1]}})
    with pytest.raises(DataError, match="holds no arrays") as caught:
        read(tmp_path / "d.mat")
    assert "fields of structures" in caught.value.hint


def test_images_without_endings_say_so(
    image_files: Callable[..., dict[str, bytes]], pack: Pack
) -> None:
    files = image_files("train/a", "train/b", "test/a", "test/b")
    with pytest.raises(DataError, match="its name has no ending"):
        read(pack({name.removesuffix(".png"): blob for name, blob in files.items()}, "zip"))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("a,b\n1,2\n".encode("utf-16"), "is a text in UTF-16"),
        (b"label;a;b\n" + b"1;0,5;0,25\n" * 9, "decimal comma"),
        (b"length,width,species\n1,2,iris\n", "holds no pixels"),
    ],
)
def test_tables_that_are_not_read_say_why(content: bytes, says: str, tmp_path: Path) -> None:
    (tmp_path / "d.csv").write_bytes(content)
    with pytest.raises(DataError, match=says):
        read(tmp_path / "d.csv")


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("{}.edf", b"0       X" + bytes(90), "a recording of signals"),
        ("{}.bag", b"#ROSBAG V2.0\n", "a recording of events of a kind"),
        ("{}/data.mdb", bytes(4096), "a database"),
        ("cat/{}", bytes(128) + b"DICM" + bytes(60), "a medical image"),
        ("cat/{}.dat", b"#!AER-DAT2.0\r\n" + bytes(64), "is an AEDAT file, and is not named so"),
        ("cat/{}.h5", RECORDING, "a file of HDF5 or MATLAB for each sample"),
    ],
)
def test_files_of_a_kind_say_what_they_are(
    name: str, content: bytes, says: str, pack: Pack
) -> None:
    files = {name.format(number): content for number in range(20)}
    with pytest.raises(DataError, match=says) as caught:
        read(pack(files, "zip"))
    assert caught.value.hint


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("brain.nii.gz", gzip.compress(bytes(400), mtime=0), "a medical image"),
        ("setup.zip", b"MZ" + bytes(600), "an archive that unpacks itself"),
    ],
)
def test_a_file_alone_says_what_it_is(name: str, content: bytes, says: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=says):
        read(tmp_path / name)
