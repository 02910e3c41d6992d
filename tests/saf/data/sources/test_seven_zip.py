"""7z archives: read as a stream whatever their compression, hostile ones refused within bounds."""

from __future__ import annotations

import os
import subprocess
import sys
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import py7zr
import pytest

from saf.data import Limits, detect, read
from saf.data.sources.seven_zip import SevenZip
from saf.errors import DataError

Files = dict[str, bytes]
Place = Callable[[Mapping[str, bytes]], Path]
FOLDERS = ("train/a", "train/b", "test/a", "test/b")
LZMA2 = {"id": py7zr.FILTER_LZMA2, "preset": 1}
MIB = 2**20


def packed(path: Path, files: Mapping[str, bytes], *filters: dict[str, Any], **more: Any) -> Path:
    options: dict[str, Any] = {"filters": list(filters)} if filters else {}
    with py7zr.SevenZipFile(path, "w", **options, **more) as archive:
        for name, content in files.items():
            archive.writestr(content, name)
    return path


@pytest.mark.parametrize(
    "filters",
    [
        (LZMA2,),
        ({"id": py7zr.FILTER_LZMA},),
        ({"id": py7zr.FILTER_COPY},),
        ({"id": py7zr.FILTER_X86}, LZMA2),
        ({"id": py7zr.FILTER_DELTA}, LZMA2),
        ({"id": py7zr.FILTER_X86}, {"id": py7zr.FILTER_LZMA}),
    ],
)
def test_every_compression_whose_memory_is_known_gives_the_same_data(
    filters: tuple[dict[str, Any], ...],
    image_files: Callable[..., Files],
    place: Place,
    tmp_path: Path,
) -> None:
    files = image_files(*FOLDERS)
    path = packed(tmp_path / "data.7z", files, *filters)
    assert detect(path) == "image-folder"
    np.testing.assert_array_equal(read(path).x_train, read(place(files)).x_train)


@pytest.mark.slow
@pytest.mark.parametrize("size", [1, 8])
def test_several_blocks_empty_files_and_folders_are_read(
    size: int, image_files: Callable[..., Files], place: Place, tmp_path: Path
) -> None:
    files = image_files(*FOLDERS)
    path, root = tmp_path / "data.7z", place(files | {"train/empty.txt": b""})
    names = list(files)
    for start in range(0, len(names), size):
        with py7zr.SevenZipFile(path, "a" if start else "w") as archive:  # a block each
            for name in names[start : start + size]:
                archive.writestr(files[name], name)
    with py7zr.SevenZipFile(path, "a") as archive:
        archive.write(root / "train", "train")  # a folder by itself
        archive.write(root / "train" / "empty.txt", "train/empty.txt")
    with py7zr.SevenZipFile(path) as archive:
        assert archive.archiveinfo().blocks >= len(files) // size
    np.testing.assert_array_equal(read(path).x_test, read(place(files)).x_test)


@pytest.mark.slow
def test_what_is_wanted_is_given_in_order_whatever_lies_between(tmp_path: Path) -> None:
    files = {f"{number}.bin": os.urandom(1000 + number * 700_000) for number in range(5)}
    source = SevenZip(packed(tmp_path / "data.7z", files, LZMA2), Limits())
    assert [(m.name, m.size) for m in source.members] == [(n, len(c)) for n, c in files.items()]
    for wanted in (["3.bin"], ["1.bin", "4.bin"], list(files)):
        found = {}
        for content in source.contents(wanted):
            found[content.name] = content.read(10)  # the rest is left unread
        assert found == {name: files[name][:10] for name in wanted}
    assert {c.name: c.read(2**24) for c in source.contents(list(files))} == files


