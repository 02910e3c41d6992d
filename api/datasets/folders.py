"""Data sets of folders that lie on the server already, below the roots that its operator names."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from api.errors import InvalidRequestError, UnavailableError
from api.host.lock import DirectoryLock
from api.settings import Settings
from api.web.multipart import FILE_FIELD, Upload


def register(settings: Settings, fields: Mapping[str, Any], directory: Path) -> Upload:
    """The folder (or file) that `fields` name as an upload in `directory`, which is made and holds
    a link to it: nothing is copied before the check. InvalidRequestError outside of the roots."""
    path = _inside(settings.dataset_folders, str(fields["folder"]))
    lock = None
    try:
        size = _size(path, settings.archive_max_entries)
        lock = DirectoryLock(directory)
        link = directory / FILE_FIELD / path.name
        link.parent.mkdir()
        link.symlink_to(path)
    except OSError as error:
        shutil.rmtree(directory, ignore_errors=True)
        if lock is not None:
            lock.release()
        reason = error.strerror or type(error).__name__
        raise UnavailableError(f"the folder cannot be read: {reason}") from error
    return Upload(
        directory=directory,
        lock=lock,
        file=link,
        file_name=path.name,
        bytes=size,
        sha256=f"folder {path}",
        fields={key: value for key, value in fields.items() if key != "folder"},
    )


def _inside(roots: tuple[Path, ...], named: str) -> Path:
    """The path, without links, if it is below one of the roots."""
    if not roots:
        raise InvalidRequestError.at(
            "/folder",
            "this server registers no folders; its operator names those below which data sets lie "
            "in SAF_DATASET_FOLDERS",
        )
    for root in roots:
        try:
            base = root.resolve(strict=True)
            path = (base / named).resolve(strict=True)  # `named` is whole, or below the root
        except (OSError, RuntimeError, ValueError):
            continue
        if path != base and path.is_relative_to(base) and (path.is_dir() or path.is_file()):
            return path
    raise InvalidRequestError.at(
        "/folder",
        f"there is no folder or file {named[:300]!r} below those that the operator of this server "
        "names (SAF_DATASET_FOLDERS), or a link leads out of there",
    )


def _size(path: Path, most: int) -> int:
    """Bytes of what lies there; of more entries than the check accepts, of so many."""
    if path.is_file():
        return path.stat().st_size
    size = count = 0
    for parent, _, names in os.walk(path):
        for name in names:
            count += 1
            size += Path(parent, name).lstat().st_size
            if count > most:
                return size
    return size
