"""What layouts are made of: pictures that show their class, tables, archives; and one layout."""

from __future__ import annotations

import csv
import io
import json
import re
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Files = Mapping[str, bytes]
CLASSES = ("cat", "dog")
MARKS = {"": 0, "train": 50, "val": 100, "test": 150, "none": 200}
"""What shows the split of a picture: the path or table beside it says it; "none" is left out."""
FRAME = 40
FIRST_OF_TEST = 12
"""The number of the first gray picture that is meant for testing."""


@dataclass(frozen=True)
class Layout:
    """A data set as somebody has it."""

    words: str
    """What it looks like, in Markdown."""
    files: Callable[[], Files]
    name: str = "data.zip"
    """What is sent: the ending says how the files are packed; of one file, that file."""
    pictures: bool = True
    """Whether its samples are such pictures, so that wrong labels and splits are seen."""
    settings: Mapping[str, str] = field(default_factory=dict)

    def write(self, folder: Path) -> Path:
        """The file, in a folder."""
        path, files = folder / self.name, self.files()
        if self.name.endswith(".zip"):
            path.write_bytes(zipped(files))
        elif self.name.endswith((".tar", ".tar.gz", ".tar.xz")):
            path.write_bytes(tarred(files, self.name.rpartition(".tar")[2].lstrip(".")))
        elif self.name.endswith(".7z"):
            import py7zr

            with py7zr.SevenZipFile(path, "w") as archive:
                for name, content in files.items():
                    archive.writestr(content, name)
        else:
            (content,) = files.values()
            path.write_bytes(content)
        return path


def code(class_name: str) -> int:
    """The value in the middle of a picture of a class."""
    return 60 + zlib.crc32(class_name.encode()) % 180


def pixels(
    class_name: str, number: int = 0, height: int = 16, width: int = 16, split: str = ""
) -> NDArray[Any]:
    """A picture `H W 3` that shows its class, the split that it is meant for and its number, in the
    red, green and blue of its middle; in gray the number is the brightness of its frame."""
    picture = np.full((height, width, 3), FRAME + number % 100, np.uint8)
    shown = (code(class_name), MARKS[split], number % 256)
    picture[height // 4 : -height // 4, width // 4 : -width // 4] = shown
    picture[: height // 4, : width // 4] = 250
    return picture


def encoded(values: Any, kind: str = "PNG", **options: Any) -> bytes:
    """An image file of an array or a Pillow image."""
    buffer = io.BytesIO()
    image = values if isinstance(values, Image.Image) else Image.fromarray(values)
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def image(
    class_name: str, number: int = 0, height: int = 16, width: int = 16, split: str = ""
) -> bytes:
    """A PNG of a class."""
    return encoded(pixels(class_name, number, height, width, split))


def said(pattern: str) -> str:
    """The split that a path says to people: "train", "val" or "test"; "" where it says none."""
    folders = re.split(r"[/\\]", pattern.lower())[:-1]
    found = [split for split in ("train", "val", "test") if any(split in each for each in folders)]
    return found[0] if len(found) == 1 else ""


def many(*patterns: str, count: int = 4, classes: Iterable[str] = CLASSES) -> dict[str, bytes]:
    """Images by patterns such as "train/{c}/{n}.png", of each class."""
    return {
        pattern.format(c=c, n=n): image(c, n, split=said(pattern))
        for pattern in patterns
        for c in classes
        for n in range(count)
    }


def flat(
    pattern: str = "images/{n}.png",
    count: int = 12,
    split: Callable[[int], str] = lambda number: "",
) -> dict[str, bytes]:
    """Images whose names say nothing, of the classes in turns."""
    return {pattern.format(n=n): image(kind(n), n, split=split(n)) for n in range(count)}


def kind(number: int) -> str:
    """The class of an image of `flat`."""
    return CLASSES[number % 2]


def table(*rows: Iterable[Any], mark: str = ",") -> bytes:
    """A table, headings first."""
    text = io.StringIO()
    csv.writer(text, delimiter=mark, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()


def lines(rows: Iterable[Any]) -> bytes:
    """A text of lines; of dictionaries, in JSON."""
    return "".join(
        f"{json.dumps(row) if isinstance(row, dict) else row}\n" for row in rows
    ).encode()


def zipped(files: Files, *, utf8: bool = True) -> bytes:
    """A zip archive; without the flag that says UTF-8 where `utf8` is false."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name, (2024, 1, 2, 3, 4, 6)), content)
    data = bytearray(buffer.getvalue())
    for magic, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        start = -1
        while not utf8 and (start := data.find(magic, start + 1)) >= 0:
            (flags,) = struct.unpack_from("<H", data, start + at)
            struct.pack_into("<H", data, start + at, flags & ~0x800)
    return bytes(data)


def tarred(files: Files, compression: str = "") -> bytes:
    """A tar archive."""
    buffer = io.BytesIO()
    mode: Any = f"w:{compression}"
    with tarfile.open(fileobj=buffer, mode=mode) as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def npy(array: Any) -> bytes:
    """A `.npy` file."""
    buffer = io.BytesIO()
    np.save(buffer, np.asarray(array))
    return buffer.getvalue()


def npz(**arrays: Any) -> bytes:
    """An `.npz` file."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def idx(array: Any) -> bytes:
    """An IDX file of bytes."""
    array = np.asarray(array, np.uint8)
    head = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
    return bytes(head + array.tobytes())
