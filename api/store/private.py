"""Private files: readable for their owner only."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from api.settings import Settings
from api.store.identity import BESIDE, mark_of

OTHERS = 0o077
OURS = (  # what the service keeps in its data directory
    *("artifacts", "broker", "cache", "uploads", "work", "run", "tmp"),
    *("lock", "address", "serve.log"),
    *("saf.sqlite3", "saf.sqlite3-wal", "saf.sqlite3-shm", ".saf.sqlite3.id"),
)


def keep_private(settings: Settings) -> None:
    """From now on this process and its children make files that only their owner can read; what
    lies in the data directory becomes such. Links, and what is another user's, stay as they are."""
    os.umask(OTHERS)
    directory = settings.data_dir.absolute()
    paths = [directory / name for name in OURS]
    address: URL | None
    try:
        address = make_url(settings.database)
    except ArgumentError:  # who opens the database says so
        address = None
    if address is not None and address.get_backend_name() == "sqlite" and address.database:
        paths += [Path(address.database + end) for end in ("", *BESIDE)]
        paths.append(mark_of(Path(address.database)))
    for path in paths:
        _tighten(path)
    try:
        names = {path.name for path in directory.iterdir()}
    except OSError:  # it is not there yet
        return
    if names <= set(OURS):  # never a folder that holds something else too, as a home or /tmp
        _tighten(directory)


def _tighten(path: Path) -> None:
    try:
        found = path.lstat()
        if found.st_uid == os.getuid() and not stat.S_ISLNK(found.st_mode):
            os.chmod(path, stat.S_IMODE(found.st_mode) & ~OTHERS)
    except OSError:  # not there, or gone at this moment
        return
