"""How much a reader may take from a file that anybody may have made."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from saf.errors import DataError
from saf.sizes import readable

MIB = 2**20
GIB = 2**30
FREE_BYTES = 64 * MIB
"""Unpacked bytes to which the ratio of unpacked to packed bytes is not applied."""


class LimitError(DataError):
    """More than a limit allows; `limit` is the field of `Limits` that says so."""

    def __init__(self, message: str, *, limit: str, hint: str) -> None:
        super().__init__(message, hint=hint)
        self.limit = limit


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Bounds on what `read` accepts. Exceeding one raises DataError."""

    max_archive_bytes: int = 2 * GIB  # the file as it was sent
    max_unpacked_bytes: int = 4 * GIB  # what comes out of it, and the pixels in memory
    max_ratio: float = 1100.0  # unpacked / packed, beyond the first 64 MiB; zeros deflate to 1032
    max_entries: int = 250_000  # files and folders inside
    max_image_side: int = 1024  # pixels
    max_image_pixels: int = 2**25  # that are decoded of one image
    max_samples: int = 10_000_000  # per split
    max_classes: int = 65_536
    max_name_length: int = 1024  # characters of a path inside an archive

    def check_array(self, name: str, shape: Sequence[int], itemsize: int) -> int:
        """The bytes of an array of samples, first axis first; DataError if it is too large."""
        if shape and shape[0] > self.max_samples:
            raise LimitError(
                f"{name} has {shape[0]} samples; at most {self.max_samples} are accepted",
                limit="max_samples",
                hint="Send fewer samples.",
            )
        if len(shape) >= 3 and max(shape[-2:]) > self.max_image_side:
            raise LimitError(
                f"{name} has the shape {tuple(shape)}: images may have at most "
                f"{self.max_image_side} pixels on a side",
                limit="max_image_side",
                hint="Scale the images down.",
            )
        size = math.prod(shape) * itemsize
        if size > self.max_unpacked_bytes:
            raise LimitError(
                f"{name} of shape {tuple(shape)} takes {readable(size)}; at most "
                f"{readable(self.max_unpacked_bytes)} are accepted",
                limit="max_unpacked_bytes",
                hint="Send fewer or smaller samples.",
            )
        return size

    def check_classes(self, count: int) -> None:
        """DataError if a data set has too many classes."""
        if count > self.max_classes:
            raise LimitError(
                f"the data set has {count} classes; at most {self.max_classes} are accepted",
                limit="max_classes",
                hint="Merge or leave out classes.",
            )


DEFAULT_LIMITS = Limits()


class Budget:
    """Counts the bytes that one pass over a file really yields, whatever its headers say."""

    def __init__(self, limits: Limits, packed_bytes: int, label: str) -> None:
        self._label = label
        self._limits = limits
        self._packed = max(packed_bytes, 1)
        self.allowed = min(
            limits.max_unpacked_bytes, max(FREE_BYTES, int(limits.max_ratio * self._packed))
        )
        self.spent = 0

    def spend(self, count: int, name: str) -> None:
        """Count `count` more bytes, of the member `name`; DataError once they are too many."""
        self.spent += count
        if self.spent > self.allowed:
            self._refuse(name, "unpacks to more than")

    def expect(self, count: int, name: str) -> None:
        """DataError at once if `count` bytes, announced by a header, could never be allowed."""
        if count > self.allowed:
            self._refuse(name, "announces more than")

    def _refuse(self, name: str, does: str) -> None:
        subject = name if name == self._label else f"{name} in {self._label}"
        if self.allowed < self._limits.max_unpacked_bytes:
            raise LimitError(
                f"{subject} {does} {self._limits.max_ratio:g} times the {self._packed} bytes sent, "
                "as a decompression bomb does",
                limit="max_ratio",
                hint="Send the data uncompressed, or with less extreme compression.",
            )
        raise LimitError(
            f"{subject} {does} {readable(self.allowed)}, the most that is accepted",
            limit="max_unpacked_bytes",
            hint="Send fewer or smaller samples.",
        )
