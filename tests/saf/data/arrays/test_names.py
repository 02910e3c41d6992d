"""What arrays are for, told by their names or, where those say nothing, by their shapes."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse

from saf.data import detect, read

Place = Callable[[Mapping[str, bytes]], Path]
Pack = Callable[[Mapping[str, bytes], str], Path]
Refused = Callable[..., None]

X = np.random.default_rng(2).integers(0, 256, (20, 1, 9, 7), np.uint8)
Y = np.arange(20) % 2


def npy(array: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def npz_bytes(**arrays: Any) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def write(path: Path, **arrays: Any) -> Path:
    path.write_bytes(npz_bytes(**arrays))
    return path


@pytest.mark.parametrize(
    "names",
    [
        "x_train y_train x_test y_test",
        "X_train Y_train X_test Y_test",
        "train_images train_labels test_images test_labels",
        "trainX trainY testX testY",
        "Xtr Ytr Xte Yte",
        "xtrain ytrain xtest ytest",
        "train_data train_targets test_data test_targets",
        "train/x train/y test/x test/y",
        "images/train labels/train images/test labels/test",
        "training_inputs training_labels testing_inputs testing_labels",
        "mnist_train_images mnist_train_labels mnist_test_images mnist_test_labels",
        "arr_0 arr_1 arr_2 arr_3",
        "train_set_x train_set_y test_set_x test_set_y",
    ],
)
def test_splits_are_found_by_their_names(names: str, tmp_path: Path) -> None:
    arrays = dict(zip(names.split(), (X[:14], Y[:14], X[14:], Y[14:]), strict=True))
    data = read(write(tmp_path / "data.npz", **arrays))
    np.testing.assert_array_equal(data.x_train, X[:14])
    np.testing.assert_array_equal(data.x_test, X[14:])
    assert data.y_test.tolist() == Y[14:].tolist()


@pytest.mark.parametrize(
    "names", ["X y", "x_train y_train", "data labels", "images targets", "arr_0 arr_1", "a b"]
)
def test_without_test_samples_a_fifth_of_each_class_is_held_out(names: str, tmp_path: Path) -> None:
    path = write(tmp_path / "data.npz", **dict(zip(names.split(), (X, Y), strict=True)))
    data = read(path)
    assert np.bincount(data.y_test).tolist() == [2, 2]
    together = {x.tobytes() for x in (*data.x_train, *data.x_test)}
    assert together == {x.tobytes() for x in X}
    label_of = {x.tobytes(): y for x, y in zip(X, Y, strict=True)}
    for x, y in zip((*data.x_train, *data.x_test), (*data.y_train, *data.y_test), strict=True):
        assert label_of[x.tobytes()] == y
    assert "holdout" in [d.value for d in data.decisions]
    np.testing.assert_array_equal(read(path).x_test, data.x_test)


def test_a_holdout_can_be_asked_for(tmp_path: Path) -> None:
    arrays = {"x_train": X[:14], "y_train": Y[:14], "x_test": X[14:], "y_test": Y[14:]}
    data = read(write(tmp_path / "data.npz", **arrays), settings={"split": "holdout"})
    assert (len(data.y_train), len(data.y_test)) == (16, 4)


def test_validation_samples_alone_are_for_testing(tmp_path: Path) -> None:
    path = write(tmp_path / "d.npz", x_train=X[:14], y_train=Y[:14], x_val=X[14:], y_val=Y[14:])
    data = read(path)
    assert data.y_val is None
    np.testing.assert_array_equal(data.x_test, X[14:])


def test_arrays_that_are_left_out_are_told(tmp_path: Path) -> None:
    data = read(write(tmp_path / "d.npz", x=X, y=Y, speaker=Y))
    assert "left out: speaker" in [d.value for d in data.decisions]


@pytest.mark.parametrize("kind", ["folder", "zip", "tar.gz"])
def test_npy_files_beside_one_another_are_a_data_set(kind: str, place: Place, pack: Pack) -> None:
    files = {"set/X_train.npy": npy(X), "set/y_train.npy": npy(Y), "set/notes.txt": b"none"}
    path = place(files) if kind == "folder" else pack(files, kind)
    assert detect(path) == "npz"
    data = read(path)
    assert len(data.y_train) == 16
    assert data.skipped == ("set/notes.txt: no array",)


@pytest.mark.parametrize("kind", ["folder", "zip", "tar.gz"])
def test_an_npz_for_each_split_is_a_data_set(kind: str, place: Place, pack: Pack) -> None:
    files = {
        "train.npz": npz_bytes(x=X[:14], y=Y[:14]),
        "test.npz": npz_bytes(x=X[14:], y=Y[14:]),
    }
    data = read(place(files) if kind == "folder" else pack(files, kind))
    np.testing.assert_array_equal(data.x_train, X[:14])
    np.testing.assert_array_equal(data.x_test, X[14:])


@pytest.mark.parametrize("kind", ["csr", "csc"])
def test_sparse_matrices_of_scipy_are_read(kind: str, place: Place) -> None:
    dense = np.where(X.reshape(20, -1)[:, :49] > 150, X.reshape(20, -1)[:, :49], 0)
    dense = np.pad(dense, ((0, 0), (0, 15)))
    dense[0, 0] = 255
    buffer = io.BytesIO()
    scipy.sparse.save_npz(buffer, getattr(scipy.sparse, f"{kind}_matrix")(dense))
    data = read(place({"x_train.npz": buffer.getvalue(), "y_train.npy": npy(Y)}))
    found = {x.tobytes() for x in (*data.x_train, *data.x_test)}
    assert found == {x.tobytes() for x in dense.reshape(20, 1, 8, 8)}


def test_a_sparse_matrix_of_another_kind_is_refused(place: Place, refused: Refused) -> None:
    buffer = io.BytesIO()
    scipy.sparse.save_npz(buffer, scipy.sparse.coo_matrix(X.reshape(20, -1)))
    path = place({"x_train.npz": buffer.getvalue(), "y_train.npy": npy(Y)})
    refused(path, "sparse matrix of a kind that is not read", "tocsr")


def test_fields_of_records_are_arrays(tmp_path: Path) -> None:
    records = np.zeros(20, [("image", np.uint8, (9, 9)), ("label", np.int64)])
    records["image"] = np.random.default_rng(0).integers(0, 256, (20, 9, 9))
    records["image"][0, 0, 0] = 255
    records["label"] = Y
    data = read(write(tmp_path / "d.npz", train=records[:14], test=records[14:]))
    np.testing.assert_array_equal(data.x_train[:, 0], records["image"][:14])
    assert data.y_test.tolist() == Y[14:].tolist()


@pytest.mark.parametrize(
    ("arrays", "says", "remedy"),
    [
        ({"x": X}, "holds samples (x) without labels", "class number"),
        ({"arr_0": X}, "without labels", "x_train"),
        ({"y": Y}, "no array that could be samples", "x_train"),
        ({"x_test": X, "y_test": Y}, "none for training", "x_train"),
        (
            {"x": X, "fine_labels": Y, "coarse_labels": Y},
            "which of them are the labels",
            "labels_from",
        ),
        ({"image_a": X, "image_b": X, "y": Y}, "which of them are the samples", "Keep one"),
        ({"x_train": X, "y_train": Y, "x_test": X}, "lacks y_test", "leave out x_test"),
        (
            {"arr_0": X[:6], "arr_1": Y[:6], "arr_2": X, "arr_3": Y},
            "arr_0 has 6 samples and arr_2 20, and the first ones would be for training",
            "x_train",
        ),
    ],
)
def test_arrays_that_make_no_data_set_are_refused_with_the_remedy(
    arrays: dict[str, Any], says: str, remedy: str, tmp_path: Path, refused: Refused
) -> None:
    refused(write(tmp_path / "data.npz", **arrays), says, remedy)


def test_labels_can_be_chosen_among_several(tmp_path: Path) -> None:
    path = write(tmp_path / "d.npz", x=X, fine_labels=Y, coarse_labels=1 - Y)
    fine = read(path, settings={"labels_from": "fine_labels"})
    coarse = read(path, settings={"labels_from": "coarse_labels"})
    assert sorted(fine.y_train.tolist()) == sorted((1 - coarse.y_train).tolist())


def test_one_array_alone_is_told_what_to_send(tmp_path: Path, refused: Refused) -> None:
    (tmp_path / "x.npy").write_bytes(npy(X))
    refused(tmp_path / "x.npy", "a single array", "y_train.npy")


def test_images_are_taken_where_they_are_in_rows_as_well(tmp_path: Path) -> None:
    path = write(
        tmp_path / "digits.npz",
        data=X.reshape(20, -1),
        images=X[:, 0],
        target=Y,
        feature_names=np.array(["pixel_0_0"]),
        target_names=np.array(["zero", "one"]),
        DESCR=np.array("digits"),
    )
    data = read(path)
    assert data.class_names == ("zero", "one")
    assert data.sample_shape == (1, 9, 7)
    assert "left out: DESCR, data, feature_names" in [d.value for d in data.decisions]


def test_an_array_for_each_sample_is_told_what_to_do(place: Place, refused: Refused) -> None:
    files = {f"train/{'ab'[n % 2]}/{n}.npy": npy(X[n]) for n in range(6)}
    refused(place(files), "holds 6 arrays, such as train/a/0.npy", "numpy.stack")


@pytest.mark.parametrize("masks", [False, True])
def test_a_published_split_is_kept(masks: bool, tmp_path: Path) -> None:
    test = np.array([3, 5, 8, 19])
    train = np.setdiff1d(np.arange(20), test)
    lists = {"train_idx": train, "test_idx": test}
    if masks:
        lists = {f"{k[:-4]}_mask": np.isin(np.arange(20), v) for k, v in lists.items()}
    path = write(tmp_path / "d.npz", x=X, y=Y, **lists)
    data = read(path)
    np.testing.assert_array_equal(data.x_test, X[test])
    np.testing.assert_array_equal(data.x_train, X[train])
    assert data.y_test.tolist() == Y[test].tolist()
    assert len(read(path, settings={"split": "holdout"}).x_test) == 4
    only = write(tmp_path / "only.npz", x=X, y=Y, test_idx=test)
    np.testing.assert_array_equal(read(only).x_train, X[train])


def test_a_list_of_no_samples_or_of_some_twice_is_refused(tmp_path: Path, refused: Refused) -> None:
    lists = {"train_idx": np.arange(20), "test_idx": np.array([20])}
    refused(write(tmp_path / "a.npz", x=X, y=Y, **lists), "test_idx lists no samples", "holdout")
    lists["test_idx"] = np.array([4])
    refused(write(tmp_path / "b.npz", x=X, y=Y, **lists), "sample 4 is in two", "holdout")
