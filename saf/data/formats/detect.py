"""Reads what people have on disk: finds out what it is and hands it to the reader for it."""

from __future__ import annotations

import tarfile
from pathlib import Path
from typing import Literal, get_args

from saf.data.canonical import load
from saf.data.dataset import Dataset
from saf.data.formats.cifar import is_cifar, read_cifar
from saf.data.formats.idx import FOUR_FILES, is_idx_name, read_idx
from saf.data.formats.image_folder import LAYOUT, is_image_name, read_image_folder
from saf.data.formats.npz import is_npz, read_npz
from saf.data.sources.archive import Compression, Tar, Zip, compression_of, decompressed
from saf.data.sources.limits import DEFAULT_LIMITS, Budget, Limits
from saf.data.sources.source import Folder, Source, check_archive_size
from saf.data.sources.stream import Content
from saf.errors import DataError

Format = Literal["image-folder", "idx", "cifar-python", "npz", "canonical"]
FORMATS: tuple[Format, ...] = get_args(Format)

_READERS = {
    "image-folder": read_image_folder,
    "idx": read_idx,
    "cifar-python": read_cifar,
    "npz": read_npz,
}
_ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".txz", ".7z", ".rar", ".zst", ".npz")
_ACCEPTED = (
    "Send a .zip or .tar (.gz, .bz2, .xz) with an image folder, MNIST's four IDX files or "
    "CIFAR's Python batches, or an .npz with x_train, y_train, x_test, y_test."
)


def read(path: Path | str, format: str = "auto", *, limits: Limits = DEFAULT_LIMITS) -> Dataset:
    """The data set in a folder, an archive or a file.

    `format` is one of `FORMATS`, or "auto" to find out. Archives are read as streams and never
    unpacked onto the disk, and nothing is ever unpickled. Raises DataError, which names the file
    inside, what was expected and found, and what to do.
    """
    path = Path(path)
    if format != "auto" and format not in FORMATS:
        raise DataError(
            f"there is no format {format[:40]!r}", hint=f"Use auto, {', '.join(FORMATS)}."
        )
    if path.is_file() and _looks_canonical(path):
        _check_asked(path, format, "canonical")
        check_archive_size(path, limits)
        dataset = load(path)
        for split in dataset.splits:
            x = getattr(dataset, f"x_{split}")
            limits.check_array(f"x_{split}", x.shape, x.itemsize)
        limits.check_classes(dataset.classes)
        return dataset
    if format == "canonical":
        raise DataError(
            f"{path.name} was not written by saf.data.save", hint="Use the format auto."
        )
    source = _open(path, limits)
    found = _detect(source)
    if format != "auto" and found is not None:
        _check_asked(path, format, found)
    reader = found if format == "auto" else format
    if reader is None:
        raise _unknown(source)
    dataset = _READERS[reader](source, limits)
    limits.check_classes(dataset.classes)
    return dataset


def detect(path: Path | str, *, limits: Limits = DEFAULT_LIMITS) -> Format:
    """The format of what lies at `path`, by names and first bytes. Raises DataError."""
    path = Path(path)
    if path.is_file() and _looks_canonical(path):
        return "canonical"
    source = _open(path, limits)
    found = _detect(source)
    if found is None:
        raise _unknown(source)
    return found


def _open(path: Path, limits: Limits) -> Source:
    if path.is_dir():
        return Folder(path, limits)
    if not path.is_file():
        raise DataError(
            f"there is no file or folder {path.name}", hint="Check the path of the data set."
        )
    check_archive_size(path, limits)
    with path.open("rb") as raw:
        start = raw.read(8)
        if start.startswith((b"PK\x03\x04", b"PK\x05\x06")):
            return Zip(path, limits)
        compression = compression_of(start)
        raw.seek(0)
        budget = Budget(limits, path.stat().st_size, path.name)
        inside = Content(decompressed(raw, compression), budget, path.name).read(tarfile.BLOCKSIZE)
    if _is_tar(inside):
        return Tar(path, limits, compression)
    raise _no_archive(path.name, start, inside, compression)


def _is_tar(start: bytes) -> bool:
    if start == bytes(tarfile.BLOCKSIZE):
        return True  # an archive of nothing
    try:
        tarfile.TarInfo.frombuf(start, "utf-8", "surrogateescape")
    except (tarfile.TarError, ValueError, IndexError):
        return False
    return True


def _no_archive(name: str, start: bytes, inside: bytes, compression: Compression) -> DataError:
    if inside.startswith((b"\0\0\x08\x03", b"\0\0\x08\x04")):
        return DataError(f"{name} is an IDX file of images without its labels", hint=FOUR_FILES)
    if inside.startswith(b"\0\0\x08\x01"):
        return DataError(f"{name} is an IDX file of labels without images", hint=FOUR_FILES)
    if start.startswith((b"\xff\xd8\xff", b"\x89PNG")):
        return DataError(f"{name} is a single image", hint=f"Send an archive. {LAYOUT}")
    if start.startswith(b"\x93NUMPY"):
        return DataError(f"{name} is a single array", hint="Send an .npz with all four arrays.")
    if not inside:
        return DataError(f"{name} is empty", hint=_ACCEPTED)
    if compression:
        return DataError(f"{name} holds neither a tar archive nor IDX data", hint=_ACCEPTED)
    return DataError(f"{name} is of no kind that is read", hint=_ACCEPTED)


def _detect(source: Source) -> Format | None:
    names = [member.name for member in source.members]
    bases = {name.rsplit("/", 1)[-1] for name in names}
    nested = [n for n in names if n.lower().endswith(_ARCHIVES) and not is_idx_name(n)]
    if nested and source.archive:
        raise DataError(
            f"{source.label} holds the archive {nested[0]!r}; archives in archives are not read",
            hint="Send the inner archive itself, or pack its content.",
        )
    if any(is_idx_name(name) for name in names):
        return "idx"
    if is_cifar(bases):
        return "cifar-python"
    if any(is_image_name(name) for name in names):
        return "image-folder"
    if is_npz(bases):
        return "npz"
    return None


def _unknown(source: Source) -> DataError:
    names = [member.name for member in source.members]
    if not names:
        return DataError(f"{source.label} holds no files", hint=_ACCEPTED)
    listed = ", ".join(names[:5]) + (", …" if len(names) > 5 else "")
    return DataError(
        f"{source.label} holds none of the layouts that are read; it has {len(names)} files: "
        f"{listed[:300]}",
        hint=_ACCEPTED,
    )


def _check_asked(path: Path, asked: str, found: str) -> None:
    if asked not in ("auto", found):
        raise DataError(
            f"{path.name} was announced as {asked}, and looks like {found}",
            hint=f"Use the format auto or {found}.",
        )


def _looks_canonical(path: Path) -> bool:
    with path.open("rb") as file:
        start = file.read(9)
    return len(start) == 9 and start[8:] == b"{" and start[4:8] == b"\0\0\0\0"
