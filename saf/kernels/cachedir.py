"""Where compiled code is kept: nobody else may write there, or replace a folder on the way there.

What lies in such a folder is loaded and run by trainings, so that who can write there can do what
those can.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

VARIABLE = "TORCHINDUCTOR_CACHE_DIR"


def private_cache(name: str) -> Path:
    """The folder `name` for compiled code, made if need be: in the directory that torch's compiler
    has been given (`TORCHINDUCTOR_CACHE_DIR`), else in the user's cache.

    Raises OSError, saying who can write, where others can.
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
    """Let torch's compiler keep its code in the user's cache, and not in a folder of /tmp whose
    name everybody knows. Raises OSError where others can write there, or to the one that it has
    been given."""
    if os.environ.get(VARIABLE):
        private_cache("saf")
        return
    os.environ[VARIABLE] = str(private_cache("saf-inductor"))


def is_private(file: Path) -> bool:
    """Whether a file is there, is no link, and only its owner, who is this user, can change it."""
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
    """Who but this user and root can change what the folder holds; empty: nobody."""
    found = folder.stat()
    if found.st_uid != os.getuid() and (is_own or found.st_uid != 0):
        return f"{folder} is of another user ({found.st_uid})"
    # In a folder such as /tmp everybody may write, and nobody replace what is another's.
    above = found.st_mode & 0o002 and not found.st_mode & stat.S_ISVTX
    if found.st_mode & 0o022 if is_own else above:
        return f"others can write to {folder}"
    return ""
