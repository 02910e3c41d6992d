"""The tables of layouts in docs/datasets.md say what comes of each, as it is read here."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from benchmarks.layouts.__main__ import DOCUMENT, GROUPS, check, outcome, stored, written
from benchmarks.layouts.parts import Layout, many
from saf.data import read


def test_the_tables_of_the_document_are_those_that_the_layouts_make() -> None:
    document = stored(DOCUMENT.read_text(encoding="utf-8"))
    assert document.splitlines() == written().splitlines()  # else: python -m benchmarks.layouts


def test_there_are_many_layouts_of_each_kind_of_answer() -> None:
    lines = stored(DOCUMENT.read_text(encoding="utf-8")).splitlines()
    assert sum(map(len, GROUPS.values())) >= 80
    for answer in ("**read**", "**needs a choice**", "**refused**"):
        assert sum(answer in line for line in lines) >= 15, answer


def test_wrong_labels_do_not_pass_as_read(tmp_path: Path) -> None:
    layout = Layout("swapped", lambda: many("train/{c}/{n}.png", "test/{c}/{n}.png"))
    assert outcome(layout).startswith("**read**")
    root = tmp_path / "data"
    shutil.unpack_archive(layout.write(tmp_path), root)
    (root / "train" / "cat").rename(root / "other")
    (root / "train" / "dog").rename(root / "train" / "cat")
    (root / "other").rename(root / "train" / "dog")
    with pytest.raises(AssertionError, match="swapped: cat shows"):
        check(layout, read(root))
