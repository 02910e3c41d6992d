"""Files of known kinds that are not read are refused with what to do instead."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch

from saf.data import read
from saf.errors import DataError

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
