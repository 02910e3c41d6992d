"""Lists of classes beside arrays name the classes, or it is told why they do not."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest

from saf.data import Dataset, read
from saf.errors import DataError
from tests.saf.data.image_files import decided

X = np.random.default_rng(0).integers(0, 256, (12, 8, 8), np.uint8)
Y = np.arange(12) % 3
TEXTS = np.array(["ant", "cat", "dog"])
Place = Callable[[Mapping[str, bytes]], Path]


def npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def arrays(labels: np.ndarray, name: str, text: str) -> dict[str, bytes]:
    files = {"x_train": X, "y_train": labels, "x_test": X[::-1], "y_test": labels[::-1]}
    return {f"{each}.npy": npy(array) for each, array in files.items()} | {name: text.encode()}


def classes_of(data: Dataset) -> list[str]:
    return [data.class_names[label] for label in data.y_train]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("classes.txt", "dog\ncat\nant\n"),
        ("labels.txt", "0 dog\n1 cat\n2 ant\n"),
        ("class_names.json", json.dumps(["dog", "cat", "ant"])),
        ("id2label.json", json.dumps({"2": "ant", "0": "dog", "1": "cat"})),
        ("class_indices.json", json.dumps({"ant": 2, "cat": 1, "dog": 0})),
    ],
)
def test_numbers_are_named_by_a_list_beside_them(name: str, text: str, place: Place) -> None:
    data = read(place(arrays(Y, name, text)))
    assert data.class_names == ("dog", "cat", "ant")
    assert np.array_equal(data.y_train, Y)
    assert decided(data)["names of classes"]
    assert data.skipped == ()


def test_texts_keep_their_samples_in_the_order_of_a_list(place: Place) -> None:
    data = read(place(arrays(TEXTS[Y], "classes.txt", "dog\nant\ncat")))
    assert data.class_names == ("dog", "ant", "cat")
    assert classes_of(data) == TEXTS[Y].tolist()


@pytest.mark.parametrize(
    "text", ["a\nb\n", "a\nb\nc\nd\n" * 4, "0\n1\n2\n" * 4, '{"a": "b"}', '["a", 1, 2]']
)
def test_a_list_that_does_not_fit_is_told(text: str, place: Place) -> None:
    data = read(place(arrays(Y, "labels.txt", text)))
    assert data.class_names == ("0", "1", "2")
    assert "not used: labels.txt" in decided(data)


def test_names_that_no_class_can_have_are_refused(place: Place) -> None:
    with pytest.raises(DataError, match="no text of 1 to 200 characters"):
        read(place(arrays(Y, "classes.txt", "a\nb\n" + "c" * 201)))


def test_a_list_of_json_names_classes_of_folders(
    place: Place, image_files: Callable[..., dict[str, bytes]]
) -> None:
    files = image_files("train/0", "train/1", "test/0", "test/1")
    data = read(
        place(files | {"cat_to_name.json": json.dumps({"0": "rose", "1": "iris"}).encode()})
    )
    assert data.class_names == ("rose", "iris")


def test_numbers_in_another_order_than_the_labels_are_refused(place: Place) -> None:
    with pytest.raises(DataError, match=r"classes\.txt lists the classes 2, 0, 1") as caught:
        read(place(arrays(Y, "classes.txt", "2\n0\n1\n")))
    assert "names into it that are no numbers" in caught.value.hint
    by_number = json.dumps({"0": "2", "1": "0", "2": "1"})
    with pytest.raises(DataError, match="is the label 0 the class 0, or is it called 2"):
        read(place(arrays(Y, "classes.json", by_number)))
    assert read(place(arrays(Y, "classes.txt", "0\n1\n2\n"))).class_names == ("0", "1", "2")
