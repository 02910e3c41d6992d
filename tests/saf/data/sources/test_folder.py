"""Folders that somebody changes while they are read: no link leads out of them."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from saf.data.sources.limits import DEFAULT_LIMITS
from saf.data.sources.pinned import pinned
from saf.data.sources.source import Folder
from saf.errors import DataError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder, beside which lies a secret of the same form."""
    for name, text in (("data", "open"), ("secret", "secret")):
        (tmp_path / name / "a").mkdir(parents=True)
        (tmp_path / name / "a" / "1.txt").write_text(text)
    return tmp_path / "data"


def swap(path: Path, other: Path) -> None:
    """Put a link to another folder or file in the place of one."""
    path.rename(path.with_name(path.name + "-before"))
    path.symlink_to(other)


@pytest.mark.parametrize("part", ["a", "a/1.txt"])
def test_a_link_that_takes_the_place_of_what_was_listed_is_not_followed(
    folder: Path, part: str
) -> None:
    source = Folder(folder, DEFAULT_LIMITS)
    assert [member.name for member in source.members] == ["a/1.txt"]
    assert source.head("a/1.txt") == b"open"
    swap(folder / part, folder.parent / "secret" / part)
    with pytest.raises(DataError, match=r"a/1\.txt cannot be read"):
        source.head("a/1.txt")


@pytest.mark.parametrize("part", ["top", "top/data", "top/data/a/1.txt"])
def test_what_is_pinned_is_refused_where_a_part_of_its_path_is_a_link(
    tmp_path: Path, folder: Path, part: str
) -> None:
    top = tmp_path / "top"
    top.mkdir()
    folder = folder.rename(top / "data")
    target = folder / "a" / "1.txt" if part.endswith("txt") else folder
    link = tmp_path / target.name
    link.symlink_to(target)
    assert pinned(link, tmp_path).name == target.name
    swap(tmp_path / part, tmp_path / "elsewhere")
    with pytest.raises(DataError, match="no longer what was registered: a link"):
        pinned(link, tmp_path)


def test_what_is_pinned_stays_what_it_was_when_a_link_takes_its_place(
    tmp_path: Path, folder: Path
) -> None:
    link, file = tmp_path / "link", tmp_path / "file.txt"
    link.symlink_to(folder)
    file.symlink_to(folder / "a" / "1.txt")
    both = pinned(link, tmp_path), pinned(file, tmp_path)
    swap(folder, tmp_path / "secret")
    assert Folder(both[0], DEFAULT_LIMITS).head("a/1.txt") == b"open"
    assert both[1].read_text() == "open"


def test_a_pipe_in_the_place_of_a_file_makes_nobody_wait(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "pipe")
    assert not pinned(tmp_path / "link", tmp_path).is_file()


def test_a_folder_that_cannot_be_opened_is_refused_and_not_empty(folder: Path) -> None:
    shutil.rmtree(folder)
    with pytest.raises(DataError, match="data cannot be read"):
        _ = Folder(folder, DEFAULT_LIMITS).members


def test_litter_is_not_looked_into(folder: Path) -> None:
    (folder / "lost+found").mkdir()
    (folder / "lost+found" / "link").symlink_to(folder)
    assert [member.name for member in Folder(folder, DEFAULT_LIMITS).members] == ["a/1.txt"]
