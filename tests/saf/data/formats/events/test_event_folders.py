"""Folders of recordings: what is no class and no split is not taken for one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from saf.data import read
from saf.data.formats.format import NeedsChoiceError
from saf.errors import DataError
from tests.saf.data.recordings import at, class_folders, structured

Pack = Callable[[Mapping[str, bytes], str], Path]


def below(pattern: str, *names: str) -> dict[str, bytes]:
    """Recordings of two classes and two splits, once for each name."""
    files = {}
    for path, content in class_folders(structured, "npy").items():
        split, c, file = path.split("/")[-3:]
        for name in names:
            files[f"{pattern.format(n=name, s=split, c=c)}/{file}"] = content
    return files


@pytest.mark.parametrize("pattern", ["{n}/{s}/{c}", "{s}/{n}/{c}", "{c}/{n}", "{n}/{c}"])
def test_folds_of_recordings_are_refused(pattern: str, pack: Pack) -> None:
    with pytest.raises(DataError, match="fold_1, fold_2 are folds of a cross-validation") as caught:
        read(pack(below(pattern, "fold_1", "fold_2"), "zip"))
    assert "Send one fold" in caught.value.hint
    assert read(pack(below("{n}/{s}/{c}", "fold_1"), "zip")).class_names == ("cat", "dog")


def test_numbered_splits_of_recordings_are_refused(pack: Pack) -> None:
    with pytest.raises(DataError, match="test_1, test_2, train_1, train_2 are folds"):
        read(pack(below("{s}_{n}/{c}", "1", "2"), "zip"))
    assert read(pack(below("{s}_{n}/{c}", "1"), "zip")).class_names == ("cat", "dog")


@pytest.mark.parametrize("pattern", ["{s}/{c}/{n}", "{s}/{n}/{c}", "{n}/{s}/{c}", "{c}/{n}"])
def test_two_levels_of_folders_that_may_both_be_the_classes_are_refused(
    pattern: str, pack: Pack
) -> None:
    with pytest.raises(DataError, match="which folders are the classes, ") as caught:
        read(pack(below(pattern, "ann", "bob"), "zip"))
    assert "Leave one level of folders" in caught.value.hint


def test_parts_and_wrappers_are_looked_through(pack: Pack) -> None:
    for names in (("part_1", "part_2"), ("all",)):
        assert read(pack(below("{s}/{n}/{c}", *names), "zip")).class_names == ("cat", "dog")


def test_names_of_files_that_say_a_split_are_a_question(pack: Pack) -> None:
    """Else some of what was published for testing would be trained on, untold."""
    files = {
        f"{c}/{name}.npy": structured(at(n, row))
        for n, c in enumerate(("cat", "dog"))
        for row, name in enumerate(("train_0", "train_1", "train_2", "test_0", "test_1"))
    }
    path = pack(files, "zip")
    with pytest.raises(NeedsChoiceError, match="The names of the files say a split") as caught:
        read(path)
    (question,) = caught.value.questions
    assert [candidate.value for candidate in question.candidates] == ["names", "holdout"]
    assert "6 train, 0 val, 4 test" in question.candidates[0].means
    data = read(path, settings={"split": "names"})
    assert (len(data.y_train), len(data.y_test)) == (6, 4)
    assert len(read(path, settings={"split": "holdout"}).y_test) == 2
    with pytest.raises(DataError, match=r"cannot be 'test\.txt'"):
        read(path, settings={"split": "test.txt"})
    some = {name.replace("test_", "x_"): blob for name, blob in files.items()}
    assert len(read(pack(some, "tar")).y_test) == 2
    placed = {f"{split}/{name}": blob for split in ("train", "test") for name, blob in some.items()}
    with pytest.raises(DataError, match="in folders of splits cannot be"):
        read(pack(placed, "zip"), settings={"split": "names"})
