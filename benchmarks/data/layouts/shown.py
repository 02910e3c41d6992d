"""What pictures show of themselves, and whether a data set has each as it shows itself."""

from __future__ import annotations

import io
from collections import Counter
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from benchmarks.data.layouts.parts import FIRST_OF_TEST, FRAME, MARKS, Layout, code
from saf.data import Dataset

_OF_MARK = {mark: split for split, mark in MARKS.items()}


class Shown(NamedTuple):
    """What a picture shows."""

    code: int
    """That of its class."""
    split: str
    """What it is meant for; "" where nothing beside it says so, "none" if it is to be left out."""
    number: int


def shown(picture: NDArray[Any]) -> Shown:
    """What a picture `C H W` of bytes shows."""
    middle = picture[:, picture.shape[1] // 2, picture.shape[2] // 2].tolist()
    if len(middle) == 3:
        return Shown(middle[0], _OF_MARK[middle[1]], middle[2])
    number = int(picture[0, -1, -1]) - FRAME
    return Shown(middle[0], "train" if number < FIRST_OF_TEST else "test", number)


def check(layout: Layout, data: Dataset) -> None:
    """Raise AssertionError unless each picture is there once, with the class and in the split that
    it shows: where none is meant for testing in one that holds out a part of each class, where
    none is but for validation in that; and unless all that are missing are told."""
    found = [
        (split, data.class_names[label], shown(picture))
        for split in data.splits
        for picture, label in zip(
            getattr(data, f"x_{split}"), getattr(data, f"y_{split}"), strict=True
        )
    ]
    meant = {picture.split for _, _, picture in found}
    held_out = not meant & {"val", "test"}
    for split, name, picture in found:
        words = f"{layout.words}: picture {picture.number} of {name}"
        assert picture.code == code(name), f"{layout.words}: {name} shows another class"
        assert picture.split != "none", f"{words} was to be left out"
        if not held_out:
            of_val = "val" if "test" in meant else "test"
            wanted = of_val if picture.split == "val" else picture.split
            assert split == wanted, f"{words} is in {split} and shows {wanted or 'none'}"
    for name in data.class_names if held_out else ():
        splits = Counter(split for split, own, _ in found if own == name)
        assert 0 < splits["test"] < splits["train"], f"{layout.words}: {name} has {dict(splits)}"
    times = Counter(picture for _, _, picture in found)
    twice = [picture for picture, count in times.items() if count > 1]
    assert not twice, f"{layout.words}: {twice[:3]} are there several times"
    missing = [each for each in _made(layout) if each not in times and each.split != "none"]
    assert len(missing) <= len(data.skipped), f"{layout.words}: {missing[:3]} are missing untold"


def _made(layout: Layout) -> set[Shown]:
    """What the image files of a layout show."""
    found = set()
    for content in layout.files().values():
        try:
            picture = np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))
        except UnidentifiedImageError:
            continue
        found.add(shown(np.moveaxis(picture, -1, 0)))
    return found