@pytest.mark.parametrize("name", ["../escape.png", "/etc/escape.png", "a/../../escape.png"])
def test_names_that_point_elsewhere_are_refused(
    name: str, image_files: Callable[..., Files], tmp_path: Path
) -> None:
    place = "x" * len(name)
    path = tmp_path / "data.7z"
    with py7zr.SevenZipFile(path, "w") as archive:
        archive.set_encoded_header_mode(False)  # the names lie open
        for each, blob in (image_files(*FOLDERS) | {place: b"x"}).items():
            archive.writestr(blob, each)
    content = bytearray(path.read_bytes())
    at = content.find(place.encode("utf-16-le"))
    content[at : at + 2 * len(name)] = name.encode("utf-16-le")
    header = 32 + int.from_bytes(content[12:20], "little")
    size = int.from_bytes(content[20:28], "little")
    content[28:32] = zlib.crc32(content[header : header + size]).to_bytes(4, "little")
    content[8:12] = zlib.crc32(content[12:32]).to_bytes(4, "little")
    path.write_bytes(content)
    with pytest.raises(DataError, match="could point outside") as caught:
        read(path)
    assert caught.value.hint
    assert not (tmp_path.parent / "escape.png").exists()


def test_links_are_refused(image_files: Callable[..., Files], place: Place, tmp_path: Path) -> None:
    root = place(image_files(*FOLDERS))
    (root / "train" / "a" / "link.png").symlink_to("00.png")
    path = tmp_path / "data.7z"
    with py7zr.SevenZipFile(path, "w") as archive:
        archive.writeall(root, "data")
    with pytest.raises(DataError, match=r"link.png.*which is a link"):
        read(path)


@pytest.mark.parametrize("header", [False, True])
def test_encrypted_archives_are_refused_as_such(
    header: bool, image_files: Callable[..., Files], tmp_path: Path
) -> None:
    path = packed(tmp_path / "d.7z", image_files(*FOLDERS), password="x", header_encryption=header)
    with pytest.raises(DataError, match="is encrypted"):
        read(path)


@pytest.mark.parametrize("method", [py7zr.FILTER_BZIP2, py7zr.FILTER_PPMD, py7zr.FILTER_BROTLI])
def test_other_compressions_are_refused_with_what_to_do(
    method: int, image_files: Callable[..., Files], tmp_path: Path
) -> None:
    with pytest.raises(DataError, match="by a method of 7z that is not read") as caught:
        read(packed(tmp_path / "data.7z", image_files(*FOLDERS), {"id": method}))
    assert "LZMA2" in caught.value.hint


def test_a_dictionary_of_gigabytes_is_refused(
    image_files: Callable[..., Files], tmp_path: Path
) -> None:
    small = {"id": py7zr.FILTER_LZMA2, "dict_size": 2**16}
    path = packed(tmp_path / "data.7z", image_files(*FOLDERS), small)
    with py7zr.SevenZipFile(path) as archive:
        (folder,) = archive.header.main_streams.unpackinfo.folders
        folder.coders[0]["properties"] = b"\x27"  # 3 GiB
        source = SevenZip(path, Limits())
        with pytest.raises(DataError, match="a dictionary of 3072 MiB"):
            source._check_coders(folder.coders)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
def test_a_bomb_is_stopped_by_its_ratio_and_in_little_memory(
    image_files: Callable[..., Files], tmp_path: Path
) -> None:
    bomb = image_files(*FOLDERS) | {"train/a/zeros.png": bytes(300 * MIB)}
    path = packed(tmp_path / "bomb.7z", bomb, LZMA2)
    program = (
        "import sys\n"
        "from saf.data import read\n"
        "try:\n    read(sys.argv[1])\nexcept Exception as error:\n    print(error)\n"
        "print(open('/proc/self/status').read().split('VmHWM:')[1].split()[0])\n"
    )
    told = subprocess.run(
        [sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert "bomb" in told[0]
    assert int(told[-1]) < 200 * 1024  # KiB; 300 MiB of zeros alone would be more


def test_too_many_entries_are_refused(image_files: Callable[..., Files], tmp_path: Path) -> None:
    path = packed(tmp_path / "data.7z", image_files(*FOLDERS))
    with pytest.raises(DataError, match="more than 5 files"):
        read(path, limits=Limits(max_entries=5))


def test_a_wrong_checksum_is_damage(image_files: Callable[..., Files], tmp_path: Path) -> None:
    path = packed(tmp_path / "data.7z", image_files(*FOLDERS), {"id": py7zr.FILTER_COPY})
    content = bytearray(path.read_bytes())
    at = content.find(b"IDAT") + 6
    content[at] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(DataError):
        read(path)
