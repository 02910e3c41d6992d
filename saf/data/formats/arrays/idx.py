"""MNIST's IDX files: big-endian header, then values. http://yann.lecun.com/exdb/mnist (format).

EMNIST, KMNIST, QMNIST and others come in it as well. EMNIST's files hold each picture transposed,
and its `letters` count from 1: https://www.nist.gov/itl/products-and-services/emnist-dataset.
"""

from __future__ import annotations

import hashlib
import math
import re
import struct
from collections.abc import Iterator
from typing import Any, ClassVar, Literal

import numpy as np

from saf.data.arrays.assemble import ArrayFormat, assemble
from saf.data.arrays.names import ALL, Roles
from saf.data.arrays.stored.array import Index, InMemory, Stored, plan
from saf.data.dataset import Array, Dataset, Decision
from saf.data.formats.format import FORMATS, Recognised
from saf.data.sources.limits import Limits
from saf.data.sources.source import Source
from saf.data.sources.stream import BLOCK, Content, gunzip
from saf.errors import DataError

_NAME = re.compile(
    r"(?:.*[-_.])?(images|labels)[-_.]idx\d[-_.](?:ubyte|int)(\.gz)?$", re.IGNORECASE
)
_SPLIT = re.compile(r"(?:^|[-_.])(train|t10k|test)[-_.]", re.IGNORECASE)
_UBYTE, _INT = 0x08, 0x0C
FOUR_FILES = (
    "Send a .zip or .tar with train-images-idx3-ubyte, train-labels-idx1-ubyte, "
    "t10k-images-idx3-ubyte and t10k-labels-idx1-ubyte (each may be .gz)."
)


@FORMATS.add
class Idx(ArrayFormat):
    """MNIST's four files, gzipped or not, in a zip or tar: images `N H W` (idx3) or `N C H W`
    (idx4) in bytes, with one label each. Without the two for testing a fifth of each class is held
    out. EMNIST's pictures, which its files hold transposed, are turned."""

    label: ClassVar[str] = "MNIST's four IDX files"
    place: ClassVar[int] = 20
    specificity: ClassVar[int] = 60

    name: Literal["idx"] = "idx"

    @classmethod
    def detect(cls, source: Source) -> Recognised | None:
        if source.single:
            _refuse_a_single_file(source)
            return None
        return Recognised() if any(cls.claims(member.name) for member in source.members) else None

    @classmethod
    def claims(cls, name: str) -> bool:
        return _NAME.match(name.rsplit("/", 1)[-1]) is not None

    def read(self, source: Source, limits: Limits) -> Dataset:
        files, skipped = _files(source)
        roles = Roles()
        for (split, kind), name in files.items():
            array = _Idx(source, name, images=kind == "images")
            if kind == "images":
                roles.samples[split] = array
            else:
                roles.labels[split] = _labels(array)
        layout, decisions = None, []
        shape = next(iter(roles.samples.values())).shape
        if len(shape) == 3:
            layout = "N H W"
            if any("emnist" in name.lower() for name in files.values()):
                layout = "N W H"
                decisions.append(
                    Decision(
                        "layout",
                        layout,
                        "EMNIST's files, recognised by their names, hold each picture transposed; "
                        "where they do not, say N H W",
                    )
                )
        if self.layout is not None:
            decisions = []
        return assemble(roles, self, source, layout=layout, decisions=decisions, skipped=skipped)


def _refuse_a_single_file(source: Source) -> None:
    start = source.head(source.label, 4)
    if start in (b"\0\0\x08\x03", b"\0\0\x08\x04"):
        raise DataError(
            f"{source.label} is an IDX file of images without its labels", hint=FOUR_FILES
        )
    if start == b"\0\0\x08\x01":
        raise DataError(f"{source.label} is an IDX file of labels without images", hint=FOUR_FILES)


def _files(source: Source) -> tuple[dict[tuple[str, str], str], list[str]]:
    """Names of files by split and kind, and copies that are left out."""
    found: dict[tuple[str, str], str] = {}
    skipped: list[str] = []
    for member in source.members:  # sorted: an unpacked file comes before its own .gz
        match = _NAME.match(member.name.rsplit("/", 1)[-1])
        if match is None:
            continue
        named = _SPLIT.search(member.name.rsplit("/", 1)[-1])
        split = ALL if named is None else "train" if named[1].lower() == "train" else "test"
        role = (split, match[1].lower())
        first = found.setdefault(role, member.name)
        if first == member.name or member.name == f"{first}.gz":
            continue
        if _digest(source, first) != _digest(source, member.name):
            raise DataError(
                f"{source.label} holds both {first} and {member.name}, which differ",
                hint="Send one data set at a time. " + FOUR_FILES,
            )
        skipped.append(f"{member.name}: the same as {first}")
    splits = {split for split, _ in found}
    wanted = [("train", "images"), ("train", "labels")]
    if "test" in splits:
        wanted += [("test", "images"), ("test", "labels")]
    if splits == {ALL}:
        wanted = [(ALL, "images"), (ALL, "labels")]
    if missing := [" ".join(role) for role in wanted if role not in found]:
        raise DataError(f"{source.label} lacks the {', the '.join(missing)}", hint=FOUR_FILES)
    return {role: found[role] for role in wanted}, skipped


