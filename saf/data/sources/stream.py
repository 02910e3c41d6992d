"""Byte streams out of files that may be damaged or hostile: counted, and with one kind of error."""

from __future__ import annotations

import gzip
import io
import lzma
import struct
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from importlib import import_module
from typing import Any, Protocol

from saf import extras
from saf.data.sources.limits import MIB, Budget
from saf.errors import DataError
from saf.sizes import readable

XZ_MEMORY = 128 * MIB
"""What `xz -9` needs to decompress is 65 MiB; a header may ask for 4 GiB."""
ZSTD_WINDOW_LOG = 27
"""128 MiB, as the command zstd allows; `zstd --long=31 --ultra` would need 2 GiB to decompress."""
BLOCK = MIB
DAMAGE = (
    tarfile.TarError,
    zipfile.BadZipFile,
    lzma.LZMAError,
    zlib.error,
    struct.error,
    OSError,
    NotImplementedError,
    RuntimeError,
    ValueError,
    OverflowError,
    IndexError,
    KeyError,
)
"""What the standard library raises on damaged archives. RecursionError is a RuntimeError."""


class TruncatedError(DataError):
    """A stream ended before its format said it would."""


class Readable(Protocol):
    """Anything that bytes can be read from."""

    def read(self, size: int, /) -> bytes: ...


class Content(io.RawIOBase):
    """A stream that charges what it yields to a budget and raises nothing but DataError."""

    def __init__(self, inner: Readable, budget: Budget, name: str) -> None:
        self._inner = inner
        self.budget = budget
        self.name = name
        self.delivered = 0
        self.ceiling: int | None = None
        """Position that must not be passed yet: set by who knows how much is due."""

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        """At most `size` bytes, fewer only at the end; all of them is never asked for."""
        parts: list[bytes] = []
        wanted = size if size >= 0 else self.budget.allowed + 1
        while wanted > 0:
            part = self._some(min(wanted, BLOCK))
            if not part:
                break
            parts.append(part)
            wanted -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def readinto(self, buffer: Any, /) -> int:
        part = self._some(min(len(buffer), BLOCK))
        buffer[: len(part)] = part
        return len(part)

    def read_whole(self, most: int) -> bytes:
        """All that is left, refused when it is more than `most` bytes."""
        whole = self.read(most + 1)
        if len(whole) > most:
            raise DataError(
                f"{self.name} is larger than {readable(most)}, too large for what it should be",
                hint="Send the files in their original form.",
            )
        return whole

    def fill(self, target: memoryview) -> int:
        """Fill `target` (bytes) as far as the stream goes and return how far that was."""
        filled = 0
        try:
            while filled < len(target):
                part = self._some(min(len(target) - filled, BLOCK))
                if not part:
                    break
                target[filled : filled + len(part)] = part
                filled += len(part)
        except TruncatedError:
            pass
        return filled

    def _some(self, size: int) -> bytes:
        try:
            part = self._inner.read(size)
        except DataError:
            raise
        except EOFError as error:
            raise TruncatedError(
                f"{self.name} ends inside its compressed data, after {self.delivered} bytes "
                "of content",
                hint="The file was cut short; send it again, whole.",
            ) from error
        except DAMAGE as error:
            raise damaged(self.name, error) from error
        self.budget.spend(len(part), self.name)
        self.delivered += len(part)
        if self.ceiling is not None and self.delivered > self.ceiling:
            raise DataError(
                f"{self.name} holds a header of more than {readable(BLOCK)}",
                hint="Pack the files again with ordinary tar.",
            )
        return part


def gunzip(content: Content) -> Content:
    """What is inside a gzip stream, charged to the same budget."""
    return Content(_Gunzipped(content), content.budget, content.name)


def damaged(name: str, error: BaseException) -> DataError:
    """The one message for an archive that the standard library cannot read on with."""
    reason = str(error)[:200] or type(error).__name__
    return DataError(
        f"{name} is damaged or not what its name says: {reason}",
        hint="Check that the file opens on your own machine, then send it again.",
    )


def two_in_one(name: str, hint: str) -> DataError:
    """The refusal of a file with more than one archive, of which a reader would see one."""
    return DataError(
        f"{name} holds more than one archive, written one after the other",
        hint=f"{hint}, and pack all files into one archive.",
    )


class _Gunzipped:
    """A gzip stream that yields all it can before it raises EOFError."""

    def __init__(self, packed: Content) -> None:
        self._stream = gzip.GzipFile(fileobj=io.BufferedReader(packed), mode="rb")

    def read(self, size: int, /) -> bytes:
        return self._stream.read1(size)


class Decompressor(Protocol):
    """One stream of a compressed file, as `lzma.LZMADecompressor` is."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int = -1) -> bytes: ...


class PackedStream:
    """Decompressed bytes of a file of one or several streams, with a bound on the memory that
    decompression takes."""

    def __init__(self, raw: Readable, new: Callable[[], Decompressor], what: str) -> None:
        """`new` makes the decompressor of each stream; `what` names the compression."""
        self._raw = raw
        self._new = new
        self._what = what
        self._decompressor = new()

    def read(self, size: int, /) -> bytes:
        """At most `size` bytes, none at the end. EOFError if the file ends early."""
        while True:
            if self._decompressor.eof:
                # Several streams may follow one another, padded by zeros.
                rest = (self._decompressor.unused_data or self._raw.read(BLOCK)).lstrip(b"\0")
                while not rest:
                    if not (block := self._raw.read(BLOCK)):
                        return b""
                    rest = block.lstrip(b"\0")
                self._decompressor = self._new()
                block = rest
            elif self._decompressor.needs_input:
                block = self._raw.read(BLOCK // 16)
                if not block:
                    raise EOFError(f"the {self._what} stream ends early")
            else:
                block = b""
            if part := self._decompressor.decompress(block, size):
                return part


class XZStream(PackedStream):
    """Decompressed bytes of an .xz file."""

    def __init__(self, raw: Readable) -> None:
        super().__init__(raw, _new_xz, "xz")


def zstd_stream(raw: Readable) -> Readable:
    """Decompressed bytes of a .zst file. Raises DataError where the package for it is missing."""
    module = "compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd"
    try:
        zstd: Any = import_module(module)
    except ModuleNotFoundError as error:
        raise DataError(
            f"reading .zst needs the package {module}; it is not installed here",
            hint=f"{extras.remedy('formats')}, or pack the files as .tar.gz or .zip.",
        ) from error
    bound = {int(zstd.DecompressionParameter.window_log_max): ZSTD_WINDOW_LOG}

    class Frames(PackedStream):
        def read(self, size: int, /) -> bytes:
            try:
                return super().read(size)
            except zstd.ZstdError as error:
                raise ValueError(str(error)) from error

    return Frames(raw, lambda: zstd.ZstdDecompressor(options=bound), "zst")


def _new_xz() -> lzma.LZMADecompressor:
    return lzma.LZMADecompressor(format=lzma.FORMAT_XZ, memlimit=XZ_MEMORY)
