"""Labels of images that lie in no folders of classes: from tables, and from names of files."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

import pytest

from saf.data import read
from saf.errors import DataError
from tests.saf.data.pictures import Pictures, asked, came, decided, table

Place = Callable[[Mapping[str, bytes]], Path]


def test_flat_images_without_a_word_of_classes_say_how_to_label_them(
    pictures: Pictures, place: Place
) -> None:
    with pytest.raises(DataError, match="no folder says their classes") as caught:
        read(place(pictures(*(f"{n}.png" for n in range(6)))))
    assert "labels.csv" in caught.value.hint


def test_classes_in_file_names_are_a_question_with_a_picture(
    pictures: Pictures, place: Place
) -> None:
    trained = [f"train/{c}.{n}.png" for c in ("cat", "dog") for n in range(5)]
    files = pictures(*trained, *(f"test/{n}.png" for n in range(4)))
    candidates = asked(place(files), "labels_from")
    assert set(candidates) == {"names"}
    assert "cat (5), dog (5)" in candidates["names"].means
    assert candidates["names"].picture
    data = read(place(files), settings={"labels_from": "names"})
    found = came(data, files)
    assert found["train"] | found["test"] == {n: n.split("/")[1].split(".")[0] for n in trained}
    assert len(data.skipped) == 4
    assert all("nothing says the class" in each for each in data.skipped)


@pytest.mark.parametrize(
    ("pattern", "classes"),
    [
        ("{}_{}", ("Abyssinian", "american_bulldog")),
        ("{} ({})", ("Rust", "Leaf spot")),
        ("{1:04}_{0}", ("cat", "dog")),
        ("{}{}", ("happy", "sad")),
    ],
)
def test_names_around_numbers_say_classes(
    pattern: str, classes: tuple[str, ...], pictures: Pictures, place: Place
) -> None:
    files = pictures(*(pattern.format(c, n) + ".png" for c in classes for n in range(5)))
    data = read(place(files), settings={"labels_from": "names"})
    assert set(data.class_names) == set(classes)


IDS = [f"{n:08x}" for n in range(12)]
KAGGLE = {
    "cassava": ("train_images/{}.png", "train.csv", ["image_id", "label"], "{}.png"),
    "dog breeds": ("train/{}.png", "labels.csv", ["id", "breed"], "{}"),
    "cifar-10": ("train/{}.png", "trainLabels.csv", ["id", "label"], "{}"),
    "hub": ("train/{}.png", "train/metadata.csv", ["file_name", "label"], "{}.png"),
    "paths": ("a/images/{}.png", "a/list.csv", ["path", "target"], "images/{}.png"),
    "windows": ("images/{}.png", "x.csv", ["Path", "Class"], ".\\images\\{}.png"),
    "semicolons": ("{}.png", "gt.csv", ["Filename", "ClassId"], "{}.png"),
    "tabs": ("images/{}.png", "labels.tsv", ["image", "category"], "{}.png"),
    "no headings": ("images/{}.png", "labels.txt", None, "{}.png"),
    "other ending": ("images/{}.png", "t.csv", ["image", "diagnosis"], "{}.jpg"),
}


@pytest.mark.parametrize("case", KAGGLE)
def test_a_table_labels_images_by_name_path_or_id(
    case: str, pictures: Pictures, place: Place
) -> None:
    where, name, head, said = KAGGLE[case]
    ids = [str(n) for n in range(1, 13)] if case == "cifar-10" else IDS
    files = pictures(*(where.format(i) for i in ids), *(f"test/{i}x.png" for i in ids[:3]))
    rows = [[said.format(i), f"kind {n % 3}"] for n, i in enumerate(ids)]
    mark = {"semicolons": ";", "tabs": "\t", "no headings": "\t"}.get(case, ",")
    submission = table(head or ["id", "label"], ["x", 0], ["y", 1])
    path = place(files | {name: table(head, *rows, mark=mark), "sample_submission.csv": submission})
    data = read(path)
    found = came(data, files)
    expected = {where.format(i): f"kind {n % 3}" for n, i in enumerate(ids)}
    assert found["train"] | found["test"] == expected
    assert decided(data, "split") == "holdout"
    assert len(data.skipped) == 3
    assert name in decided(data, "labels_from")


def test_json_lines_of_the_hub_label_images(pictures: Pictures, place: Place) -> None:
    files = pictures(*(f"{s}/{i}.png" for s in ("train", "test") for i in IDS))
    lines = {
        f"{split}/metadata.jsonl": "\n".join(
            json.dumps({"file_name": f"{i}.png", "label": n % 2, "text": f"words {i}"})
            for n, i in enumerate(IDS)
        ).encode()
        for split in ("train", "test")
    }
    found = came(read(place(files | lines)), files)
    assert found["train"] == {f"train/{i}.png": str(n % 2) for n, i in enumerate(IDS)}
    assert found["test"] == {f"test/{i}.png": str(n % 2) for n, i in enumerate(IDS)}


def test_captions_are_no_classes(pictures: Pictures, place: Place) -> None:
    files = pictures(*(f"train/{i}.png" for i in IDS))
    captions = table(["file_name", "text"], *[[f"{i}.png", f"a picture of {i}"] for i in IDS])
    with pytest.raises(DataError, match="says no classes"):
        read(place(files | {"train/metadata.csv": captions}))


def test_several_columns_that_may_hold_classes_are_a_question(
    pictures: Pictures, place: Place
) -> None:
    files = pictures(*(f"images_part_{1 + n % 2}/{i}.png" for n, i in enumerate(IDS)))
    head = ["lesion_id", "image_id", "localization", "sex", "age", "dx_type"]
    rows = [
        [f"L{i}", i, f"place {n % 3}", "mf"[n % 2], 30 + n % 4, "ab"[n % 5 == 0]]
        for n, i in enumerate(IDS)
    ]
    path = place(files | {"metadata.csv": table(head, *rows)})
    candidates = asked(path, "labels_from")
    assert set(candidates) == {
        f"metadata.csv:{c}" for c in ("localization", "sex", "age", "dx_type")
    }
    assert all(candidate.picture for candidate in candidates.values())
    data = read(path, settings={"labels_from": "metadata.csv:sex"})
    assert data.class_names == ("f", "m")
    with pytest.raises(DataError, match=r"which column of metadata.csv") as caught:
        read(path, settings={"labels_from": "metadata.csv"})
    assert "localization" in str(caught.value)
    with pytest.raises(DataError, match=r"holds no file 'labels.csv'"):
        read(path, settings={"labels_from": "labels.csv:sex"})


def test_of_two_columns_that_say_the_same_the_words_are_taken(
    pictures: Pictures, place: Place
) -> None:
    files = pictures(*(f"train/{i}.png" for i in IDS))
    rows = [[n % 2, f"{i}.png", ["owl", "elk"][n % 2]] for n, i in enumerate(IDS)]
    data = read(place(files | {"birds.csv": table(["class id", "filepaths", "labels"], *rows)}))
    assert data.class_names == ("elk", "owl")


def test_a_column_for_each_class_labels_images(pictures: Pictures, place: Place) -> None:
    files = pictures(*(f"ISIC2018_Input/{i}.png" for i in IDS))
    rows = [[i, float(n % 3 == 0), float(n % 3 == 1), float(n % 3 == 2)] for n, i in enumerate(IDS)]
    truth = {"GroundTruth.csv": table(["image", "MEL", "NV", "BCC"], *rows)}
    data = read(place(files | truth))
    assert data.class_names == ("BCC", "MEL", "NV")
    found = came(data, files)
    assert (found["train"] | found["test"])[f"ISIC2018_Input/{IDS[1]}.png"] == "NV"


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_names_in_another_unicode_form_than_in_tables_and_settings_are_found(
    form: Literal["NFC", "NFD"], pictures: Pictures, place: Place
) -> None:
    other: Literal["NFC", "NFD"] = "NFD" if form == "NFC" else "NFC"

    def here(text: str) -> str:
        return unicodedata.normalize(form, text)

    def there(text: str) -> str:
        return unicodedata.normalize(other, text)

    files = pictures(*(here(f"bilder/Fräulein Ö{n}.png") for n in range(10)))
    rows = [[there(name), "ab"[n % 2]] for n, name in enumerate(files)]
    path = place(files | {here("schön.csv"): table(["file", "Ä"], *rows)})
    found = came(read(path, settings={"labels_from": there("schön.csv:Ä")}), files)
    assert found["train"] | found["test"] == {n: "ab"[i % 2] for i, n in enumerate(files)}
    lists = {
        here(f"{split}_größe.txt"): "\n".join(there(n) for n in list(files)[own]).encode()
        for split, own in (("train", slice(0, 6)), ("test", slice(6, 10)))
    }
    data = read(
        place(files | lists | {"l.csv": table(["file", "label"], *rows)}),
        settings={"split": there("train_größe.txt")},
    )
    assert len(data.y_test) == 4


@pytest.mark.parametrize(
    ("head", "values"),
    [
        ("tags", ["clear primary", "haze primary", "clear water primary", "haze water", "clear"]),
        ("labels", ["a|b", "b|c", "a|c", "a|b|c"]),
        ("age", [str(number) for number in range(21, 45)]),
    ],
)
def test_values_that_are_no_single_class_are_a_question(
    head: str, values: list[str], pictures: Pictures, place: Place
) -> None:
    names = [f"images/{n:03}.png" for n in range(3 * len(values))]
    rows = [[name, values[n % len(values)]] for n, name in enumerate(names)]
    path = place(pictures(*names) | {"train.csv": table(["image", head], *rows)})
    assert set(asked(path, "labels_from")) == {f"train.csv:{head}"}
    data = read(path, settings={"labels_from": f"train.csv:{head}"})
    assert data.classes == len(values)
