"""Lists of classes beside images: their order and names are taken, or it is told why not."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from saf.data import Dataset, read
from saf.data.images.tables.class_lists import class_names, is_class_list
from saf.errors import DataError
from tests.saf.data.pictures import Pictures, came, table

Place = Callable[[Mapping[str, bytes]], Path]
Pack = Callable[[Mapping[str, bytes], str], Path]


def values(data: Dataset) -> list[str]:
    return [decision.value for decision in data.decisions]


@pytest.mark.parametrize(
    "file", ["classes.txt", "data/class_names.txt", "labels.txt", "classes.names", "class-list.lst"]
)
def test_lists_are_known_by_their_names(file: str) -> None:
    assert is_class_list(file)


@pytest.mark.parametrize(
    "said",
    [
        {"cat": {"id": 0}, "dog": {"id": 1}},
        [{"id": 0, "name": "cat"}, {"id": 1, "name": "dog"}],
        {"0": ["n01", "cat"], "1": ["n02", "dog"]},
        {"cat": 0, "dog": 0},
    ],
)
def test_json_of_another_kind_names_nothing(said: Any) -> None:
    """Its lines, "{" and the next ones, were taken for the names of classes 0, 1, …"""
    for text in (json.dumps(said), json.dumps(said, indent=1), json.dumps(said, indent=1)[:-1]):
        assert class_names(text, {"0", "1"}) is None


def test_names_under_one_key_of_json() -> None:
    found = class_names(json.dumps({"classes": ["cat", "dog"]}, indent=1), {"0", "1"})
    assert found is not None
    assert found.name_of == {"0": "cat", "1": "dog"}


@pytest.mark.parametrize("file", ["train_labels.txt", "classes.csv", "readme.txt", "obj.names"])
def test_other_files_are_no_lists(file: str) -> None:
    assert not is_class_list(file)


@pytest.mark.parametrize(
    "text",
    ["dog\ncat\nant\n", "0 dog\n1 cat\n2 ant", "dog,1\ncat,2\nant,3", "'dog'\nCat\ncow\nant"],
)
def test_the_order_of_a_list_that_names_all_classes_is_theirs(
    text: str, pictures: Pictures, place: Place
) -> None:
    files = pictures.many(*(f"{s}/{c}" for s in ("train", "test") for c in ("ant", "cat", "dog")))
    data = read(place(files | {"classes.txt": text.encode()}))
    assert data.class_names == ("dog", "cat", "ant")
    assert all(c in name for split in came(data, files).values() for name, c in split.items())
    assert "order of classes" in values(data)


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("dog\ncat\nant", 0),
        ("dog\ncat\nant", 1),
        ("7 dog\n8: cat\n9, ant", 7),
        ("dog=0\ncat=1\nant=2", 0),
    ],
)
def test_classes_that_are_numbers_are_named_by_a_list(
    text: str, first: int, pictures: Pictures, place: Place
) -> None:
    files = pictures.many(*(f"{n}" for n in range(first, first + 3)), count=5)
    data = read(place(files | {"labels.txt": text.encode()}))
    assert data.class_names == ("dog", "cat", "ant")
    names = {str(first + n): c for n, c in enumerate(data.class_names)}
    found = came(data, files)
    assert all(names[n.partition("/")[0]] == c for s in found.values() for n, c in s.items())
    assert "names of classes" in values(data)


@pytest.mark.parametrize("text", ["dog\ncow", "dog", "1\n2\n3", ""])
def test_a_list_that_does_not_fit_is_told(text: str, pictures: Pictures, place: Place) -> None:
    data = read(place(pictures.many("cat", "dog") | {"class_names.txt": text.encode()}))
    assert data.class_names == ("cat", "dog")
    assert "not used: class_names.txt" in values(data)


def test_numbers_that_may_count_from_0_or_from_1_are_named_by_no_list() -> None:
    assert class_names("a\nb\nc\nd", ["1", "2", "3"]) is None
    assert class_names("a\nb\nc\na", ["0", "3"]) is None
    found = class_names("a\nb\nc\nd", ["0", "2"])
    assert found is not None
    assert found.order == ("a", "c")


def test_lists_that_disagree_are_not_used(pictures: Pictures, place: Place) -> None:
    lists = {"classes.txt": b"dog\ncat\n", "labels.txt": b"cat\ndog\n"}
    data = read(place(pictures.many("cat", "dog") | lists))
    assert data.class_names == ("cat", "dog")
    assert "not used: classes.txt, labels.txt" in values(data)


def test_a_table_that_labels_images_is_no_list_of_classes(pictures: Pictures, place: Place) -> None:
    files = pictures(*(f"images/{n}.png" for n in range(10)))
    rows = [[name, "ab"[n % 2]] for n, name in enumerate(files)]
    data = read(place(files | {"labels.txt": table(["file", "label"], *rows)}))
    assert data.class_names == ("a", "b")
    assert not any("not used" in value for value in values(data))


def test_a_list_names_the_numbers_of_a_webdataset(pack: Pack, png: Callable[..., bytes]) -> None:
    x = np.random.default_rng(3).integers(0, 256, (12, 8, 8), np.uint8)
    files = {f"{n:02}.png": png(x[n]) for n in range(12)}
    files |= {f"{n:02}.cls": str(n % 3).encode() for n in range(12)}
    data = read(pack(files | {"classes.txt": b"dog\ncat\nant\n"}, "tar"))
    assert data.class_names == ("dog", "cat", "ant")
    number_of = {image.tobytes(): n for n, image in enumerate(x)}
    assert [number_of[image.tobytes()] % 3 for image in data.x_train] == data.y_train.tolist()


def test_identifiers_of_wordnet_are_named_by_the_lists_of_imagenet() -> None:
    text = "n01440764 tench, Tinca tinca\nn02012849 crane\nn03126707 crane\nn03710637 maillot\n"
    for file in ("LOC_synset_mapping.txt", "data/synset_words.txt"):
        assert is_class_list(file)
    found = class_names(text, {"n03126707", "n01440764", "n02012849"})
    assert found is not None
    assert found.order == ("tench, Tinca tinca", "crane (n02012849)", "crane (n03126707)")
    assert found.name_of["n03126707"] == "crane (n03126707)"
    assert class_names(text, {"n01440764", "n99999999"}) is None


def test_a_list_that_has_both_spellings_orders_them_always_alike() -> None:
    found = class_names("cat\ndog\nCat\n", {"Cat", "dog", "cat"})
    assert found is not None
    assert found.order == ("cat", "dog", "Cat")


def test_numbers_in_another_order_keep_the_names_of_folders_alone(
    pictures: Pictures, place: Place
) -> None:
    files = pictures.many("0", "1", "2")
    data = read(place(files | {"classes.txt": b"2\n0\n1\n"}))
    assert data.class_names == ("2", "0", "1")
    assert {n[0]: c for split in came(data, files).values() for n, c in split.items()} == {
        "0": "0", "1": "1", "2": "2",
    }  # fmt: skip
    flat = {name.replace("/", "_"): blob for name, blob in files.items()}
    labels = table(["file_name", "label"], *([name, name[0]] for name in flat))
    with pytest.raises(DataError, match="is the label 0 the class 0, or is it called 2") as caught:
        read(place(flat | {"labels.csv": labels, "classes.txt": b"2\n0\n1\n"}))
    assert "Leave classes.txt out" in caught.value.hint
