"""Class numbers and names out of what people label samples with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from saf.data import read
from saf.data.formats.format import NeedsChoiceError
from saf.errors import DataError

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


@pytest.mark.parametrize(
    ("y", "order"), [(["10", "9"], "as numbers"), (["b", "a"], "as texts, character by character")]
)
def test_the_order_of_texts_is_told_as_it_is(y: list[str], order: str, npz: Npz) -> None:
    data = read(npz(y_train=np.array(y * 4), y_test=np.array(y * 2)))
    assert f"class names are the labels, sorted {order}" in [d.why for d in data.decisions]


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


NAMES = np.array(["ant", "bee", "cat"])


def test_labels_that_may_count_names_from_0_or_from_1_are_a_question(npz: Npz) -> None:
    path = npz(y_train=np.arange(8) % 2 + 1, y_test=np.arange(4) % 2 + 1, class_names=NAMES)
    with pytest.raises(NeedsChoiceError, match="count from 0 or from 1") as caught:
        read(path)
    assert [c.means for c in caught.value.questions[0].candidates] == [
        "the label 1 is 'bee'",
        "the label 1 is 'ant'",
    ]
    for first, name in (("0", "bee"), ("1", "ant")):
        data = read(path, settings={"first_class": first})
        assert data.class_names[data.y_train[0]] == name


@pytest.mark.parametrize(("low", "high"), [(1, 3), (2, 3)])
def test_a_label_as_high_as_there_are_names_says_that_they_count_from_1(
    low: int, high: int, npz: Npz
) -> None:
    data = read(npz(y_train=np.array([low, high] * 4), y_test=[high] * 4, class_names=NAMES))
    assert [data.class_names[y] for y in data.y_train[:2]] == [NAMES[low - 1], NAMES[high - 1]]
    assert "labels count from 1" in " ".join(d.why for d in data.decisions)


@pytest.mark.parametrize(
    ("numbers", "names"),
    [
        (np.array([0, 1]), ("0", "1")),
        (np.array([30, 50, 80]), ("30", "50", "80")),
        (np.array([[0.5, 2.5]]), ("0.5", "2.5")),
        (np.array([1, 1, 2]), ("0", "1")),
    ],
)
def test_lists_of_classes_that_are_numbers_name_those_that_labels_count(
    numbers: Any, names: tuple[str, ...], npz: Npz
) -> None:
    assert read(npz(list_classes=numbers)).class_names == names


def test_one_row_of_truth_values_is_one_label(npz: Npz) -> None:
    hot = np.eye(3)
    x = np.full((4, 1, 9, 9), 255, np.uint8)
    data = read(
        npz(
            y_train=hot[np.arange(8) % 3],
            x_train=np.full((8, 1, 9, 9), 255, np.uint8),
            x_test=x[:1],
            y_test=hot[2:],
        )
    )
    assert data.y_test.tolist() == [2]


def test_texts_that_all_differ_are_no_classes(npz: Npz, refused: Callable[..., None]) -> None:
    x = np.full((40, 1, 9, 9), 255, np.uint8)
    texts = np.array([f"a picture of {n}" for n in range(40)])
    path = npz(x_train=x, y_train=texts, x_test=x, y_test=texts)
    refused(path, "40 different texts for 40 samples", "labels_from")


@pytest.mark.parametrize("count", [8, 12])
def test_names_of_samples_are_no_names_of_classes(count: int, npz: Npz) -> None:
    data = read(npz(names=np.array([f"photo{n}" for n in range(count)])))
    assert data.class_names == ("0", "1")
    assert "a name for each sample" in " ".join(d.why for d in data.decisions)


@pytest.mark.parametrize(
    "y",
    [
        ["cat|dog", "dog"],
        ["cat; dog", "cat"],
        ["0 1", "2"],
        ["1,2", "2"],
        ["cat", "dog", "mouse", "cow", "cat,dog"],
    ],
)
def test_labels_that_hold_several_classes_are_refused(y: list[str], npz: Npz) -> None:
    with pytest.raises(DataError, match="hold several classes in one") as caught:
        read(npz(y_train=np.array((y * 4)[:8]), y_test=np.array((y * 4)[:4])))
    assert "one class" in caught.value.hint


def test_names_with_commas_and_spaces_are_one_class(npz: Npz) -> None:
    names = ("missile", "projectile, missile", "red apple")
    y = np.array((names * 3)[:8])
    assert read(npz(y_train=y, y_test=y[:4])).class_names == names
