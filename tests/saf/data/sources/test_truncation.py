"""Whatever byte a file is cut at or changed in: a data set or a DataError, and nothing else."""

from __future__ import annotations

import gzip
import io
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from saf.data import Dataset, read, save
from saf.errors import DataError

KINDS = [
    *("zip", "tar", "tar.gz", "tar.bz2", "tar.xz", "tar.zst", "7z"),
    *("npz", "canonical", "idx", "cifar"),
]
SETTINGS = settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@pytest.fixture
def whole(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    pack: Any,
    image_files: Any,
    mnist: Any,
    dataset: Callable[..., Dataset],
) -> bytes:
    """A valid file of the kind that the test is run for."""
    kind: str = request.param
    path = tmp_path / "whole"
    if kind == "npz":
        data = dataset()
        names = ("x_train", "y_train", "x_test", "y_test")
        np.savez_compressed(tmp_path / "whole.npz", **{n: getattr(data, n) for n in names})
        path = tmp_path / "whole.npz"
    elif kind == "canonical":
        save(dataset(), path)
    elif kind == "idx":
        path = pack(mnist(gz=True), "tar")
    elif kind == "cifar":
        batch = {"data": np.zeros((2, 3072), np.uint8), "labels": [0, 1]}
        batches = dict.fromkeys(("data_batch_1", "test_batch"), pickle.dumps(batch, 2))
        path = pack(batches, "tar")
    else:
        path = pack(image_files("train/a", "train/b", "test/a", "test/b", count=1), kind)
    assert read(path).classes >= 2
    return path.read_bytes()


def data_or_data_error(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    try:
        result: Dataset | DataError = read(path)
    except DataError as error:
        result = error
    if isinstance(result, DataError):
        assert str(result)
        assert result.hint
    else:
        assert result.classes >= 2
        assert len(result.y_train) > 0


@pytest.mark.parametrize("whole", KINDS, indirect=True)
@SETTINGS
@given(st.floats(0, 1, exclude_max=True))
def test_a_file_cut_anywhere_is_a_data_error_or_still_valid(
    whole: bytes, tmp_path: Path, share: float
) -> None:
    data_or_data_error(tmp_path / "cut", whole[: int(share * len(whole))])


@pytest.mark.parametrize("whole", KINDS, indirect=True)
@SETTINGS
@given(st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.binary(min_size=1, max_size=8))))
def test_a_file_changed_anywhere_is_a_data_error_or_still_valid(
    whole: bytes, tmp_path: Path, changes: list[tuple[float, bytes]]
) -> None:
    content = bytearray(whole)
    for share, new in changes:
        at = int(share * len(content))
        content[at : at + len(new)] = new
    data_or_data_error(tmp_path / "changed", bytes(content))


@pytest.mark.parametrize("gz", [False, True])
def test_an_idx_file_cut_at_each_single_byte_is_a_data_error(
    gz: bool, mnist: Any, place: Any
) -> None:
    name = "train-labels-idx1-ubyte"
    files = mnist()
    root = place({n: c for n, c in files.items() if n != name})
    content = gzip.compress(files[name]) if gz else files[name]
    path = root / (f"{name}.gz" if gz else name)
    for cut in range(len(content)):
        path.write_bytes(content[:cut])
        with pytest.raises(DataError, match=name):
            read(root)


def test_a_pickle_cut_at_each_single_byte_is_a_data_error(place: Any) -> None:
    batch = pickle.dumps({"data": np.zeros((2, 3072), np.uint8), "labels": [0, 1]}, 2)
    root = place({"data_batch_1": batch, "test_batch": batch})
    assert read(root).classes == 2
    for cut in [*range(150), *range(len(batch) - 60, len(batch))]:
        (root / "data_batch_1").write_bytes(batch[:cut])
        with pytest.raises(DataError, match="data_batch_1"):
            read(root)


def test_an_array_cut_at_each_single_byte_of_its_header_is_a_data_error(place: Any) -> None:
    files = {}
    for name, array in (
        ("x_train", np.zeros((2, 1, 4, 4), np.uint8)),
        ("x_test", np.zeros((2, 1, 4, 4), np.uint8)),
        ("y_train", np.arange(2)),
        ("y_test", np.arange(2)),
    ):
        buffer = io.BytesIO()
        np.save(buffer, array)
        files[f"{name}.npy"] = buffer.getvalue()
    root = place(files)
    assert read(root).classes == 2
    for cut in range(len(files["x_train.npy"])):
        (root / "x_train.npy").write_bytes(files["x_train.npy"][:cut])
        with pytest.raises(DataError, match="x_train"):
            read(root)
