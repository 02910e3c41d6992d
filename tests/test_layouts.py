"""The tables of layouts in docs/datasets.md say what comes of each, as it is read here."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.data.layouts.__main__ import DOCUMENT, GROUPS, outcome, stored, written
from benchmarks.data.layouts.others import A, B, X, Y, arrays
from benchmarks.data.layouts.parts import Layout, kind, many
from benchmarks.data.layouts.shown import check
from benchmarks.data.layouts.tables import labelled, png, split_of
from saf.data import read


@pytest.mark.slow
def test_the_tables_of_the_document_are_those_that_the_layouts_make() -> None:
    document = stored(DOCUMENT.read_text(encoding="utf-8"))
    # Else: python -m benchmarks.data.layouts
    assert document.splitlines() == written().splitlines()


def test_there_are_many_layouts_of_each_kind_of_answer() -> None:
    lines = stored(DOCUMENT.read_text(encoding="utf-8")).splitlines()
    assert sum(map(len, GROUPS.values())) >= 80
    for answer in ("**read**", "**needs a choice**", "**refused**"):
        assert sum(answer in line for line in lines) >= 15, answer


Spoil = Callable[[Path], object]


def wrong_labels(root: Path) -> None:
    (root / "train" / "cat").rename(root / "other")
    (root / "train" / "dog").rename(root / "train" / "cat")
    (root / "other").rename(root / "train" / "dog")


def wrong_split(root: Path) -> None:
    (root / "train" / "cat" / "0.png").rename(root / "test" / "cat" / "9.png")


def in_both_splits(root: Path) -> None:
    shutil.copy(root / "test" / "cat" / "0.png", root / "test" / "cat" / "9.png")


def lost(root: Path) -> None:
    (root / "train" / "cat" / "0.png").unlink()


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (wrong_labels, "cat shows another class"),
        (wrong_split, "picture 0 of cat is in test and shows train"),
        (in_both_splits, "are there several times"),
        (lost, "are missing untold"),
    ],
)
def test_what_is_read_wrongly_does_not_pass_as_read(
    spoil: Spoil, says: str, tmp_path: Path
) -> None:
    layout = Layout("spoilt", lambda: many("train/{c}/{n}.png", "test/{c}/{n}.png"))
    assert outcome(layout).startswith("**read**")
    root = tmp_path / "data"
    shutil.unpack_archive(layout.write(tmp_path), root)
    spoil(root)
    with pytest.raises(AssertionError, match=f"spoilt: .*{says}"):
        check(layout, read(root))


def test_splits_of_arrays_and_tables_are_looked_at(tmp_path: Path) -> None:
    swapped = arrays(x_train=A, y_train=B, x_test=X, y_test=Y)
    layout = Layout("swapped", lambda: {"data.npz": swapped}, "data.npz")
    with pytest.raises(AssertionError, match="is in train and shows test"):
        check(layout, read(layout.write(tmp_path)))
    head = ["file", "label", "split"]
    layout = Layout("table", lambda: labelled(head, png, kind, lambda n: "train", split=split_of))
    with pytest.raises(AssertionError, match="is in train and shows test"):
        check(layout, read(layout.write(tmp_path)))
