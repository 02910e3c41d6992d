"""Tables beside images: which column names the files, and which holds the classes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

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
SIGNS = ["Width", "Height", "Roi.X1", "Roi.Y1", "Roi.X2", "Roi.Y2", "ClassId", "Path"]
OTHER = [(n * 5 + 3) % COUNT for n in range(COUNT)]
"""The images in another order."""


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("with_train", [False, True])
def test_traffic_signs_have_their_class_and_not_the_corner_of_a_box(
    padded: bool, with_train: bool, pictures: Pictures, place: Place
) -> None:
    train = {c: f"{c:05}" if padded else str(c) for c in range(COUNT)}
    files = pictures(*(f"Train/{name}/{c}_{n}.png" for c, name in train.items() for n in range(2)))
    files |= pictures(*(f"Test/{n:05}.png" for n in range(COUNT)))
    rows = [[53, 54, 5 + n % 3, 5, 9, 9, n, f"Test/{n:05}.png"] for n in range(COUNT)]
    tables = {"Test.csv": table(SIGNS, *rows)}
    if with_train:
        again = [
            [53, 54, 5, 5 + n, 9, 9, c, f"Train/{name}/{c}_{n}.png"]
            for c, name in train.items()
            for n in range(2)
        ]
        tables["Train.csv"] = table(SIGNS, *again)
    data = read(place(files | tables))
    found = came(data, files)
    assert found["test"] == {f"Test/{n:05}.png": train[n] for n in range(COUNT)}
    assert decided(data, "labels_from") == "Test.csv:ClassId"


def test_a_column_of_labels_that_contradicts_the_folders_is_refused(
    pictures: Pictures, place: Place
) -> None:
    files = pictures.many("train/0", "train/1", "train/2", "test", count=6)
    head = ["file", "label"]
    tables = {
        "train.csv": table(
            head, *[[f"train/{c}/{n}.png", (c + 1) % 3] for c in range(3) for n in range(6)]
        ),
        "test.csv": table(head, *[[f"test/{n}.png", n % 3] for n in range(6)]),
    }
    with pytest.raises(DataError, match=r"test.csv: the column 'label' says other classes"):
        read(place(files | tables))


def test_a_test_image_of_two_classes_is_refused(pictures: Pictures, place: Place) -> None:
    files = pictures.many("train/a", "train/b", "test", count=6)
    rows = [[f"test/{n}.png", "ab"[n % 2]] for n in range(6)]
    once = {"test.csv": table(["file", "label"], *rows, ["test/3.png", "a"])}
    twice = {
        "one.csv": table(["file", "label"], *rows),
        "two.csv": table(["file", "label"], *rows[:3], ["test/3.png", "a"]),
    }
    for tables in (once, twice):
        with pytest.raises(DataError, match=r"test/3.png has two classes, 'b' and 'a'"):
            read(place(files | tables))


@pytest.mark.parametrize("index", ["", "Unnamed: 0", "index", "id", "ID", "row"])
@pytest.mark.parametrize("name", ["filename", "path", "image", "something"])
@pytest.mark.parametrize("ending", [".png", ".jpg"])
def test_the_number_of_a_row_names_no_file_where_a_column_does(
    index: str, name: str, ending: str, pictures: Pictures, place: Place
) -> None:
    files = flat(pictures)
    rows = [[n, f"{OTHER[n]}{ending}", "ab"[OTHER[n] % 2]] for n in range(COUNT)]
    path = place(files | {"labels.csv": table([index, name, "label"], *rows)})
    assert labels(path, files) == {f"{n}.png": "ab"[n % 2] for n in range(COUNT)}


def test_of_names_without_endings_the_heading_decides(pictures: Pictures, place: Place) -> None:
    files = flat(pictures)
    rows = [[n, OTHER[n], "ab"[OTHER[n] % 2]] for n in range(COUNT)]
    for head in (["", "image_id", "label"], ["index", "id", "label"], ["id", "image", "label"]):
        path = place(files | {"labels.csv": table(head, *rows)})
        assert labels(path, files) == {f"{n}.png": "ab"[n % 2] for n in range(COUNT)}


def test_the_number_of_a_row_is_no_name_beside_names_of_files_that_are_not_here(
    pictures: Pictures, place: Place
) -> None:
    files = flat(pictures)
    rows = [[n, f"IMG_{n}.png", "ab"[n % 2]] for n in range(COUNT)]
    with pytest.raises(DataError, match="says no classes"):
        read(place(files | {"labels.csv": table(["", "filename", "label"], *rows)}))
    ids = [[n, f"http://example.org/IMG_{n}.png", "ab"[n % 2]] for n in range(COUNT)]
    path = place(files | {"labels.csv": table(["id", "url", "label"], *ids)})
    assert len(labels(path, files)) == COUNT


def test_masks_name_no_samples_and_two_images_in_a_row_are_told(
    pictures: Pictures, place: Place
) -> None:
    files = flat(pictures)
    rows = [[f"{n}.png", f"{OTHER[n]}.png", "ab"[n % 2]] for n in range(COUNT)]
    path = place(files | {"labels.csv": table(["image", "mask", "label"], *rows)})
    assert labels(path, files) == {f"{n}.png": "ab"[n % 2] for n in range(COUNT)}
    for head in (["image", "image", "label"], ["left", "right", "label"]):
        with pytest.raises(DataError, match="name different images in one row"):
            read(place(files | {"labels.csv": table(head, *rows)}))


def test_an_image_with_two_classes_is_refused_and_one_that_is_listed_twice_is_not(
    pictures: Pictures, place: Place
) -> None:
    files = flat(pictures)
    rows = [[f"{n}.png", "ab"[n % 2]] for n in range(COUNT)]
    path = place(files | {"labels.csv": table(["file", "label"], *rows, rows[0])})
    assert len(labels(path, files)) == COUNT
    with pytest.raises(DataError, match=r"0.png has two classes, 'a' and 'b', in labels.csv:label"):
        read(place(files | {"labels.csv": table(["file", "label"], *rows, ["0.png", "b"])}))
    tables = {
        "train.csv": table(["file", "label"], *rows[:8]),
        "test.csv": table(["file", "label"], *rows[8:], ["3.png", "a"]),
    }
    with pytest.raises(DataError, match=r"'b' and 'a', in train.csv:label and in test.csv:label"):
        read(place(files | tables))


@pytest.mark.parametrize(
    "head",
    [
        ["filename", "width", "height", "class", "xmin", "ymin", "xmax", "ymax"],
        ["ImageID", "Confidence", "z", "LabelName", "XMin", "XMax", "YMin", "YMax"],
        ["image", "x1", "y1", "label", "x2", "y2", "a", "b"],
        ["image", "bbox_x", "bbox_y", "label", "bbox_width", "bbox_height", "a", "b"],
    ],
)
def test_rows_of_boxes_are_object_detection(
    head: list[str], pictures: Pictures, place: Place
) -> None:
    rows = [[f"{n}.png", 8, 8, "ab"[(n + k) % 2], 1, 2, 3, 4] for n in range(12) for k in (0, 1)]
    with pytest.raises(DataError, match="is for object detection") as caught:
        read(place(flat(pictures) | {"labels.csv": table(head, *rows)}))
    assert "folder for each class" in caught.value.hint


def test_one_box_an_image_is_a_class(pictures: Pictures, place: Place) -> None:
    files = flat(pictures)
    rows = [[f"{n}.png", 8, 8, "ab"[n % 2], n % 3, 2, 3, 4] for n in range(COUNT)]
    head = ["fname", "bbox_x1", "bbox_y1", "class", "bbox_x2", "bbox_y2", "w", "h"]
    path = place(files | {"cars.csv": table(head, *rows)})
    assert labels(path, files) == {f"{n}.png": "ab"[n % 2] for n in range(COUNT)}


def test_an_image_for_training_and_testing_is_tested_on(pictures: Pictures, place: Place) -> None:
    files = flat(pictures)
    rows = [[f"{n}.png", "ab"[n % 2]] for n in range(COUNT)]
    tables = {
        "train.csv": table(["file", "label"], *rows[:9]),
        "test.csv": table(["file", "label"], *rows[8:]),
    }
    data = read(place(files | tables))
    assert len(came(data, files)["test"]) == 4
    assert any(
        "1 images, such as images/8.png, are listed for training" in d.why for d in data.decisions
    )


@pytest.mark.parametrize(
    "prefix",
    ["/kaggle/input/x/", "C:\\Users\\me\\data\\", "../data/", "gs://no/", "https://a.org/"],
)
@pytest.mark.parametrize("folder", ["", "all/"])
def test_paths_of_another_machine_are_those_of_the_images(
    prefix: str, folder: str, pictures: Pictures, place: Place
) -> None:
    files = pictures(*(f"{folder}{n}.png" for n in range(COUNT)))
    between = "\\" if "\\" in prefix else "/"
    said = [f"{prefix}{name.replace('/', between)}" for name in files]
    rows = [[name, "ab"[n % 2]] for n, name in enumerate(said)]
    path = place(files | {"labels.csv": table(["path", "label"], *rows)})
    if "://" in prefix:
        with pytest.raises(DataError, match=r"labels.csv: it names no image that is here"):
            read(path)
    else:
        assert labels(path, files) == {f"{n}.png": "ab"[n % 2] for n in range(COUNT)}


def test_paths_of_another_split_are_not_those_of_the_images(
    pictures: Pictures, place: Place
) -> None:
    files = pictures(*(f"train/{n}.png" for n in range(COUNT)))
    rows = [[f"/data/test/{n}.png", "ab"[n % 2]] for n in range(COUNT)]
    with pytest.raises(DataError, match=r"its first row is '/data/test/0.png, a'"):
        read(place(files | {"labels.csv": table(["path", "label"], *rows)}))


def test_ids_that_lost_their_zeros_are_told(pictures: Pictures, place: Place) -> None:
    files = pictures(*(f"images/{n:05}.png" for n in range(COUNT)))
    rows = [[n, "ab"[n % 2]] for n in range(COUNT)]
    with pytest.raises(DataError, match=r"labels.csv: it names no image .* row is '0, a'"):
        read(place(files | {"labels.csv": table(["id", "label"], *rows)}))


@pytest.mark.parametrize(
    ("before", "mark"),
    [
        ("# made by hand\n# twice\n", ","),
        ("sep=;\n", ";"),
        ("sep=;\r\n", ";"),
        ("#file,label\n", ""),
    ],
)
def test_lines_before_a_table_are_no_headings(
    before: str, mark: str, pictures: Pictures, place: Place
) -> None:
    files = flat(pictures)
    rows = [[f"{n}.png", n % 3, "ab"[n % 2]] for n in range(COUNT)]
    if mark:
        content = before.encode() + table(["file", "part", "label"], *rows, mark=mark)
    else:
        content = before.encode() + table(None, *[[row[0], row[2]] for row in rows])
    path = place(files | {"labels.csv": content})
    assert labels(path, files) == {f"{n}.png": "ab"[n % 2] for n in range(COUNT)}


def test_numbers_and_gaps_as_pandas_writes_them_are_one_class_and_none(
    pictures: Pictures, place: Place
) -> None:
    files = flat(pictures)
    tables = {
        "train.csv": table(["file", "label"], *[[f"{n}.png", n % 2] for n in range(6)]),
        "test.csv": table(
            ["file", "label"],
            *[[f"{n}.png", f"{n % 2}.0" if n < 10 else "NaN"] for n in range(6, COUNT)],
        ),
    }
    data = read(place(files | tables))
    assert data.class_names == ("0", "1")
    assert (len(data.y_train), len(data.y_test), len(data.skipped)) == (6, 4, 2)


def test_columns_of_classes_in_a_table_for_each_split_are_read(
    pictures: Pictures, place: Place
) -> None:
    files = pictures.many("train", "valid", count=6)
    tables = {
        f"{split}/_classes.csv": table(
            ["filename", " cat", " dog"], *[[f"{n}.png", n % 2, 1 - n % 2] for n in range(6)]
        )
        for split in ("train", "valid")
    }
    found = came(read(place(files | tables)), files)
    assert found["test"] == {f"valid/{n}.png": ["dog", "cat"][n % 2] for n in range(6)}
    assert len(found["train"]) == 6


def test_tables_with_the_same_headings_for_different_images_are_one(
    pictures: Pictures, place: Place
) -> None:
    files = flat(pictures)
    tables = {
        f"{c}.csv": table(["file", "label"], *[[f"{n}.png", c] for n in range(COUNT) if n % 2 == k])
        for k, c in enumerate("ab")
    }
    assert labels(place(files | tables), files) == {f"{n}.png": "ab"[n % 2] for n in range(COUNT)}


def test_labels_that_contradict_folders_are_a_question(pictures: Pictures, place: Place) -> None:
    files = pictures.many("site 1", "site 2", count=6)
    rows = [[name, "ab"[n % 2]] for n, name in enumerate(files)]
    path = place(files | {"labels.csv": table(["file", "label"], *rows)})
    assert set(asked(path, "labels_from")) == {"labels.csv:label", "folders"}
    assert read(path, settings={"labels_from": "labels.csv:label"}).class_names == ("a", "b")
    other_names = [[name, int("2" in name.split("/")[0])] for name in files]
    data = read(place(files | {"labels.csv": table(["file", "label"], *other_names)}))
    assert data.class_names == ("site 1", "site 2")
    boxes = [[name, c] for name in files for c in "ab"]
    assert read(place(files | {"boxes.csv": table(["file", "label"], *boxes)})).classes == 2


def test_numbers_of_classes_that_are_no_folder_are_refused_and_placeholders_left_out(
    pictures: Pictures, place: Place
) -> None:
    files = pictures.many(*(f"train/{c}" for c in range(1, 31)), count=1)
    files |= pictures(*(f"test/t{n}.png" for n in range(30)))
    shifted = [[f"t{n}", n] for n in range(30)]
    with pytest.raises(DataError, match="the column 'label' says '0', and no folder"):
        read(place(files | {"test.csv": table(["id", "label"], *shifted)}))
    more = pictures.many("train/a", "train/0", count=5)
    more |= pictures(*(f"test/t{n}.png" for n in range(30)))
    placeholders = [[f"t{n}", 0] for n in range(30)]
    data = read(place(more | {"test.csv": table(["id", "label"], *placeholders)}))
    assert len(data.skipped) == 30


def test_files_in_folders_of_classes_that_are_no_images_are_told(
    pictures: Pictures, place: Place
) -> None:
    files = pictures.many("cat", "dog")
    notes = {"cat/README": b"", "dog/notes.txt": b"", "LICENSE": b"", "dog/0.xml": b""}
    others = {"cat/a.mp4": b"", "dog/without ending": b"", "dog/4.png?w=300": b""}
    data = read(place(files | notes | others))
    assert data.skipped == tuple(f"{name}: it is named as no image is" for name in sorted(others))
    assert any("3 files, such as cat/a.mp4" in each.why for each in data.decisions)
