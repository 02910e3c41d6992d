"""Folders of recordings: what is no class and no split is not taken for one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from saf.data import read
from saf.errors import DataError
from tests.saf.data.recordings import class_folders, structured

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
