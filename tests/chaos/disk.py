"""A small disk that can be filled: a tmpfs that only this process and its children see."""

from __future__ import annotations

import ctypes
import errno
import os
import subprocess
import sys
from pathlib import Path

CLONE_NEWNS = 0x00020000
MNT_DETACH = 2
BLOCK = 65_536
FILLER = ".filler"


def own_mounts() -> str:
    """Give this process a mount namespace of its own; why that is not possible, or nothing.

    Call it first thing: threads that run already keep the old one. Mounts vanish with the last
    process of the namespace, however it ends.
    """
    if sys.platform != "linux" or os.geteuid() != 0:
        return "mounting a small disk needs Linux and root"
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNS) != 0:
        return f"no mount namespace: {os.strerror(ctypes.get_errno())}"
    told = subprocess.run(
        ["mount", "--make-rprivate", "/"], capture_output=True, text=True, check=False
    )
    return told.stderr.strip()


class Disk:
    """A directory with a file system of its own."""

    def __init__(self, directory: Path, *, megabytes: int) -> None:
        """Mount it. Raises subprocess.CalledProcessError."""
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        options = f"size={megabytes}m,mode=755"
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "saf-chaos", str(directory)], check=True
        )

    def fill(self) -> None:
        """Leave no room at all."""
        handle = os.open(self.directory / FILLER, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        try:
            while True:
                os.write(handle, b"\0" * BLOCK)  # the last one is cut to what fits
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
        finally:
            os.close(handle)

    def empty(self) -> None:
        """Give the room back."""
        (self.directory / FILLER).unlink(missing_ok=True)

    def unmount(self) -> None:
        """Take it away; its files are gone."""
        # Not by `umount`, which looks into the table of mounts and may miss one while it changes.
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.umount2(os.fsencode(self.directory), MNT_DETACH) != 0:
            raise OSError(ctypes.get_errno(), "umount2", str(self.directory))
