"""Folders of folds and of domains: what is no class is not taken for one, and no split leaks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from saf.data import read
from saf.errors import DataError
from tests.saf.data.pictures import Files, Pictures, asked, came, decided, table

Place = Callable[[Mapping[str, bytes]], Path]


def folds(pictures: Pictures, pattern: str, *, count: int = 3) -> Files:
    """Twelve images in so many folds: each is in all of them, tested on in one."""
    own = pictures(*(f"{c}/{n}.png" for c in ("cat", "dog") for n in range(6)))
    files = {}
    for fold in range(1, count + 1):
        for place, blob in own.items():
            c, _, name = place.partition("/")
            split = "test" if int(name[0]) % count == fold - 1 else "train"
            files[pattern.format(f=fold, s=split, c=c) + name] = blob
    return files


WHOLE = {
    "fold_{f}/{s}/{c}/": "fold_2",
    "data/split{f}/{s}/{c}/": "split2",
    "CV {f}/{s}/{c}/": "CV 2",
    "{s}/fold_{f}/{c}/": "fold_2",
    "{c}/fold_{f}/{s}/": "fold_2",
    "data/{f}/{s}/{c}/": "2",
    "run {f}/{s}/{c}/": "run 2",
}


@pytest.mark.parametrize("labels_from", [None, "folders", "inner folders"])
@pytest.mark.parametrize("pattern", WHOLE)
def test_of_folds_that_hold_a_split_each_one_is_chosen(
    pattern: str, labels_from: str | None, pictures: Pictures, place: Place
) -> None:
    files = folds(pictures, pattern)
    path, fold = place(files), WHOLE[pattern]
    said = {} if labels_from is None else {"labels_from": labels_from}
    candidates = asked(path, "split", **said)
    assert list(candidates) == [fold.replace("2", n) for n in "123"]
    assert candidates[fold].means == f"8 train, 4 test, in the folders of {fold}"
    data = read(path, settings={"split": fold})
    found = came(data, {name: files[name] for name in files if fold in name.split("/")})
    assert data.class_names == ("cat", "dog")
    assert {int(n.rpartition("/")[2][0]) % 3 for n in found["test"]} == {1}
    assert {int(n.rpartition("/")[2][0]) % 3 for n in found["train"]} == {0, 2}
    assert all(c in name for split in found.values() for name, c in split.items())
    assert decided(data, "split") == fold
    assert len(data.skipped) == 24
    for wrong in ("holdout", "folders", "fold_9"):
        with pytest.raises(DataError, match="is none of the folds") as caught:
            read(path, settings={"split": wrong})
        assert "such as split: " in caught.value.hint


@pytest.mark.parametrize("pattern", ["{s}_{f}/{c}/", "data/{s} set {f}/{c}/", "{s}{f}/{c}/"])
def test_numbered_splits_of_the_same_images_are_folds(
    pattern: str, pictures: Pictures, place: Place
) -> None:
    files = folds(pictures, pattern)
    path = place(files)
    candidates = asked(path, "split")
    named = [pattern.format(s="train", f=f, c="").rstrip("/").rpartition("/")[2] for f in "123"]
    assert list(candidates) == named
    found = came(read(path, settings={"split": named[1]}), files)
    assert {split: len(own) for split, own in found.items()} == {"train": 8, "test": 4}
    numbers = {
        split: {int(n.rpartition("/")[2][0]) % 3 for n in own} for split, own in found.items()
    }
    assert numbers == {"train": {0, 2}, "test": {1}}


def test_numbered_splits_of_other_images_are_to_be_merged(pictures: Pictures, place: Place) -> None:
    folders = [f"{s}_{n}/{c}" for s in ("train", "test") for n in "12" for c in ("cat", "dog")]
    with pytest.raises(DataError, match="which of test_1, test_2 is for testing") as caught:
        read(place(pictures.many(*folders)))
    assert "merge the others" in caught.value.hint


@pytest.mark.parametrize("pattern", ["fold_{f}/{c}", "{c}/fold{f}", "data/fold {f}/{c}"])
def test_of_folds_that_are_parts_one_is_tested_on(
    pattern: str, pictures: Pictures, place: Place
) -> None:
    folders = [pattern.format(f=f, c=c) for f in (1, 2, 3) for c in ("cat", "dog")]
    files = pictures.many(*folders)
    path = place(files)
    candidates = asked(path, "split")
    assert len(candidates) == 4
    first, *_, holdout = candidates
    assert holdout == "holdout"
    found = came(read(path, settings={"split": first}), files)
    assert found["test"].keys() == {name for name in files if first in name.split("/")}
    assert found["train"].keys() == files.keys() - found["test"].keys()
    assert all(c in name for split in found.values() for name, c in split.items())
    assert len(read(path, settings={"split": "holdout"}).y_test) == 5


def test_folds_of_images_that_a_table_labels_are_tested_on_one_by_one(
    pictures: Pictures, place: Place
) -> None:
    files = pictures(*(f"fold{f}/{f}-{n}.png" for f in (1, 2) for n in range(6)))
    rows = [[name.rpartition("/")[2], "ab"[n % 2]] for n, name in enumerate(files)]
    path = place(files | {"labels.csv": table(["file", "label"], *rows)})
    assert list(asked(path, "split")) == ["fold1", "fold2", "holdout"]
    found = came(read(path, settings={"split": "fold2"}), files)
    assert found["test"].keys() == {name for name in files if name.startswith("fold2")}


def test_folds_that_hold_the_same_images_without_splits_are_refused(
    pictures: Pictures, place: Place
) -> None:
    with pytest.raises(DataError, match=r"hold the same images, such as fold1/cat/0\.png") as said:
        read(place(folds(pictures, "fold{f}/{c}/")))
    assert "train and test" in said.value.hint


def test_sites_that_hold_different_images_are_no_folds(pictures: Pictures, place: Place) -> None:
    folders = [f"{x}/{s}/{c}" for x in "AB" for s in ("train", "test") for c in ("cat", "dog")]
    files = pictures.many(*folders)
    path = place(files)
    assert set(asked(path, "labels_from")) == {"folders", "inner folders"}
    found = came(read(path, settings={"labels_from": "inner folders"}), files)
    assert all(f"/{split}/{c}/" in name for split in found for name, c in found[split].items())


def test_splits_in_folders_that_are_parts_are_no_classes(pictures: Pictures, place: Place) -> None:
    folders = [f"part{n}/{s}/{c}" for n in "12" for s in ("train", "test") for c in ("a", "b")]
    path = place(pictures.many(*folders))
    assert list(asked(path, "labels_from")) == ["inner folders"]


DOMAINS = [
    "{d}/images/{c}",  # Office-31
    "office/{d}/images/{c}",
    "PACS/{d}/{c}",
    "train/{d}/images/{c}",
]


@pytest.mark.parametrize("pattern", DOMAINS)
@pytest.mark.parametrize("stray", [False, True])
def test_folders_of_domains_are_a_question(
    pattern: str, stray: bool, pictures: Pictures, place: Place
) -> None:
    domains, classes = ("amazon", "dslr", "webcam"), ("bike", "mug")
    files = pictures.many(*(pattern.format(d=d, c=c) for d in domains for c in classes))
    top = pattern.partition("{d}")[0]
    more = pictures(*(f"{top}{d}/a.png" for d in domains[:2])) if stray else {}
    path = place(files | more)
    assert set(asked(path, "labels_from")) == {"folders", "inner folders"}
    outer = read(path, settings={"labels_from": "folders"})
    assert outer.class_names == domains
    if not stray:
        inner = read(path, settings={"labels_from": "inner folders"})
        assert inner.class_names == classes


def test_one_folder_such_as_images_in_each_class_is_looked_through(
    pictures: Pictures, place: Place
) -> None:
    assert read(place(pictures.many("cat/images", "dog/images"))).class_names == ("cat", "dog")


def test_a_domain_alone_is_a_wrapper(pictures: Pictures, place: Place) -> None:
    path = place(pictures.many("amazon/images/bike", "amazon/images/mug"))
    assert read(path).class_names == ("bike", "mug")
