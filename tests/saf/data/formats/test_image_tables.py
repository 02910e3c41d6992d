"""Tables beside images: which column names the files, and which holds the classes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from saf.data import read
from saf.errors import DataError
from tests.saf.data.pictures import Files, Pictures, asked, came, decided, table

Place = Callable[[Mapping[str, bytes]], Path]

SIGNS = ["Width", "Height", "Roi.X1", "Roi.Y1", "Roi.X2", "Roi.Y2", "ClassId", "Path"]
COUNT = 12
OTHER = [(n * 5 + 3) % COUNT for n in range(COUNT)]
"""The images in another order."""


def flat(pictures: Pictures) -> Files:
    return pictures(*(f"images/{n}.png" for n in range(COUNT)))


def labels(path: Path, files: Files, **settings: str) -> dict[str, str]:
    """The class of each file, whatever its split."""
    found = came(read(path, settings=settings), files)
    return {name.rpartition("/")[2]: c for split in found.values() for name, c in split.items()}


# --- test images in one folder, beside folders of classes ----------------------------------------


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


# --- which column names the files ----------------------------------------------------------------


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


# --- several rows for an image -------------------------------------------------------------------


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


# --- which columns hold classes ------------------------------------------------------------------


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


# --- tables as programs write them, and folders that they contradict -----------------------------


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
