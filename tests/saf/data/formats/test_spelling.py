"""Names of classes that are spelled in several ways: in folders, tables, arrays and recordings."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest

from saf.data import read
from saf.data.formats.format import NeedsChoiceError
from tests.saf.data.pictures import Pictures, table
from tests.saf.data.recordings import at, structured

Place = Callable[[Mapping[str, bytes]], Path]
Pack = Callable[[Mapping[str, bytes], str], Path]
Npz = Callable[..., Path]
KEPT = ("Cat", "cat", "dog")


def of_folders(names: list[str], pictures: Pictures, place: Place) -> Path:
    return place(pictures.many(*names))


def of_table(names: list[str], pictures: Pictures, place: Place) -> Path:
    files = pictures(*(f"{n}.png" for n in range(4 * len(names))))
    rows = [[file, names[n // 4]] for n, file in enumerate(files)]
    return place(files | {"labels.csv": table(["file_name", "label"], *rows)})


@pytest.mark.parametrize("way", [of_folders, of_table])
def test_names_of_images_that_differ_in_case_are_a_question(
    way: Callable[..., Path], pictures: Pictures, place: Place
) -> None:
    path = way(["cat", "Cat", "dog"], pictures, place)
    with pytest.raises(NeedsChoiceError, match=r"one class\? Cat \(4\) and cat \(4\)") as caught:
        read(path)
    (question,) = caught.value.questions
    assert (question.setting, len(question.candidates)) == ("class_case", 2)
    assert read(path, settings={"class_case": "keep"}).class_names == KEPT
    assert read(path, settings={"class_case": "ignore"}).class_names == ("cat", "dog")


def test_a_list_that_has_both_spellings_says_that_they_are_two(
    pictures: Pictures, place: Place
) -> None:
    files = pictures.many("cat", "Cat", "dog") | {"classes.txt": b"dog\ncat\nCat\n"}
    assert read(place(files)).class_names == ("dog", "cat", "Cat")


def test_texts_that_label_arrays(npz: Npz) -> None:
    few = np.array(["cat", "dog"] * 2)
    many = np.array(["cat", "Cat", "dog", "cat"] * 2)
    path = npz(y_train=many, y_test=few)
    with pytest.raises(NeedsChoiceError, match=r"Cat \(2\) and cat \(4\)"):
        read(path)
    assert read(path, settings={"class_case": "keep"}).class_names == KEPT
    data = read(path, settings={"class_case": "ignore"})
    assert data.class_names == ("cat", "dog")
    assert data.y_train.tolist() == [0, 0, 1, 0] * 2
    assert any("as was said, in case" in decision.why for decision in data.decisions)


def test_texts_that_differ_in_spaces_or_unicode_form_are_one_class(npz: Npz) -> None:
    apart = unicodedata.normalize("NFD", "Äpfel")
    many = np.array(["Äpfel", apart, " dog", "dog", "dog\u00a0", "Äpfel ", "hot  dog", "hot dog"])
    data = read(npz(y_train=many, y_test=np.array(["dog", "HOT DOG", "äpfel", "dog"])))
    assert data.class_names == ("dog", "hot dog", "Äpfel")
    assert data.y_train.tolist() == [2, 2, 0, 0, 0, 2, 1, 1]
    assert data.y_test.tolist() == [0, 1, 2, 0]
    assert any("differ in Unicode form" in decision.why for decision in data.decisions)


def test_letters_of_both_cases_in_arrays_are_classes(npz: Npz) -> None:
    data = read(npz(y_train=np.array(["a", "A"] * 4), y_test=np.array(["a", "A"] * 2)))
    assert data.class_names == ("A", "a")
    assert any("differ in case alone" in decision.why for decision in data.decisions)


def test_names_that_were_given_as_such_are_kept(npz: Npz) -> None:
    data = read(npz(class_names=np.array(["cat", "Cat"])))
    assert data.class_names == ("cat", "Cat")


def test_folders_of_recordings(pack: Pack) -> None:
    some = {
        f"{split}/{c}/{n}.npy": structured(at(n, 1))
        for split in ("train", "test")
        for n, c in enumerate(("cat", "Cat", "dog"))
    }
    path = pack(some, "zip")
    with pytest.raises(NeedsChoiceError, match="Are names of classes that differ in case alone"):
        read(path)
    assert read(path, settings={"class_case": "keep"}).class_names == KEPT
    assert read(path, settings={"class_case": "ignore"}).class_names == ("cat", "dog")
