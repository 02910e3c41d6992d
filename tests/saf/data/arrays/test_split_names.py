"""An array beside the samples that tells the split or the fold of each is used."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from saf.data import read
from saf.data.formats.format import NeedsChoiceError
from tests.saf.data.image_files import decided

X = np.random.default_rng(0).integers(0, 256, (24, 8, 8), np.uint8)
Y = np.arange(24) % 3
FOLD = np.arange(24) % 4
NAMES = np.array(["Training", "Training", "valid", "test"])[FOLD]
Refused = Callable[..., None]


def arrays(folder: Path, **more: Any) -> Path:
    np.savez(folder / "d.npz", x=X, y=Y, **more)
    return folder / "d.npz"


@pytest.mark.parametrize("name", ["split", "set", "partition"])
@pytest.mark.parametrize("kind", ["U", "S"])
def test_names_of_splits_are_the_published_split(name: str, kind: str, tmp_path: Path) -> None:
    data = read(arrays(tmp_path, **{name: NAMES.astype(kind)}))
    for split, folds in (("train", [0, 1]), ("val", [2]), ("test", [3])):
        assert np.array_equal(getattr(data, f"x_{split}")[:, 0], X[np.isin(FOLD, folds)])
        assert np.array_equal(getattr(data, f"y_{split}"), Y[np.isin(FOLD, folds)])
    assert len(read(arrays(tmp_path, split=NAMES), settings={"split": "holdout"}).y_test) == 5


@pytest.mark.parametrize("values", [FOLD, FOLD.astype(float)])
def test_which_fold_is_for_testing_is_a_question(values: np.ndarray, tmp_path: Path) -> None:
    path = arrays(tmp_path, fold=values)
    with pytest.raises(NeedsChoiceError) as caught:
        read(path)
    (asked,) = caught.value.questions
    ways = [candidate.value for candidate in asked.candidates]
    assert ways == ["fold=0", "fold=1", "fold=2", "fold=3", "holdout"]
    data = read(path, settings={"split": "fold=2"})
    assert np.array_equal(data.x_test[:, 0], X[FOLD == 2])
    assert np.array_equal(data.x_train[:, 0], X[FOLD != 2])
    assert decided(data)["split"] == "fold=2"


def test_other_words_and_folds_are_refused(tmp_path: Path, refused: Refused) -> None:
    path = arrays(tmp_path, split=np.where(FOLD == 1, "spare", NAMES))
    refused(path, "split names the split 'spare'", "train, val and test")
    refused(arrays(tmp_path, fold=FOLD), "cannot be 'fold=9'", "fold=3", split="fold=9")


def test_an_answer_that_nothing_could_follow_is_refused(tmp_path: Path, refused: Refused) -> None:
    """It was left aside for a split that nobody had asked for."""
    words = "the split of arrays cannot be 'fold=1'"
    refused(arrays(tmp_path, split=NAMES), words, "split tells it", split="fold=1")
    refused(arrays(tmp_path, fold=FOLD * 0), words, "Say holdout", split="fold=1")
    lists = {"train_idx": np.arange(12), "test_idx": np.arange(12, 24), "fold": FOLD}
    refused(arrays(tmp_path, **lists), words, "Say holdout", split="fold=1")


def test_folds_named_by_days_are_told_apart(tmp_path: Path) -> None:
    path = arrays(tmp_path, fold=FOLD + 20240101)
    data = read(path, settings={"split": "fold=20240102"})
    assert np.array_equal(data.x_test[:, 0], X[FOLD == 1])


@pytest.mark.parametrize("values", [FOLD * 0, np.arange(24)])
def test_numbers_that_are_no_folds_are_left_out(values: np.ndarray, tmp_path: Path) -> None:
    many: dict[str, Any] = {"x": np.tile(X, (2, 1, 1)), "y": np.tile(Y, 2)}
    np.savez(
        tmp_path / "d.npz", **many, fold=np.concatenate([values, values + 24 * (values.any())])
    )
    assert "left out: fold" in decided(read(tmp_path / "d.npz"))


def test_splits_by_the_names_of_arrays_go_first(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", x_train=X, y_train=Y, x_test=X[:6], y_test=Y[:6], fold=FOLD)
    data = read(tmp_path / "d.npz")
    assert (len(data.y_train), len(data.y_test)) == (24, 6)
    assert "left out: fold" in decided(data)


def test_arrays_for_classes_are_refused_in_words_that_help(
    tmp_path: Path, refused: Refused
) -> None:
    np.savez(tmp_path / "d.npz", cat=X[:10], dog=X[10:])
    refused(tmp_path / "d.npz", "which of them are the samples?", "put all into one array x")


@pytest.mark.parametrize("gap", [np.nan, np.inf])
def test_samples_without_a_fold_are_refused(gap: float, tmp_path: Path, refused: Refused) -> None:
    """Of which one could choose `fold=nan`, which no sample equals."""
    fold = FOLD.astype(float)
    fold[:5] = gap
    path = arrays(tmp_path, fold=fold)
    for said in ({}, {"split": "fold=1"}):
        refused(path, "fold has no number for 5 of 24 samples", "leave such samples out", **said)
    assert read(path, settings={"split": "holdout"}).classes == 3


def test_samples_without_a_split_are_refused(tmp_path: Path, refused: Refused) -> None:
    names = NAMES.copy()
    names[:3] = ""
    refused(arrays(tmp_path, split=names), "names the split ''", "holdout")
