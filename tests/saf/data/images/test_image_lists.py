"""Published splits beside folders of classes: lists and columns."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from saf.data import read
from tests.saf.data.pictures import Pictures, asked, came, decided, table

Place = Callable[[Mapping[str, bytes]], Path]


def test_a_table_named_by_a_word_such_as_test_lists_no_test_images(
    pictures: Pictures, place: Place
) -> None:
    files = pictures.many("tubes/a", "tubes/b")
    rows = [[name, 3] for name in list(files)[:3]]
    data = read(place(files | {"test_tubes.csv": table(["file", "weight"], *rows)}))
    assert decided(data, "split") == "holdout"


IDS = [f"{n:08x}" for n in range(12)]


def test_splits_of_a_column_and_of_tables_are_taken(pictures: Pictures, place: Place) -> None:
    files = pictures(*(f"images/{i}.png" for i in IDS))
    splits = ["train"] * 6 + ["valid"] * 3 + ["test"] * 3
    rows = [[f"{i}.png", "ab"[n % 2], s] for n, (i, s) in enumerate(zip(IDS, splits, strict=True))]
    one = read(place(files | {"data.csv": table(["file", "label", "split"], *rows)}))
    several = {
        f"{split}.csv": table(["file", "label"], *[r[:2] for r in rows if r[2] == split])
        for split in set(splits)
    }
    for data in (one, read(place(files | several))):
        found = came(data, files)
        assert {s: len(names) for s, names in found.items()} == {"train": 6, "test": 3, "val": 3}
        assert found["val"].keys() == {f"images/{i}.png" for i in IDS[6:9]}


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("meta/train.txt", "meta/test.txt"),
        ("trainlist.txt", "testlist.txt"),
        ("splits/train.csv", "splits/test.csv"),
        ("train.txt", "validation.txt"),
    ],
)
@pytest.mark.parametrize("said", ["{}/{}", "{}/{}.png", "images/{}/{}.png"])
def test_published_lists_are_the_split(
    train: str, test: str, said: str, pictures: Pictures, place: Place
) -> None:
    files = pictures.many("images/pie", "images/waffle", count=6)
    lists = {
        name: "\n".join(said.format(c, n) for c in ("pie", "waffle") for n in numbers).encode()
        for name, numbers in ((train, range(2)), (test, range(2, 6)))
    }
    data = read(place(files | lists))
    found = came(data, files)
    assert len(found["train"]) == 4
    assert found["test"].keys() == {
        f"images/{c}/{n}.png" for c in ("pie", "waffle") for n in range(2, 6)
    }
    assert decided(data, "split") == train
    held_out = read(place(files | lists), settings={"split": "holdout"})
    assert len(held_out.y_test) == 3


def test_several_published_splits_are_a_question(pictures: Pictures, place: Place) -> None:
    files = pictures.many("images/a", "images/b", count=6)
    lists = {
        f"labels/{s}{k}.txt": "\n".join(f"{c}/{(n + k) % 6}.png" for c in "ab" for n in r).encode()
        for k in (1, 2, 3)
        for s, r in (("train", (0, 1)), ("val", (2, 3)), ("test", (4, 5)))
    }
    path = place(files | lists)
    assert set(asked(path, "split")) == {f"labels/train{k}.txt" for k in (1, 2, 3)}
    found = came(read(path, settings={"split": "labels/train2.txt"}), files)
    assert found["train"].keys() == {f"images/{c}/{n}.png" for c in "ab" for n in (2, 3)}
    assert len(found["val"]) == len(found["test"]) == 4


def test_birds_are_split_by_their_numbers(pictures: Pictures, place: Place) -> None:
    names = [f"{c}/{c}_{n}.png" for c in ("001.Albatross", "002.Auklet") for n in range(5)]
    files = pictures(*(f"CUB/images/{name}" for name in names))
    numbers = range(1, 11)
    more = {
        "CUB/images.txt": "".join(f"{i} {n}\n" for i, n in zip(numbers, names, strict=True)),
        "CUB/train_test_split.txt": "".join(f"{i} {i % 2}\n" for i in numbers),
        "CUB/image_class_labels.txt": "".join(f"{i} {1 + (i > 5)}\n" for i in numbers),
        "CUB/classes.txt": "1 001.Albatross\n2 002.Auklet\n",
    }
    found = came(read(place(files | {n: t.encode() for n, t in more.items()})), files)
    assert found["train"].keys() == {f"CUB/images/{names[i - 1]}" for i in numbers if i % 2}


def test_what_is_not_listed_for_testing_is_trained_on(pictures: Pictures, place: Place) -> None:
    files = pictures.many("yes", "no", count=6)
    lists = {
        "testing_list.txt": b"yes/0.png\nno/0.png",
        "validation_list.txt": b"yes/1.png\nno/1.png",
    }
    found = came(read(place(files | lists)), files)
    assert {split: len(names) for split, names in found.items()} == {
        "train": 8,
        "test": 2,
        "val": 2,
    }


def test_a_published_split_in_a_file_that_is_not_read_is_a_question(
    pictures: Pictures, place: Place
) -> None:
    path = place(pictures.many("Images/a", "Images/b") | {"lists/train_list.mat": b"MATLAB 5.0"})
    assert set(asked(path, "split")) == {"holdout"}
    assert len(read(path, settings={"split": "holdout"}).y_test) == 2
