"""Zip and tar archives, read member by member and never unpacked onto the disk; single files.

Headers are not believed: every byte that comes out is counted, and names, links, devices,
encryption and duplicates are refused before anything is read from a member.
"""

from __future__ import annotations

import bz2
import gzip
import io
import stat
import tarfile
import zipfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Literal, cast

from saf.data.sources.limits import Budget, Limits
from saf.data.sources.source import Member, Source, check_archive_size, check_name, special
from saf.data.sources.stream import (
    BLOCK,
    DAMAGE,
    Content,
    Readable,
    TruncatedError,
    XZStream,
    damaged,
)
from saf.errors import DataError

Compression = Literal["", "gz", "bz2", "xz"]

_CENTRAL_ENTRY = b"PK\x01\x02"
_ENCRYPTED = 0x1 | 0x40 | 0x2000


class Zip(Source):
    """A zip archive; an `.npz` file is one too."""

    def __init__(self, path: Path, limits: Limits) -> None:
        super().__init__(path, limits)
        self._size = check_archive_size(path, limits)

    def _contents(self, wanted: Collection[str]) -> Iterator[Content]:
        budget = Budget(self.limits, self._size, self.label)
        with self._open() as archive:
            for info in archive.infolist():
                if info.filename.endswith("/"):
                    continue
                name = check_name(info.filename, self.label, self.limits)
                if name not in wanted:
                    continue
                try:
                    stream = archive.open(info)
                except DAMAGE as error:
                    raise damaged(name, error) from error
                with stream:
                    yield Content(stream, budget, name)

    def _list(self) -> Iterator[Member]:
        self._check_entries()
        with self._open() as archive:
            self._check_count(len(archive.infolist()))
            for info in archive.infolist():
                name = check_name(info.filename, self.label, self.limits)
                if info.flag_bits & _ENCRYPTED:
                    raise DataError(
                        f"{self.label} is encrypted ({name!r})",
                        hint="Pack it again without a password.",
                    )
                kind = stat.S_IFMT(info.external_attr >> 16)
                if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                    raise special(self.label, name)
                if info.filename.endswith("/"):
                    continue
                # LZMA members may ask for gigabytes of dictionary, whatever they hold.
                if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                    raise DataError(
                        f"{self.label}: {name!r} is compressed by method {info.compress_type}; "
                        "only 'stored' and 'deflated' are read",
                        hint="Pack it again with an ordinary zip program, or as .tar.xz.",
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
                while content.read(BLOCK):  # the checksums of the compression are at its end
                    pass

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
        case "":
            return raw


_MAGIC: dict[bytes, Compression] = {b"\x1f\x8b": "gz", b"BZh": "bz2", b"\xfd7zXZ\0": "xz"}
