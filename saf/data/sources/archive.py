"""Zip and tar archives, read member by member and never unpacked onto the disk; single files.

Headers are not believed: every byte that comes out is counted, and names, links, devices,
encryption and duplicates are refused before anything is read from a member.
"""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import BinaryIO, Literal, cast

from saf.data.sources.limits import Budget, Limits
from saf.data.sources.names import encodings
from saf.data.sources.source import Member, Source, check_archive_size, check_name, special
from saf.data.sources.stream import (
    BLOCK,
    DAMAGE,
    Content,
    Readable,
    TruncatedError,
    XZStream,
    damaged,
    two_in_one,
    zstd_stream,
)
from saf.errors import DataError

Compression = Literal["", "gz", "bz2", "xz", "zst"]

_CENTRAL_ENTRY = b"PK\x01\x02"
_END_OF_ZIP = b"PK\x05\x06"
_LONGEST_END = 22 + 2**16  # bytes of the end of a zip, with its comment
_ENCRYPTED = 0x1 | 0x40 | 0x2000
_UTF8 = 0x800
_UNICODE_PATH = 0x7075
_METHODS = {
    6: "'imploding'",
    9: "Deflate64, as Windows does with large files",
    12: "bzip2",
    14: "LZMA",
    93: "Zstandard",
    95: "XZ",
    98: "PPMd",
}


class Zip(Source):
    """A zip archive; an `.npz` file is one too. Names that are not marked as UTF-8 are decoded by
    `names.encodings`; backslashes, as .NET writes them, divide folders where no name has a '/'."""

    def __init__(self, path: Path, limits: Limits) -> None:
        super().__init__(path, limits)
        self._size = check_archive_size(path, limits)
        self._encoding = ""
        self._decoded: list[str] | None = None

    @cached_property
    def encodings(self) -> tuple[str, ...]:  # type: ignore[override]
        with self._open() as archive:
            raw = {name for info in archive.infolist() if (name := _raw_name(info)) is not None}
        return encodings(raw)

    def use_encoding(self, encoding: str) -> None:
        try:
            codecs.lookup(encoding)
            with self._open() as archive:
                for info in archive.infolist():
                    (_raw_name(info) or b"").decode(encoding)
        except (LookupError, ValueError) as error:  # also of codecs that are for no texts
            raise DataError(
                f"the names in {self.label} are not in the encoding {encoding[:40]!r}",
                hint=f"They may be in {', '.join(self.encodings)}.",
            ) from error
        self._encoding, self._decoded = encoding, None
        self.__dict__.pop("members", None)

    def _names(self, archive: zipfile.ZipFile) -> list[tuple[zipfile.ZipInfo, str]]:
        """Entries with their decoded names."""
        infos = archive.infolist()
        if self._decoded is None or len(self._decoded) != len(infos):
            encoding = self._encoding or self.encodings[0]
            names = [_name(info, encoding) for info in infos]
            if any("\\" in name for name in names) and not any("/" in name for name in names):
                names = [name.replace("\\", "/") for name in names]
            self._decoded = names
        return list(zip(infos, self._decoded, strict=True))

    def _contents(self, wanted: Collection[str]) -> Iterator[Content]:
        budget = Budget(self.limits, self._size, self.label)
        wanted = frozenset(wanted)
        with self._open() as archive:
            for info, said in self._names(archive):
                if said.endswith("/"):
                    continue
                name = check_name(said, self.label, self.limits)
                if name not in wanted:
                    continue
                try:
                    stream = archive.open(info)
                except DAMAGE as error:
                    raise damaged(name, error) from error
                with stream:
                    yield Content(stream, budget, name)

    def _is_behind_another(self, archive: zipfile.ZipFile) -> bool:
        """Whether the end of another zip stands before the first member. Other bytes may,
        such as a member that was taken out of the directory alone."""
        first = min((info.header_offset for info in archive.infolist()), default=0)
        if first <= 0:  # below it in a damaged one
            return False
        with self.path.open("rb") as file:
            file.seek(max(0, first - _LONGEST_END))
            return _END_OF_ZIP in file.read(min(first, _LONGEST_END))

    def _list(self) -> Iterator[Member]:
        self._check_entries()
        with self._open() as archive:
            self._check_count(len(archive.infolist()))
            if self._is_behind_another(archive):
                raise two_in_one(self.label, "Unpack each by itself before they are joined")
            for info, said in self._names(archive):
                name = check_name(said, self.label, self.limits)
                if info.flag_bits & _ENCRYPTED:
                    raise DataError(
                        f"{self.label} is encrypted ({name!r})",
                        hint="Pack it again without a password.",
                    )
                kind = stat.S_IFMT(info.external_attr >> 16)
                if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                    raise special(self.label, name)
                if said.endswith("/"):
                    continue
                # LZMA members may ask for gigabytes of dictionary, whatever they hold.
                if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                    method = _METHODS.get(info.compress_type, f"method {info.compress_type}")
                    raise DataError(
                        f"{self.label}: {name!r} is compressed by {method}; of zip archives only "
                        "'stored' and 'deflated' are read",
                        hint="Pack it again with Deflate, or as .7z, .tar.xz or .tar.zst.",
                    )
                yield Member(name, info.file_size)

    def _check_entries(self) -> None:
        """Refuse too many entries before zipfile builds an object for each."""
        count, tail = 0, b""
        with self.path.open("rb") as file:
            while block := file.read(BLOCK):
                count += (tail + block).count(_CENTRAL_ENTRY)
                tail = block[-len(_CENTRAL_ENTRY) + 1 :]
        self._check_count(count)

    @contextmanager
    def _open(self) -> Iterator[zipfile.ZipFile]:
        try:
            archive = zipfile.ZipFile(self.path)
        except DAMAGE as error:
            raise damaged(self.label, error) from error
        with archive:
            yield archive


