"""7z archives, read member by member in bounded memory by the decompressors of py7zr.

py7zr's public way to read unpacks members in parts of up to 128 MB; what is used of it here is the
header, and the decompressor of each block of members (a "folder", as 7-Zip calls it), a part at a
time. Of compressions those are read whose memory the header tells: LZMA and LZMA2, with filters.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from saf import extras
from saf.data.sources.limits import MIB, Budget, Limits
from saf.data.sources.source import Member, Source, check_archive_size, check_name, special
from saf.data.sources.stream import BLOCK, Content, TruncatedError, damaged, two_in_one
from saf.errors import DataError

MAGIC = b"7z\xbc\xaf\x27\x1c"
_HEADER = 32  # bytes: the place and the size of what is at the end of the archive
MAX_DICTIONARY = 128 * MIB
"""Memory that decompression of a block takes; a header may ask for 4 GiB."""
_LZMA, _LZMA2 = b"\x03\x01\x01", b"\x21"
_FILTERS = {
    b"\x00": "none",
    b"\x03": "delta",
    b"\x0a": "ARM64",
    b"\x03\x03\x01\x03": "x86",
    b"\x03\x03\x02\x05": "PowerPC",
    b"\x03\x03\x04\x01": "IA-64",
    b"\x03\x03\x05\x01": "ARM",
    b"\x03\x03\x07\x01": "ARM Thumb",
    b"\x03\x03\x08\x05": "SPARC",
}
_AES = b"\x06\xf1\x07\x01"
_PACK_AGAIN = "Pack it again with LZMA2 as 7-Zip does unless told, or as .zip."


class SevenZip(Source):
    """A 7z archive. A block of members is decompressed up to the last that is wanted."""

    def __init__(self, path: Path, limits: Limits) -> None:
        super().__init__(path, limits)
        self._size = check_archive_size(path, limits)

    def _contents(self, wanted: Collection[str]) -> Iterator[Content]:
        wanted = frozenset(wanted)
        budget = Budget(self.limits, self._size, self.label)
        with self._open() as archive:
            for block, files in self._blocks(archive):
                names = [self._name(file) for file in files]
                last = max((i for i, name in enumerate(names) if name in wanted), default=-1)
                for file, name in zip(files[: last + 1], names, strict=False):
                    member = _MemberStream(block, 0 if file.emptystream else file.uncompressed)
                    content = Content(member, budget, name)
                    if name in wanted and not file.is_directory:
                        member.crc32 = file.crc32
                        yield content
                    while content.read(BLOCK):  # the next one begins where this one ends
                        pass

    def _list(self) -> Iterator[Member]:
        with self._open() as archive:
            self._check_end()
            self._check_count(len(archive.files))
            for _, files in self._blocks(archive):
                for file in files:
                    name = self._name(file)
                    if file.is_directory:
                        continue
                    if file.is_symlink or file.is_junction or file.is_socket:
                        raise special(self.label, name)
                    yield Member(name, 0 if file.emptystream else file.uncompressed)

    def _check_end(self) -> None:
        """Raise DataError where another archive begins behind the end of this one."""
        with self.path.open("rb") as file:
            offset, size = struct.unpack("<QQ", file.read(_HEADER)[12:28])
            file.seek(min(_HEADER + offset + size, self._size))
            if file.read(len(MAGIC)) == MAGIC:
                raise two_in_one(self.label, "Unpack each by itself before they are joined")

    def _name(self, file: Any) -> str:
        return check_name(file.filename, self.label, self.limits)

    def _blocks(self, archive: Any) -> Iterator[tuple[_Block | None, list[Any]]]:
        """Blocks with their members; None for those of members that are empty."""
        yield None, [file for file in archive.files if file.emptystream]
        streams = archive.header.main_streams
        if streams is None:
            return
        packed = streams.packinfo
        for index, folder in enumerate(streams.unpackinfo.folders):
            self._check_coders(folder.coders)
            start = archive.afterheader + packed.packpositions[index]
            decompressor = folder.get_decompressor(packed.packsizes[index], reset=True)
            block = _Block(archive.fp, start, decompressor)
            yield block, [file for file in folder.files or () if not file.emptystream]

    def _check_coders(self, coders: list[dict[str, Any]]) -> None:
        for coder in coders:
            method, properties = coder["method"], coder.get("properties") or b""
            if method == _AES:
                raise DataError(
                    f"{self.label} is encrypted", hint="Pack it again without a password."
                )
            if method == _LZMA and len(properties) >= 5:
                memory = int.from_bytes(properties[1:5], "little")
            elif method == _LZMA2 and len(properties) == 1:
                bits = properties[0]
                memory = 2**32 if bits >= 40 else (2 | bits & 1) << (bits // 2 + 11)
            elif method in _FILTERS:
                memory = 0
            else:
                raise DataError(
                    f"{self.label} is compressed by a method of 7z that is not read "
                    f"({method.hex()})",
                    hint=_PACK_AGAIN,
                )
            if memory > MAX_DICTIONARY:
                raise DataError(
                    f"{self.label} needs a dictionary of {memory // MIB} MiB to unpack; at most "
                    f"{MAX_DICTIONARY // MIB} MiB are accepted",
                    hint="Pack it again with a smaller dictionary (7z -md=64m), or as .zip.",
                )

    @contextmanager
    def _open(self) -> Iterator[Any]:
        """The archive with its header read; whatever is wrong with it becomes a DataError."""
        try:
            import py7zr
        except ModuleNotFoundError as error:
            raise DataError(
                f"{self.label}: reading .7z needs the package py7zr; it is not installed here",
                hint=f"{extras.remedy('formats')}, or pack the files as .zip or .tar.gz.",
            ) from error
        try:
            with py7zr.SevenZipFile(self.path) as archive:
                yield archive
        except (DataError, MemoryError):
            raise
        except py7zr.PasswordRequired as error:
            raise DataError(
                f"{self.label} is encrypted", hint="Pack it again without a password."
            ) from error
        except Exception as error:
            # Of damaged headers py7zr raises whatever it stumbles over.
            raise damaged(self.label, error) from error


class _Block:
    """The decompressed bytes of a block, read from the front to the end."""

    def __init__(self, file: BinaryIO, start: int, decompressor: Any) -> None:
        self._file = file
        self._at = start
        self._decompressor = decompressor

    def read(self, size: int) -> bytes:
        """At most `size` bytes, at least one. EOFError at the end."""
        idle = 0
        while True:
            self._file.seek(self._at)
            try:
                part: bytes = bytes(self._decompressor.decompress(self._file, size))
            except (DataError, MemoryError, EOFError):
                raise
            except Exception as error:
                raise ValueError(str(error)[:200] or type(error).__name__) from error
            moved = self._file.tell() != self._at
            self._at = self._file.tell()
            if part:
                return part
            idle = 0 if moved else idle + 1
            if idle > 2:
                raise EOFError("the block of a 7z archive ends early")


class _MemberStream:
    """The bytes of one member of a block."""

    def __init__(self, block: _Block | None, size: int) -> None:
        self._block = block
        self._left = size
        self._found = 0
        self.crc32: int | None = None
        """The checksum that the header says, where it is to be compared."""

    def read(self, size: int, /) -> bytes:
        if self._left <= 0 or self._block is None:
            return b""
        part = self._block.read(min(size, self._left))
        self._left -= len(part)
        if self.crc32 is not None:
            self._found = zlib.crc32(part, self._found)
            if self._left <= 0 and self._found != self.crc32:
                raise TruncatedError("its checksum is wrong", hint="Send the archive again, whole.")
        return part
