"""Reads what people have on disk: finds out what it is and hands it to the format for it."""

from __future__ import annotations

import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from saf.data.constant import check_constant
from saf.data.dataset import Dataset
from saf.data.formats.format import (
    FORMATS,
    Candidate,
    Format,
    NeedsChoiceError,
    Question,
    Recognised,
    SettingError,
)
from saf.data.formats.naming import named
from saf.data.formats.unread import unread
from saf.data.sources.archive import SingleFile, Tar, Zip, compression_of, decompressed
from saf.data.sources.limits import DEFAULT_LIMITS, Budget, Limits
from saf.data.sources.seven_zip import MAGIC as SEVEN_ZIP
from saf.data.sources.seven_zip import SevenZip
from saf.data.sources.source import Folder, Source, check_archive_size
from saf.data.sources.stream import Content
from saf.errors import DataError
from saf.registry import name_of

ARCHIVES = (
    *(".zip", ".tar", ".gz", ".tgz", ".bz2", ".tbz2", ".xz", ".txz", ".zst", ".7z", ".rar", ".npz"),
)
"""How the names of archives and compressed files end."""

_UNREAD = {
    b"Rar!\x1a\x07": "a RAR archive",
    b"\x04\x22\x4d\x18": "compressed by LZ4",
    b"LZIP": "compressed by lzip",
    b"MSCF": "a cabinet of Windows",
    b"PK\x07\x08": "a part of a zip archive in several parts",
}
"""Kinds of archives that are not read, by their first bytes."""


def read(
    path: Path | str,
    format: str = "auto",
    *,
    settings: Mapping[str, Any] | None = None,
    limits: Limits = DEFAULT_LIMITS,
    scratch: Path | None = None,
) -> Dataset:
    """The data set in a folder, an archive or a file.

    `format` is a name of `FORMATS`, or "auto" to find out; `settings` are those of the format, for
    files that can be read in more than one way. Archives are read as streams and never unpacked
    onto the disk, and nothing is ever unpickled. Samples that take much room lie in nameless files
    in the directory `scratch` while the data set lives, by default that for temporary files
    (`TMPDIR`), and not in memory. Raises DataError, which names the file inside,
    what was expected and found, and what to do; NeedsChoiceError, with the candidates, where more
    than one reading fits.
    """
    path, settings = Path(path), settings or {}
    if format != "auto" and format not in FORMATS:
        raise DataError(
            f"there is no format {format[:40]!r}", hint=f"Use auto, {', '.join(FORMATS.names())}."
        )
    source = _open(path, limits)
    if scratch is not None:
        source.scratch = scratch
    found = _recognised(source, format)
    if format != "auto" and found is not None and name_of(found[0]) != format:
        raise DataError(
            f"{path.name} was announced as {format}, and looks like {name_of(found[0])}",
            hint=f"Use the format auto or {name_of(found[0])}.",
        )
    if found is None and format == "auto":
        raise _unknown(source)
    kind, questions = (found[0], found[1].questions) if found else (FORMATS[format], ())
    chosen = _with(kind, settings)
    left = tuple(each for each in questions if getattr(chosen, each.setting, None) is None)
    if left:
        raise NeedsChoiceError(source.label, left)
    kind.check_packages(source.label)
    dataset = chosen.read(source, limits)
    if not kind.names_classes:
        dataset = named(dataset, source)
    limits.check_classes(dataset.classes)
    check_constant(dataset)
    return dataset


def detect(path: Path | str, *, limits: Limits = DEFAULT_LIMITS) -> str:
    """The format of what lies at `path`, by names and first bytes. Raises DataError."""
    source = _open(Path(path), limits)
    found = _recognised(source, "auto")
    if found is None:
        raise _unknown(source)
    return name_of(found[0])


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
        if start.startswith(SEVEN_ZIP):
            return SevenZip(path, limits)
        for magic, kind in _UNREAD.items():
            if start.startswith(magic):
                raise DataError(
                    f"{path.name} is {kind}, which is not read",
                    hint="Unpack it, and pack the files as .zip, .tar (.gz, .xz, .zst) or .7z.",
                )
        compression = compression_of(start)
        raw.seek(0)
        budget = Budget(limits, path.stat().st_size, path.name)
        inside = Content(decompressed(raw, compression), budget, path.name).read(tarfile.BLOCKSIZE)
    if _is_tar(inside):
        return Tar(path, limits, compression)
    return SingleFile(path, limits, compression)


