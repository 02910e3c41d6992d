"""Splits that columns and lists beside images say, whatever they call them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from saf.data import read
from saf.data.sources.limits import MIB
from tests.saf.data.pictures import Files, Pictures, asked, came, decided, table

Place = Callable[[Mapping[str, bytes]], Path]
COUNT = 12
LABELS = {f"{n}.png": "ab"[n % 2] for n in range(COUNT)}


def flat(pictures: Pictures) -> Files:
    return pictures(*(f"images/{name}" for name in LABELS))


def with_column(head: str, values: list[Any]) -> Files:
    rows = [[name, label, v] for (name, label), v in zip(LABELS.items(), values, strict=True)]
    return {"data.csv": table(["file", "label", head], *rows)}


def numbers(path: Path, files: Files, **settings: str) -> dict[str, set[int]]:
    """The numbers in the names of the images of each split."""
    found = came(read(path, settings=settings), files)
    return {
        split: {int(name.rpartition("/")[2].partition(".")[0]) for name in names}
        for split, names in found.items()
    }


def test_three_numbers_of_a_partition_are_those_of_celeba(pictures: Pictures, place: Place) -> None:
    files = flat(pictures)
    values = [0] * 6 + [1] * 3 + [2] * 3
    expected = {"train": {*range(6)}, "val": {6, 7, 8}, "test": {9, 10, 11}}
    path = place(files | with_column("partition", values))
    assert numbers(path, files) == expected
    assert any("as in CelebA" in each.why for each in read(path).decisions)
    lines = [f"{name} {value}" for name, value in zip(LABELS, values, strict=True)]
    own = {"list_eval_partition.txt": "\n".join(lines).encode()}
    labels = {"labels.csv": table(["file", "label"], *map(list, LABELS.items()))}
    assert numbers(place(files | own | labels), files) == expected


@pytest.mark.parametrize(
    ("values", "folds"),
    [
        ([0, 0, 1, 1] * 3, 2),
        ([0, 1, 2, 2, 0, 1] * 2, 3),
        ([*"AABB"] * 3, 2),
        ([1, 2, 3, 4, 4, 3, 2, 1, 1, 2, 3, 4], 4),
    ],
)
def test_folds_are_a_question_which_of_them_is_for_testing(
    values: list[Any], folds: int, pictures: Pictures, place: Place
) -> None:
    files = flat(pictures)
    head = "fold" if folds != 2 else "split"
    path = place(files | with_column(head, values))
    said = {f"data.csv:{head}={value}" for value in set(values)}
    assert set(asked(path, "split")) == {*said, "holdout"}
    one = numbers(path, files, split=f"data.csv:{head}={values[2]}")
    assert one["test"] == {n for n in range(COUNT) if values[n] == values[2]}
    assert one["train"] == {*range(COUNT)} - one["test"]
    assert len(numbers(path, files, split="holdout")["test"]) == 3


@pytest.mark.parametrize("heads", [("is_test",), ("test",), ("is_train",), ("isTest", "isVal")])
@pytest.mark.parametrize(("yes", "no"), [(1, 0), ("True", "False"), ("yes", "no")])
def test_columns_of_truth_values_say_the_split(
    heads: tuple[str, ...], yes: Any, no: Any, pictures: Pictures, place: Place
) -> None:
    files = flat(pictures)
    tested, kept = {8, 9, 10, 11}, {6, 7} if len(heads) == 2 else set()
    true = {"train": {*range(8)}, "test": tested, "val": kept}

    def of(head: str) -> set[int]:
        return next(true[role] for role in true if role in head.lower())

    rows = [
        [i, c, *(yes if n in of(h) else no for h in heads)]
        for n, (i, c) in enumerate(LABELS.items())
    ]
    found = numbers(place(files | {"data.csv": table(["file", "label", *heads], *rows)}), files)
    assert found["test"] == tested
    assert found.get("val", set()) == kept


def test_is_train_and_is_test_are_no_classes(pictures: Pictures, place: Place) -> None:
    files = flat(pictures)
    rows = [[name, int(n < 8), int(n >= 8)] for n, name in enumerate(LABELS)]
    ways = {"data.csv": table(["file", "is_train", "is_test"], *rows)}
    labels = {"labels.csv": table(["file", "label"], *map(list, LABELS.items()))}
    found = came(read(place(files | ways | labels)), files)
    assert found["test"] == {f"images/{n}.png": "ab"[n % 2] for n in range(8, COUNT)}


@pytest.mark.parametrize("blank", ["", "unlabelled", "extra"])
def test_images_without_a_split_beside_others_are_left_out_and_told(
    blank: str, pictures: Pictures, place: Place
) -> None:
    files = flat(pictures)
    path = place(files | with_column("split", ["train"] * 6 + ["test"] * 4 + [blank] * 2))
    assert numbers(path, files) == {"train": {*range(6)}, "test": {6, 7, 8, 9}}
    assert read(path).skipped == tuple(
        f"images/{n}.png: it is not listed by data.csv" for n in (10, 11)
    )


def test_images_in_no_folder_of_a_split_beside_others_are_left_out_and_told(
    pictures: Pictures, place: Place
) -> None:
    files = pictures.many("train", "test", "more")
    rows = [[name, "ab"[n % 2]] for n, name in enumerate(files)]
    data = read(place(files | {"labels.csv": table(["file", "label"], *rows)}))
    found = came(data, files)
    assert {name.split("/")[0] for name in found["train"]} == {"train"}
    assert len(data.skipped) == 4


@pytest.mark.parametrize("name", ["train.txt", "splits/train_list.txt"])
def test_a_list_of_training_images_alone_is_a_question(
    name: str, pictures: Pictures, place: Place
) -> None:
    files = pictures.many("a", "b", count=6)
    lines = [f"{c}/{n}.png" for c in "ab" for n in range(4)]
    path = place(files | {name: "\n".join(lines).encode()})
    assert set(asked(path, "split")) == {name, "holdout"}
    assert numbers(path, files, split=name) == {"train": {0, 1, 2, 3}, "test": {4, 5}}
    every = [f"{c}/{n}.png" for c in "ab" for n in range(6)]
    data = read(place(files | {name: "\n".join(every).encode()}))
    assert decided(data, "split") == "holdout"  # it says nothing of testing


def test_lists_of_few_of_the_images_are_a_question(pictures: Pictures, place: Place) -> None:
    files = pictures.many("a", "b", count=10)
    lists = {
        f"{split}.txt": "\n".join(f"{c}/{n}.png" for c in "ab" for n in own).encode()
        for split, own in (("train", (0, 1)), ("test", (2, 3)))
    }
    path = place(files | lists)
    assert set(asked(path, "split")) == {"train.txt", "holdout"}
    assert numbers(path, files, split="train.txt") == {"train": {0, 1}, "test": {2, 3}}


def test_folders_and_a_column_that_contradict_one_another_are_a_question(
    pictures: Pictures, place: Place
) -> None:
    files = pictures.many("train/a", "train/b", "test/a", "test/b")
    rows = [[name, "test" if "/3" in name else "train"] for name in files]
    path = place(files | {"data.csv": table(["file", "split"], *rows)})
    assert set(asked(path, "split")) == {"data.csv", "folders"}
    assert numbers(path, files, split="data.csv")["test"] == {3}
    assert len(numbers(path, files, split="folders")["test"]) == 4
    same = [[name, name.split("/")[0]] for name in files]
    data = read(place(files | {"data.csv": table(["file", "split"], *same)}))
    assert len(data.y_test) == 8


def test_two_columns_that_say_two_splits_are_a_question(pictures: Pictures, place: Place) -> None:
    files = flat(pictures)
    rows = [
        [i, c, "train" if n < 8 else "test", "test" if n < 4 else "train"]
        for n, (i, c) in enumerate(LABELS.items())
    ]
    path = place(files | {"data.csv": table(["file", "label", "split", "phase"], *rows)})
    assert set(asked(path, "split")) == {"data.csv:split", "data.csv:phase"}
    assert numbers(path, files, split="data.csv:phase")["test"] == {0, 1, 2, 3}


def test_a_table_that_is_too_large_is_told(pictures: Pictures, place: Place) -> None:
    large = b"file,label\n" + b"x" * (17 * MIB)
    with pytest.raises(Exception, match=r"labels.csv: it is larger than 16.0 MiB"):
        read(place(flat(pictures) | {"labels.csv": large}))
    path = place(pictures.many("a", "b") | {"test_list.csv": large})
    assert set(asked(path, "split")) == {"holdout"}


def test_long_fields_and_many_tables_hide_no_labels(pictures: Pictures, place: Place) -> None:
    files = flat(pictures)
    rows = [[i, c, "x" * (2 * MIB) if i == "0.png" else ""] for i, c in LABELS.items()]
    path = place(files | {"labels.csv": table(["file", "label", "notes"], *rows)})
    assert len(read(path).y_train) == 9
    many = {f"a{n:03}.csv": b"x,y\n1,2\n3,4\n" for n in range(70)}
    labels = {"labels.csv": table(["file", "label"], *map(list, LABELS.items()))}
    assert len(read(place(files | many | labels)).y_train) == 9


@pytest.mark.parametrize("pattern", ["{c}/{s}_{n}.png", "{c}/{c}.{s}.{n}.png", "x/{c}/{n}-{s}.png"])
@pytest.mark.parametrize("other", ["test", "val"])
def test_a_split_in_the_names_of_files_is_a_question(
    pattern: str, other: str, pictures: Pictures, place: Place
) -> None:
    splits = [(c, s) for c in ("cat", "dog") for s in ("train", other)]
    names = [pattern.format(c=c, s=s, n=n) for c, s in splits for n in "123"]
    files = pictures(*names)
    path = place(files)
    assert list(asked(path, "split")) == ["names", "holdout"]
    found = came(read(path, settings={"split": "names"}), files)
    assert found["test"].keys() == {name for name in names if other in name.rpartition("/")[2]}
    assert len(found["train"]) == 6
    assert 0 < len(read(path, settings={"split": "holdout"}).y_test) < 6


def test_names_of_some_files_or_of_classes_say_no_split(pictures: Pictures, place: Place) -> None:
    for names in (
        ["cat/train_1.png", "cat/test_1.png", "cat/3.png", "dog/1.png", "dog/2.png"],
        ["train/train_1.png", "train/train_2.png", "test tube/test_1.png", "test tube/test_2.png"],
    ):
        assert decided(read(place(pictures(*names))), "split") == "holdout"
