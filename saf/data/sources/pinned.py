"""A file or folder under a path that others may change while it is read."""

from __future__ import annotations

import os
from pathlib import Path

from saf.errors import DataError


def pinned(link: Path, beside: Path) -> Path:
    """Another path, in the directory `beside`, to what the link names by a whole path without
    links; it leads to that whatever takes its place, for as long as this process lives (on Linux).
    Raises DataError where a part of the path has become a link, or nothing is there."""
    target = Path(os.readlink(link))
    try:
        handle = _open(target)
    except OSError as error:
        raise DataError(
            f"{link.name} is no longer what was registered: a link has taken its place, or it "
            f"cannot be read ({error.strerror})",
            hint="Put the folder or file itself there, and register it again.",
        ) from error
    path = beside / "pinned" / link.name
    path.parent.mkdir(exist_ok=True)
    path.unlink(missing_ok=True)
    path.symlink_to(f"/proc/self/fd/{handle}")
    return path


def _open(path: Path) -> int:
    """What lies at a whole path, open; OSError where any part of it is a link."""
    folder = os.open(path.anchor, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for part in path.parts[1:-1]:
            below = os.open(
                part, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder
            )
            os.close(folder)
            folder = below
        # Not to wait for a pipe that nobody writes to.
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        return os.open(path.name, flags, dir_fd=folder)
    finally:
        os.close(folder)