def _is_tar(start: bytes) -> bool:
    if start == bytes(tarfile.BLOCKSIZE):
        return True  # an archive of nothing
    try:
        tarfile.TarInfo.frombuf(start, "utf-8", "surrogateescape")
    except (tarfile.TarError, ValueError, IndexError):
        return False
    return True


def _recognised(source: Source, asked: str) -> tuple[type[Format], Recognised] | None:
    """That which was asked for where it takes the files, else the most specific that does. Raises
    NeedsChoiceError where several are left, and DataError where none takes the files and one says
    what they lack."""
    kinds = sorted(FORMATS, key=lambda kind: -kind.specificity)
    names = [member.name for member in source.members]
    nested = [
        name
        for name in names
        if name.lower().endswith(ARCHIVES) and not any(kind.claims(name) for kind in kinds)
    ]
    if nested and source.archive:
        raise DataError(
            f"{source.label} holds "
            + (f"{len(nested)} archives, such as " if len(nested) > 1 else "the archive ")
            + f"{nested[0]!r}; archives in archives are not read",
            hint="Send the inner archive itself. Or unpack all of them, "
            f"{', '.join(nested[:5])[:300]}, and send the folder: saf upload FOLDER.",
        )
    lacking: DataError | None = None
    if asked != "auto":
        try:
            own = FORMATS[asked].detect(source)
        except DataError as error:
            own, lacking = None, error
        if own is not None:
            return FORMATS[asked], own
    found: list[tuple[type[Format], Recognised]] = []
    for kind in kinds:
        if found and kind.specificity < found[0][0].specificity:
            break
        try:
            answer = kind.detect(source)
        except DataError as error:
            lacking = lacking or error
            continue
        if answer is not None:
            found.append((kind, answer))
    if len(found) > 1:
        candidates = tuple(Candidate(name_of(kind), kind.label) for kind, _ in found)
        raise NeedsChoiceError(
            source.label, (Question("format", "Of which format is it?", candidates),)
        )
    if not found and lacking is not None and asked == "auto":
        raise lacking
    return found[0] if found else None


def _with(kind: type[Format], settings: Mapping[str, Any]) -> Format:
    given = {"name": name_of(kind), **settings}
    is_text = all(isinstance(value, str) for value in settings.values())  # of a form or a command
    try:
        return kind.model_validate_strings(given) if is_text else kind.model_validate(given)
    except ValidationError as error:
        first = error.errors()[0]
        setting = str(first["loc"][0]) if first["loc"] else "name"
        known = [name for name in kind.model_fields if name != "name"]
        message = (
            f"the format {name_of(kind)} has no setting {setting!r}"
            if first["type"] == "extra_forbidden"
            else f"the format {name_of(kind)} cannot be read with {setting} = "
            f"{str(first['input'])[:100]!r}: {first['msg'].removeprefix('Value error, ')}"
        )
        raise SettingError(
            message,
            setting=setting,
            hint=f"Its settings are {', '.join(known)}." if known else "It has no settings.",
        ) from error


def _accepted() -> str:
    """What to send, of all formats."""
    packed = [kind.label for kind in FORMATS if kind.packed]
    alone = [kind.label for kind in FORMATS if not kind.packed and name_of(kind) != "canonical"]
    *first, last = packed
    ways = [f"a .zip, .7z or .tar (.gz, .bz2, .xz, .zst) with {', '.join(first)} or {last}", *alone]
    return f"Send {', or '.join(ways)}."


def _unknown(source: Source) -> DataError:
    if (known := unread(source)) is not None:
        return known
    if source.single:
        if not source.head(source.label, 1):
            return DataError(f"{source.label} is empty", hint=_accepted())
        if source.compressed:
            return DataError(
                f"{source.label} holds neither a tar archive nor IDX data", hint=_accepted()
            )
        return DataError(f"{source.label} is of no kind that is read", hint=_accepted())
    names = [member.name for member in source.members]
    if not names:
        return DataError(f"{source.label} holds no files", hint=_accepted())
    listed = ", ".join(names[:5]) + (", …" if len(names) > 5 else "")
    return DataError(
        f"{source.label} holds none of the layouts that are read; it has {len(names)} files: "
        f"{listed[:300]}",
        hint=_accepted(),
    )
