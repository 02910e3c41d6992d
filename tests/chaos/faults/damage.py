"""A file with other bytes than it was stored with, until it is put back."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, get_args

How = Literal["flipped", "cut", "longer", "empty"]


class Place(Protocol):
    """Where a file lies."""

    def read(self) -> bytes:
        """All of it. Raises FileNotFoundError."""

    def write(self, content: bytes) -> None:
        """Other bytes, past the service. Raises FileNotFoundError."""


@dataclass(frozen=True)
class InDirectory:
    """A file on a disk, which is written to in place, as a failing disk or a stray program does."""

    path: Path

    def read(self) -> bytes:
        return self.path.read_bytes()

    def write(self, content: bytes) -> None:
        with self.path.open("r+b") as file:
            file.write(content)
            file.truncate()


@dataclass(frozen=True)
class InBucket:
    """An object."""

    s3: Any  # a client of botocore
    bucket: str
    key: str

    def read(self) -> bytes:
        try:
            found: bytes = self.s3.get_object(Bucket=self.bucket, Key=self.key)["Body"].read()
        except self.s3.exceptions.NoSuchKey as error:
            raise FileNotFoundError(self.key) from error
        return found

    def write(self, content: bytes) -> None:
        self.read()
        self.s3.put_object(Bucket=self.bucket, Key=self.key, Body=content)


@dataclass(frozen=True, kw_only=True)
class Damage:
    """What was done to a file."""

    place: Place
    content: bytes
    how: How

    @classmethod
    def do(cls, place: Place, choose: random.Random) -> Damage:
        """Damage the file in one of the ways. Raises FileNotFoundError."""
        content = place.read()
        how = choose.choice(get_args(How))
        place.write(_damaged(content, how, choose))
        return cls(place=place, content=content, how=how)

    def undo(self) -> None:
        """Put the bytes back, unless the file is gone or has been stored anew."""
        try:
            if not self.is_whole():
                self.place.write(self.content)
        except FileNotFoundError:
            return

    def is_whole(self) -> bool:
        """Whether it has its bytes again. Raises FileNotFoundError."""
        return self.place.read() == self.content


def _damaged(content: bytes, how: How, choose: random.Random) -> bytes:
    size = len(content)
    match how:
        case "flipped":
            begin = choose.randrange(size)
            end = min(size, begin + 1 + choose.randrange(4096))
            flipped = bytes(byte ^ 0x55 for byte in content[begin:end])
            return content[:begin] + flipped + content[end:]
        case "cut":
            return content[: choose.randrange(1, size)] if size > 1 else b""
        case "longer":
            return content + choose.randbytes(1 + choose.randrange(4096))
        case "empty":
            return b""
