"""Variables in MATLAB's .mat files, of version 5 and of 7.3."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from saf.data import detect, read
from saf.data.formats.format import NeedsChoiceError
from saf.errors import DataError
from tests.saf.data.array_files import X, Y, hdf5, mat

Pack = Callable[[Mapping[str, bytes], str], Path]
RANDOM = np.random.default_rng(6)


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


def test_rows_of_pixels_of_matlab_may_be_columns_of_images(tmp_path: Path) -> None:
    images = RANDOM.integers(0, 256, (20, 16, 16), np.uint8)
    path = tmp_path / "usps.mat"
    path.write_bytes(mat(fea=images.transpose(0, 2, 1).reshape(20, -1), gnd=Y[:, None] + 1))
    with pytest.raises(NeedsChoiceError) as caught:
        read(path)
    assert [c.value for c in caught.value.questions[0].candidates] == ["N H W", "N W H"]
    data = read(path, settings={"layout": "N W H"})
    assert {x.tobytes() for x in (*data.x_train, *data.x_test)} == {x.tobytes() for x in images}


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