def _name(info: zipfile.ZipInfo, encoding: str) -> str:
    if (raw := _raw_name(info)) is not None:
        return raw.decode(encoding)
    if info.flag_bits & _UTF8 or info.filename.isascii():
        return info.filename
    try:
        said = _unicode_path(info, info.filename.encode("cp437"))
    except UnicodeEncodeError:
        said = None
    return said or info.filename


def _raw_name(info: zipfile.ZipInfo) -> bytes | None:
    """The bytes of a name whose encoding is not said; None where it is."""
    if info.flag_bits & _UTF8:
        return None
    try:
        raw = info.filename.encode("cp437")  # as zipfile decoded it
    except UnicodeEncodeError:
        return None
    return None if raw.isascii() or _unicode_path(info, raw) is not None else raw


def _unicode_path(info: zipfile.ZipInfo, raw: bytes) -> str | None:
    """The name in UTF-8 that Info-ZIP adds for names in another encoding."""
    at = 0
    while at + 4 <= len(info.extra):
        kind, size = struct.unpack_from("<HH", info.extra, at)
        content = info.extra[at + 4 : at + 4 + size]
        at += 4 + size
        if kind == _UNICODE_PATH and len(content) > 5 and content[0] == 1:
            if int.from_bytes(content[1:5], "little") != zlib.crc32(raw):
                return None  # of a name that was changed since
            try:
                return content[5:].decode("utf-8")
            except UnicodeDecodeError:
                return None
    return None


# The first is no public name, and tells the end of an archive from a damaged header.
_END: type[tarfile.HeaderError] = vars(tarfile)["EOFHeaderError"]
_HEADER = tarfile.HeaderError


class _TarFile(tarfile.TarFile):
    members: list[tarfile.TarInfo]


class _StrictTarInfo(tarfile.TarInfo):
    """tarfile takes an unreadable header for the end of the archive; here it is an error."""

    @classmethod
    def fromtarfile(cls, tarfile: tarfile.TarFile) -> _StrictTarInfo:
        try:
            return super().fromtarfile(tarfile)
        except _END:
            raise
        except _HEADER as error:
            raise TruncatedError(
                f"{Path(str(tarfile.name)).name} is damaged or was cut short: {error}",
                hint="Send the archive again, whole.",
            ) from error


