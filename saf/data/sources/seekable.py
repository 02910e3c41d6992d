"""A file inside a source that can be read at any place, for libraries that go back and forth."""

from __future__ import annotations

import io

import numpy as np

from saf.data.dataset import Array
from saf.data.sources.source import Source
from saf.data.sources.stream import BLOCK, Content
from saf.errors import DataError


class Seekable(io.RawIOBase):
    """The bytes of an array as a file."""

    def __init__(self, content: Array) -> None:
        self._content = content.data
        self._at = 0

    @property
    def view(self) -> memoryview:
        """All bytes."""
        return self._content

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: object, /) -> int:
        target = memoryview(buffer).cast("B")  # type: ignore[arg-type]
        part = self._content[self._at : self._at + len(target)]
        target[: len(part)] = part
        self._at += len(part)
        return len(part)

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: len(self._content)}[whence]
        if start + offset < 0:
            raise ValueError("negative seek position")
        self._at = start + offset
        return self._at

    def tell(self) -> int:
        return self._at


def _length(content: Content) -> int:
    size = 0
    while block := content.read(BLOCK):
        size += len(block)
    return size


def seekable(source: Source, name: str) -> Seekable:
    """A member as a file; its bytes are where samples are, see `Source.allocate`. Raises DataError
    where it is shorter or longer than announced."""
    announced = next(member.size for member in source.members if member.name == name)
    if source.single and source.compressed:  # what is announced is the size before
        announced = sum(_length(content) for content in source.contents([name]))
    for content in source.contents([name]):
        content.budget.expect(announced, name)
        whole = np.zeros(0, np.uint8)
        if announced:  # one row, for bytes are no samples
            whole = source.allocate(name, (1, announced), np.uint8).reshape(-1)
        if content.fill(whole.data) < announced or content.read(1):
            raise DataError(
                f"{name} has another length than its archive says",
                hint="The file was cut short or changed; pack it again.",
            )
        return Seekable(whole)
    raise AssertionError("a source yields what is wanted")
