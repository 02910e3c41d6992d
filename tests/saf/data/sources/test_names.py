"""Names in zip archives, by whatever program and in whatever encoding they were packed."""

from __future__ import annotations

import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from saf.data import read
from saf.data.formats.format import NeedsChoiceError
from saf.data.sources.names import encodings
from saf.errors import DataError

Files = dict[str, bytes]


def raw_zip(path: Path, files: dict[bytes, bytes]) -> Path:
    """A zip archive with these bytes for names, without the flag that says UTF-8."""
    local, central = bytearray(), bytearray()
    for name, content in files.items():
        head = struct.pack(
            "<HHHHHIIIHH",
            20,
            0,
            0,
            0,
            33,
            zlib.crc32(content),
            len(content),
            len(content),
            len(name),
            0,
        )
        central += (
            b"PK\x01\x02\x14\x00" + head + struct.pack("<HHHII", 0, 0, 0, 0, len(local)) + name
        )
        local += b"PK\x03\x04" + head + name + content
    end = struct.pack("<HHHHIIH", 0, 0, len(files), len(files), len(central), len(local), 0)
    path.write_bytes(local + central + b"PK\x05\x06" + end)
    return path


def classes(image_files: Callable[..., Files], *names: str) -> Files:
    return image_files(*(f"train/{name}" for name in names), *(f"test/{name}" for name in names))


@pytest.mark.parametrize(
    ("encoding", "names"),
    [
        ("utf-8", ("Äpfel", "猫")),
        ("utf-8", ("日本語", "Ñandú")),
        ("cp437", ("Äpfel", "Süßkirsche")),
        ("cp850", ("São Paulo", "Ávila")),
        ("cp932", ("猫", "犬", "りんご", "カメラ")),
        ("cp932", ("表", "ソフト", "能力")),  # letters whose second byte is a backslash
        ("gbk", ("苹果", "香蕉")),
        ("big5", ("蘋果", "香蕉")),
        ("cp1252", ("Éclair", "Crème brûlée")),
        ("cp737", ("μήλα", "αχλάδια")),
    ],
)
def test_an_encoding_that_is_plain_is_taken_and_told(
    encoding: str, names: tuple[str, ...], image_files: Callable[..., Files], tmp_path: Path
) -> None:
    files = {n.encode(encoding): blob for n, blob in classes(image_files, *names).items()}
    data = read(raw_zip(tmp_path / "data.zip", files))
    assert data.class_names == tuple(sorted(names))
    told = [each.value for each in data.decisions if each.setting == "encoding"]
    assert told == ([] if encoding == "utf-8" else [encoding])


@pytest.mark.parametrize(
    ("encoding", "names"), [("cp949", ("고양이", "개")), ("cp866", ("яблоки", "груши"))]
)
def test_names_that_several_encodings_fit_are_a_question(
    encoding: str, names: tuple[str, ...], image_files: Callable[..., Files], tmp_path: Path
) -> None:
    files = {n.encode(encoding): blob for n, blob in classes(image_files, *names).items()}
    path = raw_zip(tmp_path / "data.zip", files)
    with pytest.raises(NeedsChoiceError, match="In which encoding") as caught:
        read(path)
    (question,) = caught.value.questions
    shown = {candidate.value: candidate.means for candidate in question.candidates}
    assert all(name in shown[encoding] for name in names)
    data = read(path, settings={"encoding": encoding})
    assert data.class_names == tuple(sorted(names))
    with pytest.raises(DataError, match="not in the encoding 'utf-8'"):
        read(path, settings={"encoding": "utf-8"})


def test_names_without_a_letter_beyond_ascii_are_in_no_question() -> None:
    assert encodings([b"train/a.png", b"x"]) == ("utf-8",)
    assert encodings([]) == ("utf-8",)


def test_the_name_that_info_zip_adds_in_unicode_is_taken(
    image_files: Callable[..., Files], tmp_path: Path
) -> None:
    path = tmp_path / "data.zip"
    said = {"\x81": "Яблоки", "\x82": "груши"}
    with zipfile.ZipFile(path, "w") as archive:
        for name, blob in classes(image_files, *said).items():
            raw = name.encode("latin-1")
            whole = name.replace(name.split("/")[1], said[name.split("/")[1]])
            info = zipfile.ZipInfo("x" * len(raw))
            content = b"\1" + struct.pack("<I", zlib.crc32(raw)) + whole.encode()
            info.extra = struct.pack("<HH", 0x7075, len(content)) + content
            info.filename = f"{len(archive.infolist()):0{len(raw)}}"
            archive.writestr(info, blob)
    packed = path.read_bytes()
    for number, name in enumerate(classes(image_files, *said)):
        raw = name.encode("latin-1")
        packed = packed.replace(f"{number:0{len(raw)}}".encode() + b"\x75\x70", raw + b"\x75\x70")
    path.write_bytes(packed)
    assert read(path).class_names == ("Яблоки", "груши")


def test_backslashes_between_folders_are_understood_and_lead_nowhere(
    image_files: Callable[..., Files], tmp_path: Path
) -> None:
    files = classes(image_files, "cat", "dog")
    windows = {name.replace("/", "\\").encode(): blob for name, blob in files.items()}
    assert read(raw_zip(tmp_path / "net.zip", windows)).class_names == ("cat", "dog")
    for name in (
        b"..\\escape.png",
        b"\\etc\\escape.png",
        b"train\\..\\..\\escape.png",
        b"C:\\x.png",
    ):
        with pytest.raises(DataError, match="could point outside"):
            read(raw_zip(tmp_path / "bad.zip", windows | {name: b"x"}))


def test_the_icon_of_a_folder_on_macos_is_litter(
    image_files: Callable[..., Files], tmp_path: Path
) -> None:
    files = {n.encode(): blob for n, blob in classes(image_files, "cat", "dog").items()}
    path = raw_zip(tmp_path / "data.zip", files | {b"train/cat/Icon\r": b"", b"Icon\r": b""})
    assert read(path).class_names == ("cat", "dog")


@pytest.mark.parametrize(
    "encoding",
    ["hex", "idna", "punycode", "undefined", "rot13", "no such", "x\0y", "utf-16", "ascii", "../a"],
)
def test_an_encoding_that_names_are_not_in_or_that_is_none_is_refused(
    encoding: str, image_files: Callable[..., Files], tmp_path: Path
) -> None:
    files = {n.encode("cp932"): blob for n, blob in classes(image_files, "猫", "犬").items()}
    with pytest.raises(DataError, match="are not in the encoding") as caught:
        read(raw_zip(tmp_path / "data.zip", files), settings={"encoding": encoding})
    assert "cp932" in caught.value.hint
