"""Directory of compiled code, which no other user can write to.

Trainings load and run what lies there, so whoever could write to it, or replace a directory on the
path to it, could run code as this user.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

VARIABLE = "TORCHINDUCTOR_CACHE_DIR"


def private_cache(name: str) -> Path:
    """Directory `name` for compiled code, created if need be: in `TORCHINDUCTOR_CACHE_DIR`, the
    directory of torch's compiler, else in the user's cache.

    Raises OSError, which says who can write, where others can.
    """
    given = os.environ.get(VARIABLE)
    if given:
        path = Path(given).resolve() / name
    else:
        path = _of_the_user() / name
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = path.resolve()
    for folder in (path, *path.parents):
        if why := _writers(folder, is_own=folder == path):
            raise OSError(f"{why}: compiled code is not kept in {path}")
    return path


def give_torch_its_cache() -> None:
    """Make torch's compiler keep its code in the user's cache instead of a directory in /tmp
    with a predictable name. Raises OSError where others can write there, or to the directory
    that it was given."""
    if os.environ.get(VARIABLE):
        private_cache("saf")
        return
    os.environ[VARIABLE] = str(private_cache("saf-inductor"))


def is_private(file: Path) -> bool:
    """Whether a file exists, is no link, and only its owner, who is this user, can change it."""
    try:
        found = file.lstat()
    except FileNotFoundError:
        return False
    return stat.S_ISREG(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o022


def _of_the_user() -> Path:
    given = os.environ.get("XDG_CACHE_HOME")
    try:
        return Path(given or Path.home() / ".cache")
    except RuntimeError as error:  # a user without a home
        raise OSError(f"there is no place for compiled code: {error}; set {VARIABLE}") from error


def _writers(folder: Path, *, is_own: bool) -> str:
    """Users other than this one and root who can change the contents of the directory; empty:
    none."""
    found = folder.stat()
    if found.st_uid != os.getuid() and (is_own or found.st_uid != 0):
        return f"{folder} is of another user ({found.st_uid})"
    # In a folder such as /tmp everybody may write, and nobody replace what is another's.
    above = found.st_mode & 0o002 and not found.st_mode & stat.S_ISVTX
    if found.st_mode & 0o022 if is_own else above:
        return f"others can write to {folder}"
    return ""