class Tar(Source):
    """A tar archive, compressed or not, read as a stream: it never seeks backwards, which
    headers with negative offsets would otherwise make it do for ever."""

    def __init__(self, path: Path, limits: Limits, compression: Compression) -> None:
        super().__init__(path, limits)
        self._size = check_archive_size(path, limits)
        self._compression = compression

    def _contents(self, wanted: Collection[str]) -> Iterator[Content]:
        wanted = frozenset(wanted)
        for archive, info, name in self._walk(whole=False):
            if not info.isreg() or name not in wanted:
                continue
            stream = archive.extractfile(info)
            assert stream is not None  # regular files have content
            # The stream below has paid for these bytes already.
            yield Content(cast(Readable, stream), Budget(self.limits, self._size, name), name)

    def _list(self) -> Iterator[Member]:
        for _, info, name in self._walk(whole=True):
            if info.issparse() or not (info.isreg() or info.isdir()):
                raise special(self.label, name)
            if info.isreg():
                yield Member(name, info.size)

    def _walk(self, *, whole: bool) -> Iterator[tuple[_TarFile, tarfile.TarInfo, str]]:
        budget = Budget(self.limits, self._size, self.label)
        with self.path.open("rb") as raw:
            content = Content(decompressed(raw, self._compression), budget, self.label)
            content.ceiling = BLOCK
            try:
                archive = _TarFile.open(
                    self.label,
                    mode="r|",
                    fileobj=io.BufferedReader(content),
                    tarinfo=_StrictTarInfo,
                    errors="surrogateescape",
                )
            except DataError:
                raise
            except DAMAGE as error:
                raise damaged(self.label, error) from error
            with archive:
                count = 0
                while (info := self._next(archive)) is not None:
                    count += 1
                    self._check_count(count)
                    if info.size < 0:
                        raise special(self.label, info.name)
                    # tarfile would go on reading behind the end of the file for all of it.
                    budget.expect(info.size, info.name)
                    content.ceiling = info.offset_data + info.size + 2 * BLOCK
                    yield archive, info, check_name(info.name, self.label, self.limits)
                    archive.members.clear()  # else it remembers every header it saw
                if whole:
                    content.ceiling = None
                    self._check_end(cast(Readable, archive.fileobj))

    def _check_end(self, behind: Readable) -> None:
        """Read what is behind the end, where the checksums of a compression are. Raises DataError
        where there is more than zeros, such as another archive."""
        while block := behind.read(BLOCK):
            if block.strip(b"\0"):
                raise two_in_one(self.label, "Unpack it (tar --ignore-zeros -xf)")

    def _next(self, archive: _TarFile) -> tarfile.TarInfo | None:
        try:
            return archive.next()
        except DataError:
            raise
        except DAMAGE as error:
            raise damaged(self.label, error) from error


class SingleFile(Source):
    """A file that is no archive, compressed or not, as its only member."""

    archive = False
    single = True

    def __init__(self, path: Path, limits: Limits, compression: Compression) -> None:
        super().__init__(path, limits)
        self._size = check_archive_size(path, limits)
        self._compression = compression
        self.compressed = bool(compression)

    def _contents(self, wanted: Collection[str]) -> Iterator[Content]:
        if self.label in wanted:
            budget = Budget(self.limits, self._size, self.label)
            with self.path.open("rb") as raw:
                yield Content(decompressed(raw, self._compression), budget, self.label)

    def _list(self) -> Iterator[Member]:
        yield Member(self.label, self._size)


def compression_of(start: bytes) -> Compression:
    """How a file that starts with these bytes is compressed; "" for not at all."""
    for magic, compression in _MAGIC.items():
        if start.startswith(magic):
            return compression
    return ""


def decompressed(raw: BinaryIO, compression: Compression) -> Readable:
    """The stream behind a compression, in bounded memory."""
    match compression:
        case "gz":
            return gzip.GzipFile(fileobj=raw, mode="rb")
        case "bz2":
            return bz2.BZ2File(raw)
        case "xz":
            return XZStream(raw)
        case "zst":
            return zstd_stream(raw)
        case "":
            return raw


_MAGIC: dict[bytes, Compression] = {
    b"\x1f\x8b": "gz",
    b"BZh": "bz2",
    b"\xfd7zXZ\0": "xz",
    b"\x28\xb5\x2f\xfd": "zst",
}