def _digest(source: Source, name: str) -> bytes:
    """What a file holds, unpacked."""
    digest = hashlib.sha256()
    for content in source.contents([name]):
        inner = gunzip(content) if name.lower().endswith(".gz") else content
        while block := inner.read(BLOCK):
            digest.update(block)
    return digest.digest()


def _labels(array: Stored) -> Stored:
    """One label each: QMNIST's files have a row of numbers, of which the first is the class."""
    if len(array.shape) == 1:
        return array
    values = np.empty(array.shape, array.dtype)
    for index, block in array.blocks():
        values[index] = block
    return InMemory(array.name, values[:, 0].copy())


class _Idx(Stored):
    """The values of one file, read as a stream."""

    def __init__(self, source: Source, name: str, *, images: bool) -> None:
        self._source, self._images = source, images
        shape: tuple[int, ...] = ()
        dtype: np.dtype[Any] = np.dtype(np.uint8)
        for content in source.contents([name]):
            inner = self._unpacked(name, content)
            shape, dtype = self._header(name, inner)
            size = source.limits.check_array(name, shape, dtype.itemsize)
            inner.budget.expect(size, name)
        super().__init__(name, shape, dtype)

    def blocks(self) -> Iterator[tuple[Index, Array]]:
        for content in self._source.contents([self.name]):
            inner = self._unpacked(self.name, content)
            self._header(self.name, inner)
            head = 4 + 4 * len(self.shape)
            size = math.prod(self.shape) * self.dtype.itemsize
            why = f"its header says {' × '.join(map(str, self.shape))} values"
            found = head
            for index in plan(self.shape, self.dtype.itemsize):
                block = np.empty([part.stop - part.start for part in index], self.dtype)
                got = inner.fill(block.reshape(-1).view(np.uint8).data)
                found += got
                if got < block.nbytes:
                    raise _wrong_length(self.name, why, head + size, found)
                yield index, block
            if inner.read(1):
                raise _wrong_length(self.name, why, head + size, None)

    @staticmethod
    def _unpacked(name: str, content: Content) -> Content:
        return gunzip(content) if name.lower().endswith(".gz") else content

    def _header(self, name: str, content: Content) -> tuple[tuple[int, ...], np.dtype[Any]]:
        start = np.zeros(4, np.uint8)
        if content.fill(start.data) < 4 or start[0] or start[1]:
            raise DataError(
                f"{name} is no IDX file: it starts with {start.tobytes().hex(' ')}, not with 00 00",
                hint="Send the files as MNIST distributes them.",
            )
        wide = not self._images and start[2] == _INT
        if start[2] != _UBYTE and not wide:
            raise DataError(
                f"{name} holds values of type 0x{start[2]:02x}; only unsigned bytes (0x08) are "
                "read",
                hint="Scale images to 0…255 and store them as unsigned bytes.",
            )
        ndim = int(start[3])
        expected = {3: "N H W", 4: "N C H W"} if self._images else {1: "N"}
        if ndim not in expected and not (wide and ndim == 2):
            raise DataError(
                f"{name} has {ndim} dimensions; {' or '.join(map(str, expected))} expected "
                f"({' or '.join(expected.values())})",
                hint=FOUR_FILES,
            )
        head = np.zeros(4 * ndim, np.uint8)
        found = content.fill(head.data)
        if found < len(head):
            raise _wrong_length(name, "its header", 4 + len(head), 4 + found)
        shape = struct.unpack(f">{ndim}I", head.tobytes())
        if not all(shape):
            raise DataError(f"{name} has the shape {shape}: it is empty", hint=FOUR_FILES)
        return shape, np.dtype(">i4") if wide else np.dtype(np.uint8)


def _wrong_length(name: str, why: str, expected: int, found: int | None) -> DataError:
    return DataError(
        f"{name}: expected {expected} bytes ({why}), found {'more' if found is None else found}",
        hint="The file was cut short or changed; fetch or write it again.",
    )
