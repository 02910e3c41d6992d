"""Class numbers and names out of what people label samples with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from saf.data import read

Npz = Callable[..., Path]


@pytest.mark.parametrize(
    ("y", "numbers", "names"),
    [
        ([0, 1, 2, 0, 1, 2, 0, 1], [0, 1, 2, 0, 1, 2, 0, 1], "0 1 2"),
        ([1, 2, 3, 1, 2, 3, 1, 2], [0, 1, 2, 0, 1, 2, 0, 1], "1 2 3"),
        ([0, 255] * 4, [0, 1] * 4, "0 255"),
        ([5, 7, 9, 5, 7, 9, 5, 7], [0, 1, 2, 0, 1, 2, 0, 1], "5 7 9"),
        ([-1, 1] * 4, [0, 1] * 4, "-1 1"),
        ([0.0, 1.0] * 4, [0, 1] * 4, "0 1"),
        ([True, False] * 4, [1, 0] * 4, "0 1"),
        (["10", "9"] * 4, [1, 0] * 4, "9 10"),
        (["dog", "cat"] * 4, [1, 0] * 4, "cat dog"),
        ([b"dog", b"cat"] * 4, [1, 0] * 4, "cat dog"),
        (np.eye(2)[[1, 0] * 4], [1, 0] * 4, "0 1"),
        (np.eye(2, dtype=bool)[[1, 0] * 4], [1, 0] * 4, "0 1"),
        (np.eye(3, dtype=int)[[2, 0] * 4].T, [1, 0] * 4, "0 2"),
        (np.array([[0, 1] * 4]), [0, 1] * 4, "0 1"),
        (np.array([[0, 1] * 4]).T, [0, 1] * 4, "0 1"),
        (np.array([[[0, 1] * 4]]), [0, 1] * 4, "0 1"),
    ],
)
def test_classes_are_the_labels_that_occur(
    y: Sequence[Any], numbers: list[int], names: str, npz: Npz
) -> None:
    array = np.asarray(y)
    few = array[..., :4] if array.shape[-1] == 8 else array[:4]
    data = read(npz(y_train=array, y_test=few))
    assert data.class_names == tuple(names.split())
    assert data.y_train.tolist() == numbers
    assert data.y_test.tolist() == numbers[:4]


def test_names_beside_numbers_from_1_begin_with_1(npz: Npz) -> None:
    y = np.array([1, 2, 3, 1] * 2)
    data = read(npz(y_train=y, y_test=y[:4], class_names=np.array(["a", "b", "c"])))
    assert data.class_names == ("a", "b", "c")
    assert data.y_train.tolist() == [0, 1, 2, 0] * 2


def test_names_give_the_order_of_text_labels_and_may_be_more(npz: Npz) -> None:
    y = np.array(["dog", "cat"] * 4)
    data = read(npz(y_train=y, y_test=y[:4], label_names=np.array(["dog", "emu", "cat"])))
    assert data.class_names == ("dog", "emu", "cat")
    assert data.y_train.tolist() == [0, 2] * 4


def test_numbers_that_all_differ_are_no_classes(npz: Npz, refused: Callable[..., None]) -> None:
    x = np.full((40, 1, 9, 9), 255, np.uint8)
    path = npz(x_train=x, y_train=np.arange(40), x_test=x, y_test=np.arange(40))
    refused(path, "40 different numbers for 40 samples", "class number")


def test_how_labels_were_taken_is_told(npz: Npz) -> None:
    y = np.array([1, 2] * 4)
    (decision,) = read(npz(y_train=y, y_test=y[:4])).decisions
    assert (decision.value, decision.why) == ("the classes 1, 2", "labels count from 1")
