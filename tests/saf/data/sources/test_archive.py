"""Archives that were made to do harm."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from saf.data import Limits, read
from saf.data.sources.archive import Tar, Zip
from saf.data.sources.stream import XZStream
from saf.errors import DataError

Files = dict[str, bytes]
Pack = Callable[[Mapping[str, bytes], str], Path]
FOLDERS = ("train/a", "train/b", "test/a", "test/b")
MIB = 2**20


@pytest.fixture
def good(image_files: Callable[..., Files]) -> Files:
    return image_files(*FOLDERS, count=2)


def refused(path: Path, says: str, **limits: Any) -> None:
    with pytest.raises(DataError) as caught:
        read(path, limits=Limits(**limits))
    assert says in str(caught.value)
    assert caught.value.hint


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz"])
@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("../escape.png", "could point outside"),
        ("train/a/../../../escape.png", "could point outside"),
        ("/etc/escape.png", "could point outside"),
        ("train\\a\\escape.png", "could point outside"),
        ("C:/escape.png", "could point outside"),
        ("c:escape.png", "could point outside"),
        ("train/a/bell\x07.png", "control characters"),
        ("train/a/\u202egnp.exe", "control characters"),
        ("train/a/" + "long/" * 300 + "x.png", "a name of 1513 characters"),
    ],
)
def test_names_that_point_elsewhere_are_refused_and_nothing_is_written(
    kind: str, name: str, says: str, good: Files, pack: Pack, tmp_path: Path
) -> None:
    path = pack(good | {name: b"harm"}, kind)
    before = sorted(tmp_path.rglob("*"))
    refused(path, says)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_file_without_a_name_is_refused(good: Files, pack: Pack) -> None:
    path = pack(good | {"X": b"x"}, "zip")
    path.write_bytes(path.read_bytes().replace(b"X", b"\0"))
    refused(path, "holds a file without a name")
    refused(pack(good | {".": b"x"}, "tar"), "holds a file without a name")


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_a_name_that_is_no_utf8_is_refused(kind: str, good: Files, pack: Pack) -> None:
    path = pack(good | {"train/a/XX.png": b"x"}, kind)
    content = path.read_bytes().replace(b"train/a/XX.png", b"train/a/\xff\x07.png")
    if kind == "tar":  # the checksum of the header
        at = content.index(b"train/a/\xff\x07.png")
        header = bytearray(content[at : at + 512])
        header[148:156] = b" " * 8
        header[148:156] = b"%06o\0 " % sum(header)
        content = content[:at] + bytes(header) + content[at + 512 :]
    path.write_bytes(content)
    refused(path, "control characters or of unknown encoding")


@pytest.mark.parametrize(
    ("kind", "link"),
    [
        (tarfile.SYMTYPE, "/etc/passwd"),
        (tarfile.LNKTYPE, "train/a/00.png"),
        (tarfile.CHRTYPE, ""),
        (tarfile.BLKTYPE, ""),
        (tarfile.FIFOTYPE, ""),
        (tarfile.CONTTYPE, ""),
        (tarfile.GNUTYPE_SPARSE, ""),
    ],
)
def test_links_and_devices_in_a_tar_are_refused(
    kind: bytes, link: str, good: Files, pack: Pack, tmp_path: Path
) -> None:
    path = tmp_path / "links.tar"
    with tarfile.open(path, "w") as archive:
        for name, content in good.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        special = tarfile.TarInfo("train/a/link.png")
        special.type, special.linkname = kind, link
        archive.addfile(special)
    if kind == tarfile.CONTTYPE:  # "contiguous" is an old word for a regular file
        refused(path, "train/a/link.png is no readable")
    else:
        refused(path, "'train/a/link.png', which is a link or a device")


@pytest.mark.parametrize("mode", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFSOCK])
def test_links_and_devices_in_a_zip_are_refused(mode: int, good: Files, pack: Pack) -> None:
    path = pack(good, "zip")
    with zipfile.ZipFile(path, "a") as archive:
        info = zipfile.ZipInfo("train/a/link.png")
        info.external_attr = (mode | 0o777) << 16
        archive.writestr(info, "/etc/passwd")
    refused(path, "'train/a/link.png', which is a link or a device")


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("again", ["train/a/00.png", "./train/a/00.png", "train//a/00.png"])
@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_a_name_that_comes_twice_is_refused(kind: str, again: str, good: Files, pack: Pack) -> None:
    path = pack(good, kind)
    if kind == "zip":
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr(again, b"other")
    else:
        with tarfile.open(path, "a") as tar:
            tar.addfile(tarfile.TarInfo(again), io.BytesIO())
    refused(path, "holds 'train/a/00.png' twice")


def test_an_encrypted_zip_is_refused(good: Files, pack: Pack) -> None:
    path = pack(good, "zip")
    content = bytearray(path.read_bytes())
    at = content.index(b"PK\x01\x02")
    content[at + 8] |= 1
    path.write_bytes(content)
    refused(path, "is encrypted")


@pytest.mark.parametrize(
    ("method", "called"), [(zipfile.ZIP_LZMA, "LZMA"), (zipfile.ZIP_BZIP2, "bzip2")]
)
def test_a_zip_with_rare_compression_is_refused(
    method: int, called: str, good: Files, tmp_path: Path
) -> None:
    path = tmp_path / "rare.zip"
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in good.items():
            archive.writestr(name, content)
    refused(path, f"is compressed by {called}")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["zip", "tar.gz", "tar.bz2", "tar.xz"])
def test_a_bomb_is_stopped_by_the_ratio_of_what_comes_out_to_what_was_sent(
    kind: str, good: Files, pack: Pack
) -> None:
    path = pack(good | {"train/a/bomb.png": bytes(65 * MIB)}, kind)
    assert path.stat().st_size < 200_000
    refused(path, "as a decompression bomb does", max_ratio=200)


def test_a_zip_whose_header_lies_about_the_size_is_counted_as_it_unpacks(
    good: Files, pack: Pack
) -> None:
    path = pack(good | {"train/a/bomb.png": bytes(MIB)}, "zip")
    content = path.read_bytes()
    path.write_bytes(content.replace(struct.pack("<I", MIB), struct.pack("<I", 100)))
    refused(path, "train/a/bomb.png is damaged")


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz", "tar.bz2", "tar.xz"])
def test_more_bytes_than_allowed_are_not_unpacked(kind: str, good: Files, pack: Pack) -> None:
    refused(pack(good, kind), "unpacks to more than 300 bytes", max_unpacked_bytes=300)


def test_the_sum_over_many_members_is_limited(image_files: Any, pack: Pack) -> None:
    files = image_files(*FOLDERS, count=20)
    total = sum(map(len, files.values()))
    refused(pack(files, "zip"), "unpacks to more than", max_unpacked_bytes=total - 1)
    read(pack(files, "zip"), limits=Limits(max_unpacked_bytes=total))


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.xz"])
def test_too_many_entries_are_refused(kind: str, good: Files, pack: Pack) -> None:
    refused(pack(good, kind), "more than 7 files", max_entries=7)
    read(pack(good, kind), limits=Limits(max_entries=8))


def test_entries_of_a_zip_are_counted_before_objects_are_made_of_them(
    good: Files, pack: Pack, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = pack(good, "zip")

    def never(*_: Any) -> None:
        raise AssertionError("the directory was parsed")

    monkeypatch.setattr(zipfile.ZipFile, "_RealGetContents", never)
    refused(path, "more than 7 files", max_entries=7)


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_a_file_over_the_limit_is_refused_unread(kind: str, good: Files, pack: Pack) -> None:
    refused(pack(good, kind), "at most 100 bytes are accepted", max_archive_bytes=100)


@pytest.mark.parametrize("inner", ["more.zip", "more.tar.gz", "a/more.7z", "data.npz", "x.tgz"])
@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_archives_in_archives_are_refused(kind: str, inner: str, good: Files, pack: Pack) -> None:
    refused(pack(good | {inner: b"PK"}, kind), f"holds the archive '{inner}'")


def test_gz_in_gz_is_no_way_around_the_count(
    mnist: Callable[..., Files], pack: Pack, idx: Callable[..., bytes]
) -> None:
    files = mnist(gz=True)
    name = "train-images-idx3-ubyte.gz"
    files[name] = gzip.compress(gzip.compress(idx(np.zeros((12, 7, 5)))))
    refused(pack(files, "tar.gz"), f"{name} is no IDX file: it starts with 1f 8b")


def test_a_gz_with_endless_content_is_not_read_to_its_end(
    mnist: Callable[..., Files], pack: Pack, idx: Callable[..., bytes]
) -> None:
    files = mnist(gz=True)
    name = "train-images-idx3-ubyte.gz"
    files[name] = gzip.compress(idx(np.zeros((12, 7, 5))) + bytes(10 * MIB), 1)
    refused(pack(files, "zip"), "expected 436 bytes", max_unpacked_bytes=3 * MIB)


def tar_header(name: bytes, size: bytes, kind: bytes = b"0") -> bytes:
    block = bytearray(512)
    block[: len(name)] = name
    block[100:108] = block[108:116] = block[116:124] = b"0000644\0"
    block[124 : 124 + len(size)] = size
    block[136:148] = b"00000000000\0"
    block[148:156] = b" " * 8
    block[156:157] = kind
    block[257:265] = b"ustar\x0000"
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


@pytest.mark.parametrize("kind", [b"x", b"g", b"L", b"K"])
def test_a_huge_header_of_a_tar_is_not_taken_into_memory(kind: bytes, tmp_path: Path) -> None:
    path = tmp_path / "headers.tar.gz"
    head = tar_header(b"pax", b"%011o\0" % (40 * MIB), kind)
    path.write_bytes(gzip.compress(head + bytes(40 * MIB), 1))
    refused(path, "header of more than 1.0 MiB")


def test_a_tar_with_a_negative_size_does_not_send_the_reader_back(tmp_path: Path) -> None:
    path = tmp_path / "negative.tar"
    back = b"\xff" * 8 + (-1024).to_bytes(4, "big", signed=True)
    path.write_bytes(
        tar_header(b"a/0.png", b"00000000000\0") + tar_header(b"a/1.png", back) + bytes(1024)
    )
    with pytest.raises(DataError):
        read(path)


def test_a_chain_of_extended_headers_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "chain.tar"
    one = tar_header(b"pax", b"%011o\0" % 16, b"x") + b"16 comment=aaaa\n".ljust(512, b"\0")
    path.write_bytes(one * 5000 + tar_header(b"a/0.png", b"00000000000\0") + bytes(1024))
    with pytest.raises(DataError):
        read(path)


@pytest.mark.parametrize("kind", ["tar", "tar.gz", "tar.bz2", "tar.xz"])
def test_a_tar_cut_between_two_members_is_not_taken_for_a_smaller_one(
    kind: str, good: Files, pack: Pack, tmp_path: Path
) -> None:
    whole = pack(good, "tar").read_bytes()
    cut = whole[: whole.index(b"test/b/01.png")]
    squeeze: dict[str, Callable[[bytes], bytes]] = {
        "gz": gzip.compress,
        "bz2": bz2.compress,
        "xz": lzma.compress,
    }
    path = tmp_path / f"cut.{kind}"
    path.write_bytes(squeeze.get(kind.removeprefix("tar."), bytes)(cut))
    refused(path, "damaged or was cut short")


def test_a_damaged_header_in_the_middle_of_a_tar_is_not_its_end(good: Files, pack: Pack) -> None:
    path = pack(good, "tar")
    path.write_bytes(path.read_bytes().replace(b"test/b/01.png", b"test/b/0X.png"))
    refused(path, "damaged or was cut short")


def test_xz_that_asks_for_gigabytes_to_decompress_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "greedy.tar.xz"
    wasteful = [{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": 2**20}]
    content = bytearray(lzma.compress(bytes(512), filters=wasteful))
    assert content[12 + 4] == 16  # the dictionary's size, 2^20, in the header of the block
    content[12 + 4] = 40  # 4 GiB
    header_size = (content[12] + 1) * 4
    crc = zlib.crc32(content[12 : 12 + header_size - 4])
    content[12 + header_size - 4 : 12 + header_size] = struct.pack("<I", crc)
    path.write_bytes(content)
    refused(path, "Memory usage limit")


def test_xz_streams_that_follow_one_another_with_padding_are_one() -> None:
    parts = lzma.compress(b"one ") + bytes(8) + lzma.compress(b"two") + bytes(4)
    stream = XZStream(io.BytesIO(parts))
    assert b"".join(iter(lambda: stream.read(3), b"")) == b"one two"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is empty"),
        (b"PK\x03\x04 but no zip", "damaged"),
        (b"PK\x05\x06" + bytes(18), "holds no files"),
        (bytes(10240), "holds no files"),
        (b"just a text" * 100, "of no kind that is read"),
        (gzip.compress(b"just a text", mtime=0), "neither a tar archive nor IDX"),
        (b"\x1f\x8b\x08 but no gzip", "damaged"),
        (b"\xfd7zXZ\0 but no xz", "damaged"),
        (b"BZh9 but no bzip2", "damaged"),
        (b"\x89PNG\r\n\x1a\n", "is a single image"),
        (b"\xff\xd8\xff\xe0", "is a single image"),
    ],
)
def test_a_file_of_another_kind_is_told_what_is_accepted(
    content: bytes, says: str, tmp_path: Path
) -> None:
    path = tmp_path / "upload"
    path.write_bytes(content)
    refused(path, says)


def test_an_archive_without_a_known_layout_lists_what_it_holds(pack: Pack) -> None:
    refused(pack({"notes.txt": b"", "data.xyz": b"1,2"}, "zip"), "2 files: data.xyz, notes.txt")


def test_a_format_other_than_the_announced_one_is_named(good: Files, pack: Pack) -> None:
    with pytest.raises(DataError, match="announced as idx, and looks like image-folder"):
        read(pack(good, "zip"), "idx")
    with pytest.raises(DataError, match="there is no format 'images'"):
        read(pack(good, "zip"), "images")
    with pytest.raises(DataError, match="announced as canonical, and looks like image-folder"):
        read(pack(good, "zip"), "canonical")
    with pytest.raises(DataError, match="there is no file or folder"):
        read(Path("nowhere.zip"))


def test_members_are_the_same_in_any_order_and_litter_is_left_out(good: Files, pack: Pack) -> None:
    litter = {"__MACOSX/train/a/._00.png": b"", "train/.DS_Store": b""}
    backwards = dict(reversed((good | litter).items()))
    from_zip = Zip(pack(good, "zip"), Limits()).members
    assert [member.name for member in from_zip] == sorted(good)
    assert Tar(pack(backwards, "tar"), Limits(), "").members == from_zip


@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.DIRTYPE, b"Z"])
def test_a_member_that_announces_more_than_there_can_be_is_refused_at_once(
    tmp_path: Path, kind: bytes
) -> None:
    """2^62 bytes, which tarfile would look for block by block behind the end of the file."""
    info = tarfile.TarInfo("train/a/0.png")
    info.type, info.size = kind, 2**62
    path = tmp_path / "far.tar"
    path.write_bytes(info.tobuf(tarfile.GNU_FORMAT) + bytes(1024))
    with pytest.raises(DataError, match="announces more than"):
        read(path)


@pytest.mark.parametrize("kind", ["tar", "tar.gz", "zip", "7z"])
def test_an_archive_behind_the_end_of_another_is_not_overlooked(
    kind: str, good: Files, pack: Callable[..., Path], tmp_path: Path
) -> None:
    """`cat train.tar test.tar`: readers of tar see the first alone, those of zip the last."""
    split = [{n: good[n] for n in good if n.startswith(part)} for part in ("train", "test")]
    path = tmp_path / f"both.{kind}"
    path.write_bytes(b"".join(pack(files, kind).read_bytes() for files in split))
    refused(path, "holds more than one archive")


def test_a_zip_whose_first_member_was_taken_out_of_its_directory_is_read(
    good: Files, pack: Callable[..., Path], tmp_path: Path
) -> None:
    whole = pack(good, "zip").read_bytes()
    with zipfile.ZipFile(io.BytesIO(whole)) as archive:
        start = archive.infolist()[1].header_offset
    path = tmp_path / "without.zip"
    path.write_bytes(whole[:start] + whole)  # what is before the first member is in no directory
    np.testing.assert_array_equal(read(path).x_train, read(pack(good, "zip")).x_train)
