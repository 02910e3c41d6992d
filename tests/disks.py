"""A real disk that is small: a tmpfs, where the user may mount one."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.waiting import PATIENCE


class SmallDisk:
    """A file system that can be filled and emptied."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def fill(self) -> None:
        with (self.path / "ballast").open("ab", buffering=0) as file:
            for size in (65_536, 512, 1):
                with contextlib.suppress(OSError):
                    while True:
                        file.write(b"x" * size)

    def make_room(self) -> None:
        (self.path / "ballast").unlink()


@contextlib.contextmanager
def mounted(path: Path) -> Iterator[SmallDisk]:
    """4 MiB at the directory `path`; the test is skipped where the user may not mount."""
    command = ["mount", "-t", "tmpfs", "-o", "size=4m", "saf-test", str(path)]
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=PATIENCE)
    except (OSError, subprocess.SubprocessError):
        pytest.skip("this user may not mount a small disk")
    try:
        yield SmallDisk(path)
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True, timeout=PATIENCE)
