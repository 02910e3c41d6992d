"""Tables that do not say for sure which images they name are no table of labels, nor a split."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from saf.data import read
from saf.errors import DataError
from tests.saf.data.pictures import Pictures, asked, came, decided, table

Place = Callable[[Mapping[str, bytes]], Path]


def rows(names: list[Any]) -> list[list[Any]]:
    return [[name, "ab"[n % 2]] for n, name in enumerate(names)]


@pytest.mark.parametrize("by", [1, -1])
@pytest.mark.parametrize(
    ("heading", "said", "file"),
    [
        ("id", "{}", "images/{}.png"),
        ("", "{}", "images/{}.png"),
        ("file", "{}.png", "{}.png"),
        ("path", "images/{}.png", "images/{}.png"),
        ("id", "img_{:03}", "images/img_{:03}.png"),
        ("id", "{:05}", "train/images/{:05}.png"),
    ],
)
def test_ids_that_count_from_another_number_than_files_are_refused(
    heading: str, said: str, file: str, by: int, pictures: Pictures, place: Place
) -> None:
    files = pictures(*(file.format(n) for n in range(3, 15)))
    labels = table([heading, "label"], *rows([said.format(n + by) for n in range(3, 15)]))
    path = place(files | {"labels.csv": labels})
    for settings in ({}, {"labels_from": "labels.csv:label"}):
        with pytest.raises(
            DataError, match=r"labels\.csv names .*, and the images are .*3 to"
        ) as e:
            read(path, settings=settings)
        assert "remove the rows of images that are not here" in e.value.hint
    right = table([heading, "label"], *rows([said.format(n) for n in range(3, 15)]))
    assert len(came(read(place(files | {"labels.csv": right})), files)["train"]) == 9


@pytest.mark.parametrize("named", [range(11), range(1, 12), range(-1, 13), range(13), range(2, 9)])
def test_a_table_of_fewer_or_more_images_is_read_by_name(
    named: range, pictures: Pictures, place: Place
) -> None:
    files = pictures(*(f"images/{n}.png" for n in range(12)))
    data = read(place(files | {"labels.csv": table(["id", "label"], *rows(list(named)))}))
    found = came(data, files)
    class_of = {f"images/{n}.png": "ab"[at % 2] for at, n in enumerate(named)}
    assert all(class_of[name] == c for split in found.values() for name, c in split.items())


@pytest.mark.parametrize("twice", [range(6), range(2, 3)])
@pytest.mark.parametrize("said", ["{}.png", "{}"])
def test_names_that_fit_several_images_are_refused(
    said: str, twice: range, pictures: Pictures, place: Place
) -> None:
    files = pictures(*(f"part_1/{n}.png" for n in range(12)), *(f"part_2/{n}.png" for n in twice))
    labels = table(["id", "label"], *rows([said.format(n) for n in range(12)]))
    path = place(files | {"labels.csv": labels})
    first = next(iter(twice))
    for settings in ({}, {"labels_from": "labels.csv:label"}):
        with pytest.raises(
            DataError, match=rf"fits 2 images, part_1/{first}\.png, part_2/{first}\.png"
        ) as caught:
            read(path, settings=settings)
        assert "Write the paths" in caught.value.hint
    paths = table(["file", "label"], *rows([f"part_1/{n}.png" for n in range(12)]))
    found = came(read(place(files | {"labels.csv": paths})), files)
    assert all(name.startswith("part_1/") for split in found.values() for name in split)


def test_a_stem_that_fits_files_of_two_endings_is_refused(pictures: Pictures, place: Place) -> None:
    files = pictures(*(f"images/{n}.png" for n in range(12)), "images/3.jpg")
    path = place(files | {"labels.csv": table(["id", "label"], *rows(list(range(12))))})
    with pytest.raises(DataError, match=r"'3' fits 2 images, images/3\.jpg, images/3\.png"):
        read(path)


def test_a_table_beside_folders_is_no_word_for_what_they_say(
    pictures: Pictures, place: Place
) -> None:
    """Names that begin anew in each folder fit several images; the folders say the classes."""
    files = pictures.many("cat", "dog", count=6)
    same = [[f"{n}.png", c] for c in ("cat", "dog") for n in range(6)]
    data = read(place(files | {"labels.csv": table(["file", "label"], *same)}))
    assert data.class_names == ("cat", "dog")
    assert any(d.value == "not used: labels.csv" for d in data.decisions)
    others = [[f"{n}.png", "abc"[n % 3]] for n in range(6)]
    with pytest.raises(DataError, match=r"'0\.png' fits 2 images"):
        read(place(files | {"labels.csv": table(["file", "label"], *others)}))


def test_a_list_of_test_images_by_names_that_fit_several_is_a_question(
    pictures: Pictures, place: Place
) -> None:
    files = pictures.many("cat", "dog", count=6)
    lists = {"train.txt": b"0.png\n1.png\n2.png\n3.png\n", "test.txt": b"4.png\n5.png\n"}
    assert list(asked(place(files | lists), "split")) == ["holdout"]
    paths = {
        name: b"".join(c + b"/" + line + b"\n" for c in (b"cat", b"dog") for line in text.split())
        for name, text in lists.items()
    }
    found = came(read(place(files | paths)), files)
    assert found["test"].keys() == {n for n in files if n[-5] in "45"}


def test_one_list_of_two_that_fits_several_images_makes_the_split_a_question(
    pictures: Pictures, place: Place
) -> None:
    own = pictures(*(f"{c}/{c}{n}.png" for c in ("cat", "dog") for n in range(8)))
    files = own | pictures("cat/x.png", "dog/x.png")
    names = [name.rpartition("/")[2] for name in own]
    lists = {
        "train.txt": "\n".join([*(n for n in names if n[-5] < "6"), "x.png"]).encode(),
        "test.txt": "\n".join(n for n in names if n[-5] >= "6").encode(),
    }
    path = place(files | lists)
    assert list(asked(path, "split")) == ["test.txt", "holdout"]
    assert decided(read(path, settings={"split": "test.txt"}), "split") == "test.txt"


def test_a_column_of_splits_by_names_that_fit_several_is_a_question(
    pictures: Pictures, place: Place
) -> None:
    files = pictures.many("cat", "dog", count=6)
    said = [[f"{n}.png", "test" if n > 3 else "train"] for n in range(6)]
    path = place(files | {"info.csv": table(["file", "split"], *said)})
    assert list(asked(path, "split")) == ["holdout"]
