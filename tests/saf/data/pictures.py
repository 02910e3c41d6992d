"""Small images that are all different, known again in a data set, and tables beside them."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from saf.data import Dataset, read
from saf.data.formats.format import Candidate, NeedsChoiceError

Files = dict[str, bytes]
COUNT = 12
"""Images of `flat`."""


class Pictures:
    """Makes images that are all different, and knows them again in a data set."""

    def __init__(self) -> None:
        self.made = 0

    def __call__(self, *names: str, side: int = 8) -> Files:
        """An image by each name."""
        files = {}
        for name in names:
            self.made += 1
            buffer = io.BytesIO()
            pixels = np.full(
                (side, side, 3), (self.made % 200 + 40, self.made // 200, 99), np.uint8
            )
            pixels[0] = 255
            Image.fromarray(pixels).save(buffer, "PNG")
            files[name] = buffer.getvalue()
        return files

    def many(self, *folders: str, count: int = 4, ending: str = ".png") -> Files:
        """So many images in each folder, 0.png, 1.png, …"""
        return self(*(f"{folder}/{n}{ending}" for folder in folders for n in range(count)))


def came(data: Dataset, files: Mapping[str, bytes]) -> dict[str, dict[str, str]]:
    """The class of each file by split, as the data set has them."""
    by_pixel = {}
    for name, blob in files.items():
        if blob.startswith(b"\x89PNG"):
            by_pixel[np.asarray(Image.open(io.BytesIO(blob)))[-1, 0].tobytes()] = name
    found: dict[str, dict[str, str]] = {}
    for split in data.splits:
        x, y = getattr(data, f"x_{split}"), getattr(data, f"y_{split}")
        found[split] = {
            by_pixel[image[:, -1, 0].tobytes()]: data.class_names[label]
            for image, label in zip(x, y, strict=True)
        }
        assert len(found[split]) == len(y)
    return found


def table(head: list[str] | None, *rows: list[Any], mark: str = ",") -> bytes:
    text = io.StringIO()
    csv.writer(text, delimiter=mark).writerows([*([head] if head else []), *rows])
    return text.getvalue().encode()


def decided(data: Dataset, setting: str) -> str:
    (decision,) = [each for each in data.decisions if each.setting == setting]
    assert decision.why
    return decision.value


def asked(path: Path, setting: str, **settings: str) -> dict[str, Candidate]:
    """The candidates of the one question that reading ends in."""
    with pytest.raises(NeedsChoiceError) as caught:
        read(path, settings=settings)
    (question,) = caught.value.questions
    assert question.setting == setting
    return {candidate.value: candidate for candidate in question.candidates}


def flat(pictures: Pictures) -> Files:
    """Images in one folder, 0.png, 1.png, …"""
    return pictures(*(f"images/{n}.png" for n in range(COUNT)))


def labels(path: Path, files: Files, **settings: str) -> dict[str, str]:
    """The class of each file, whatever its split."""
    found = came(read(path, settings=settings), files)
    return {name.rpartition("/")[2]: c for split in found.values() for name, c in split.items()}
