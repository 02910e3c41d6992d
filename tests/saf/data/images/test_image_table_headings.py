"""Headings of tables beside images: which column holds the classes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from saf.data import read
from saf.errors import DataError
from tests.saf.data.pictures import (
    COUNT,
    Pictures,
    asked,
    came,
    decided,
    flat,
    labels,
    table,
)

Place = Callable[[Mapping[str, bytes]], Path]


@pytest.mark.parametrize("column", ["fold", "x", "width", "Roi.X1", "bbox_x1", "age", "sex"])
def test_numbers_that_mean_something_else_are_no_classes(
    column: str, pictures: Pictures, place: Place
) -> None:
    files = pictures.many("train/0", "train/1", "train/2", "test", count=6)
    rows = [[f"test/{n}.png", n % 3] for n in range(6)]
    data = read(place(files | {"test.csv": table(["file", column], *rows)}))
    assert len(data.skipped) == 6
    assert decided(data, "split") == "holdout"


def test_a_number_under_an_unknown_heading_is_a_class_if_no_other_column_could_be(
    pictures: Pictures, place: Place
) -> None:
    files = pictures.many("train/0", "train/1", "train/2", "test", count=6)
    rows = [[f"test/{n}.png", n % 3, 40] for n in range(6)]
    alone = table(["file", "grade", "fold"], *rows)
    assert read(place(files | {"test.csv": alone})).y_test.tolist() == [0, 1, 2, 0, 1, 2]
    with pytest.raises(DataError, match="'grade' could"):
        read(place(files | {"test.csv": table(["file", "grade", "age"], *rows)}))


def test_a_number_that_is_the_same_for_all_is_no_class(pictures: Pictures, place: Place) -> None:
    files = pictures.many("train/0", "train/1", "test", count=6)
    rows = [[f"test/{n}.png", 1] for n in range(6)]
    assert len(read(place(files | {"t.csv": table(["file", "severity"], *rows)})).skipped) == 6
    data = read(place(files | {"t.csv": table(["file", "label"], *rows)}))
    assert data.y_test.tolist() == [1] * 6


def test_columns_that_could_all_hold_the_classes_are_told(pictures: Pictures, place: Place) -> None:
    files = pictures.many("train/0", "train/1", "train/2", "test", count=6)
    rows = [[f"test/{n}.png", n % 3, (n + 1) % 3] for n in range(6)]
    path = place(files | {"test.csv": table(["file", "first", "second"], *rows)})
    with pytest.raises(DataError, match=r"which column of test.csv .* 'first' or 'second'"):
        read(path)
    trained = [[f"train/{c}/{n}.png", n % 3, c] for c in range(3) for n in range(6)]
    both = {"train.csv": table(["file", "first", "second"], *trained)}
    both["test.csv"] = table(["file", "first", "second"], *rows)
    found = came(read(place(files | both)), files)  # training images tell which it is
    assert found["test"] == {f"test/{n}.png": str((n + 1) % 3) for n in range(6)}


@pytest.mark.parametrize(("x", "y"), [("x", "y"), ("X", "Y"), ("x1", "y"), ("x_min", "y")])
def test_a_place_is_no_class(x: str, y: str, pictures: Pictures, place: Place) -> None:
    rows = [[f"{n}.png", n % 3, n % 4] for n in range(COUNT)]
    with pytest.raises(DataError, match="says no classes"):
        read(place(flat(pictures) | {"points.csv": table(["file", x, y], *rows)}))


def test_y_alone_is_the_class(pictures: Pictures, place: Place) -> None:
    files = flat(pictures)
    rows = [[f"{n}.png", n % 3] for n in range(COUNT)]
    path = place(files | {"points.csv": table(["file", "y"], *rows)})
    assert labels(path, files) == {f"{n}.png": str(n % 3) for n in range(COUNT)}


def test_headings_that_occur_twice_are_a_question(pictures: Pictures, place: Place) -> None:
    files = flat(pictures)
    rows = [[f"{n}.png", "ab"[n % 2], "cd"[n % 3 == 0]] for n in range(COUNT)]
    path = place(files | {"labels.csv": table(["file", "label", "label"], *rows)})
    assert set(asked(path, "labels_from")) == {
        "labels.csv:label",
        "labels.csv:label (column 3)",
    }
    assert set(labels(path, files, labels_from="labels.csv:label (column 3)").values()) == {*"cd"}
    assert set(labels(path, files, labels_from="labels.csv:label").values()) == {*"ab"}
    same = [[row[0], row[1], row[1]] for row in rows]
    path = place(files | {"labels.csv": table(["file", "label", "label"], *same)})
    assert set(labels(path, files).values()) == {*"ab"}


@pytest.mark.parametrize(
    ("values", "says"),
    [
        (["x"] * COUNT, "holds 1 class only, 'x'"),
        ([f"a cat number {n}" for n in range(COUNT)], "holds 12 different values for 12 images"),
        ([n % 2 + 0.25 for n in range(COUNT)], "holds numbers such as"),
    ],
)
def test_another_column_does_not_take_the_place_of_the_labels(
    values: list[Any], says: str, pictures: Pictures, place: Place
) -> None:
    rows = [[f"{n}.png", values[n], "mf"[n % 2]] for n in range(COUNT)]
    path = place(flat(pictures) | {"labels.csv": table(["file", "label", "gender"], *rows)})
    with pytest.raises(DataError, match=says) as caught:
        read(path)
    assert "labels_from" in caught.value.hint
    assert read(path, settings={"labels_from": "labels.csv:gender"}).class_names == ("f", "m")


def test_a_column_that_is_not_named_as_classes_is_a_question_beside_others(
    pictures: Pictures, place: Place
) -> None:
    files = flat(pictures)
    rows = [[f"{n}.png", f"a long story of {n}", "mf"[n % 2]] for n in range(COUNT)]
    path = place(files | {"people.csv": table(["file", "text", "camera"], *rows)})
    assert set(asked(path, "labels_from")) == {"people.csv:camera"}
    alone = [[row[0], row[2]] for row in rows]
    assert len(labels(place(files | {"p.csv": table(["file", "camera"], *alone)}), files)) == COUNT


@pytest.mark.parametrize(
    "head", ["class_id", "Class Name", "label_idx", "target class", "gt_label", "cls", "y_true"]
)
def test_headings_of_several_words_say_classes(head: str, pictures: Pictures, place: Place) -> None:
    files = flat(pictures)
    rows = [[f"{n}.png", n % 3, n % 2] for n in range(COUNT)]
    path = place(files | {"t.csv": table(["file", "weather", head], *rows)})
    assert labels(path, files) == {f"{n}.png": str(n % 2) for n in range(COUNT)}


def test_training_and_test_tables_with_other_headings_are_one_where_their_classes_are(
    pictures: Pictures, place: Place
) -> None:
    files = flat(pictures)
    rows = [[f"{n}.png", "ab"[n % 2]] for n in range(COUNT)]
    more = [[*row, "x"] for row in rows[8:]]
    tables = {
        "train.csv": table(["file", "label"], *rows[:8]),
        "test.csv": table(["file", "class", "source"], *more),
    }
    found = came(read(place(files | tables)), files)
    assert len(found["train"]) == 8
    assert found["test"] == {f"images/{n}.png": "ab"[n % 2] for n in range(8, COUNT)}
    other = [[name, f"{c}!", x] for name, c, x in more]
    tables["test.csv"] = table(["file", "class", "source"], *other)
    with pytest.raises(DataError, match=r"train.csv:label and test.csv:class label different"):
        read(place(files | tables))


def test_columns_that_name_or_date_something_are_no_candidates(
    pictures: Pictures, place: Place
) -> None:
    files = flat(pictures)
    head = ["lesion_id", "file", "taken_date", "camera url", "mask", "width", "sex", "site"]
    rows = [
        [n // 2, f"{n}.png", n // 3, n // 4, n // 6, n % 3, "mf"[n % 2], n // 6]
        for n in range(COUNT)
    ]
    path = place(files | {"metadata.csv": table(head, *rows)})
    assert set(asked(path, "labels_from")) == {"metadata.csv:sex", "metadata.csv:site"}
    assert set(labels(path, files, labels_from="metadata.csv:mask").values()) == {"0", "1"}
