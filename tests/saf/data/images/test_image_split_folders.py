"""Folders of splits: by what names, where they may lie, and what is none."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from saf.data import read
from saf.errors import DataError
from tests.saf.data.pictures import Pictures, came, decided, table

Place = Callable[[Mapping[str, bytes]], Path]
SPLIT_NAMES = [
    ("train", "test"),
    ("Training", "Testing"),
    ("TRAIN", "TEST"),
    ("training_set", "test_set"),
    ("train_images", "test_images"),
    ("trn", "tst"),
    ("train", "eval"),
    ("Train", "Evaluation"),
    ("trainset", "testset"),
    ("seg_train", "seg_test"),
    ("fruits Train", "fruits Test"),
    ("ibmGestureTrain", "ibmGestureTest"),
    ("ILSVRC2012_img_train", "ILSVRC2012_img_val"),
    ("train", "dev"),
    ("01_train", "02_test"),
]


@pytest.mark.parametrize(("train", "test"), SPLIT_NAMES)
@pytest.mark.parametrize("below", ["{}/{}", "a/b c/{}/{}", "{0}/{0}/{1}", "{}/images/{}"])
def test_all_usual_names_of_splits_are_known_at_any_depth(
    train: str, test: str, below: str, pictures: Pictures, place: Place
) -> None:
    files = pictures.many(*(below.format(split, c) for split in (train, test) for c in "ab"))
    expected = {
        split: {name: name.split("/")[-2] for name in files if f"{folder}/" in f"/{name}"}
        for split, folder in (("train", train), ("test", test))
    }
    found = came(read(place(files)), files)
    assert found["train"].keys() == {n for n in files if n.split("/")[-2:] and f"{train}/" in n}
    assert found == expected


@pytest.mark.parametrize("val", ["val", "Valid", "validation", "dev", "val_set", "VALIDATION"])
def test_three_splits_are_three_splits(val: str, pictures: Pictures, place: Place) -> None:
    files = pictures.many(*(f"{s}/{c}" for s in ("train", "test", val) for c in "ab"))
    found = came(read(place(files)), files)
    assert {split: len(names) for split, names in found.items()} == {
        "train": 8,
        "test": 8,
        "val": 8,
    }
    assert all(name.startswith(val) for name in found["val"])


def test_splits_may_lie_in_the_folders_of_classes(pictures: Pictures, place: Place) -> None:
    files = pictures.many("cat/train", "cat/test", "dog/train", "dog/test")
    found = came(read(place(files)), files)
    assert {n: c for each in found.values() for n, c in each.items()} == {
        name: name.split("/")[0] for name in files
    }
    assert all("/test/" in name for name in found["test"])


def test_a_class_called_train_is_a_class(pictures: Pictures, place: Place) -> None:
    data = read(place(pictures.many("bus", "car", "train")))
    assert data.class_names == ("bus", "car", "train")
    assert decided(data, "split") == "holdout"


def test_splits_without_classes_say_so(pictures: Pictures, place: Place) -> None:
    files = pictures.many("train/images", "valid/images", "test/images")
    with pytest.raises(DataError, match="says no classes: no folder in test/, train/, valid/ says"):
        read(place(files))
    rows = [[name, "ab"[n % 2]] for n, name in enumerate(files)]
    data = read(place(files | {"labels.csv": table(["file", "label"], *rows)}))
    assert {s: len(x) for s, x in came(data, files).items()} == dict.fromkeys(
        ("train", "val", "test"), 4
    )


def test_a_few_strays_break_no_splits_in_folders_of_classes(
    pictures: Pictures, place: Place
) -> None:
    files = pictures.many("cat/train", "cat/test", "dog/train", "dog/test")
    strays = pictures("cat/preview.png", "dog/docs/a.png", "misc/b.png", "c.png")
    data = read(place(files | strays))
    found = came(data, files)
    assert found["test"].keys() == {n for n in files if "/test/" in n}
    assert found["train"].keys() == {n for n in files if "/train/" in n}
    assert len(data.skipped) == 4
    with pytest.raises(DataError, match="cow/ holds 4 images and no folders for training"):
        read(place(files | pictures.many("cow")))
    with pytest.raises(DataError, match=r"9 images, such as dog/.*, lie in folders of classes"):
        read(place(files | pictures.many("dog", count=9)))


@pytest.mark.parametrize(
    "folders",
    [
        ("train/bus", "train/train", "test/bus", "test/train"),
        ("train/test", "train/other", "test/test", "test/other"),
        ("train/test strip", "train/other", "test/test strip", "test/other"),
        ("train/dev", "train/eval", "test/dev", "test/eval"),
        ("test tube/train", "test tube/test", "train/train", "train/test"),
        ("test data/train/a", "test data/train/b", "test data/test/a", "test data/test/b"),
    ],
)
def test_classes_and_wrappers_may_be_named_as_splits(
    folders: tuple[str, ...], pictures: Pictures, place: Place
) -> None:
    data = read(place(pictures.many(*folders)))
    assert (len(data.y_train), len(data.y_test), data.classes) == (8, 8, 2)


def test_splits_that_are_named_by_more_words_are_told(pictures: Pictures, place: Place) -> None:
    data = read(place(pictures.many("seg_train/a", "seg_train/b", "seg_test/a", "seg_test/b")))
    assert any(
        d.why == "seg_test is for testing, seg_train is for training" for d in data.decisions
    )


def test_test_images_that_are_named_by_their_class_have_it(
    pictures: Pictures, place: Place
) -> None:
    names = [f"train/{c}.{n}.png" for c in ("cat", "dog") for n in range(5)]
    more = [f"test/{c}.{n}.png" for c in ("cat", "dog") for n in (7, 8)]
    files = pictures(*names, *more)
    found = came(read(place(files), settings={"labels_from": "names"}), files)
    assert found["test"] == {name: name.split("/")[1].split(".")[0] for name in more}


@pytest.mark.parametrize("test", ["test", "test/images", "test/unknown", "test/test"])
def test_test_images_without_classes_are_left_out_and_told(
    test: str, pictures: Pictures, place: Place
) -> None:
    data = read(place(pictures.many("train/cat", "train/dog", test, count=5)))
    assert (len(data.y_train), len(data.y_test)) == (8, 2)
    assert len(data.skipped) == 5
    assert any("nothing says the class" in decision.why for decision in data.decisions)
    assert decided(data, "split") == "holdout"


def test_a_test_folder_alone_is_not_trained_on(pictures: Pictures, place: Place) -> None:
    with pytest.raises(DataError, match="test/ is all there is"):
        read(place(pictures.many("data/test/a", "data/test/b")))
