"""The artifact store in a directory: `ab/ab12…`. Several machines may share it."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import BinaryIO
from urllib.parse import unquote, urlsplit

from api.store.blobs.base import ArtifactStore, Incoming, Item, Stored, StoreError
from saf import files

INCOMING = ".incoming-"  # files that are being received
BACKUP = ".backup-"  # folders of links, of a backup under way
_SHA256 = re.compile(r"[0-9a-f]{64}")


class DirectoryStore(ArtifactStore):
    """Files are renamed to their place, so that each is there whole or not at all.

    The time of a file is its file system's, which need not agree with this machine's clock.
    """

    def __init__(self, url: str) -> None:
        """`url` is a directory, plain or as `file:///…`. Raises ValueError."""
        super().__init__()
        parts = urlsplit(url)
        if parts.scheme and (
            parts.query or parts.fragment or parts.netloc not in ("", "localhost")
        ):
            raise ValueError(
                "ARTIFACTS_URL is file:///… with a host, a query or a fragment; write ? as %3F and "
                "# as %23, or give the directory plain"
            )
        self.directory = Path(unquote(parts.path) if parts.scheme else url).absolute()
        self.address = str(self.directory)

    def path(self, sha256: str) -> Path:
        """Where the file with this hash is, or would be."""
        return self.directory / sha256[:2] / sha256

    def check(self) -> None:
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=self.directory) as file:
            file.write(b"x")

    def room(self) -> tuple[int, int] | None:
        try:
            disk = shutil.disk_usage(self.directory)
        except OSError:
            return None
        return disk.free, disk.total

    def receive(self, source: Path) -> Incoming:
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=INCOMING, dir=self.directory)
        copy = Path(name)
        try:
            with os.fdopen(handle, "wb") as target, source.open("rb") as origin:
                found = files.digest(files.blocks(origin), copy_to=target)
                target.flush()
                os.fsync(target.fileno())
        except BaseException:
            copy.unlink(missing_ok=True)
            raise
        copy.chmod(0o600)
        return Incoming(sha256=found.sha256, bytes=found.bytes, copy=copy)

    def discard(self, incoming: Incoming) -> None:
        incoming.copy.unlink(missing_ok=True)

    def find(self, sha256: str) -> Stored | None:
        try:
            status = self.path(sha256).stat()
        except FileNotFoundError:
            return None
        return Stored(sha256=sha256, bytes=status.st_size, modified=status.st_mtime)

    def read(self, sha256: str) -> BinaryIO:
        return self._on_this_machine(sha256, None, bool).open("rb")

    def _on_this_machine(
        self, sha256: str, directory: Path | None, unwanted: Callable[[], bool]
    ) -> Path:
        path = self.path(sha256)
        if path.is_file():
            return path
        if not self.directory.is_dir():
            # Not one file is missing but all of them, as when a shared disk is not mounted.
            raise StoreError(f"the artifact store {self.directory} is not there")
        raise FileNotFoundError(f"{path} is not there")

    def old_files(self, seconds: float) -> Iterator[Stored]:
        if not self.directory.is_dir():
            return
        before = file_clock(self.directory) - seconds
        for folder in sorted(self.directory.glob("[0-9a-f][0-9a-f]")):
            for path in sorted(folder.iterdir()):
                if _SHA256.fullmatch(path.name) and path.name.startswith(folder.name):
                    status = _status_if_old(path, before)
                    if status is not None:
                        yield Stored(
                            sha256=path.name, bytes=status.st_size, modified=status.st_mtime
                        )

    def old_leftovers(self, seconds: float) -> Iterator[Item]:
        if not self.directory.is_dir():
            return
        before = file_clock(self.directory) - seconds
        for path in sorted(self.directory.glob(f"{INCOMING}*")):
            if (status := _status_if_old(path, before)) is not None:
                yield Item(
                    kind="temporary file",
                    name=path.name,
                    bytes=status.st_size,
                    remove=partial(_unlink, path),
                )
        for path in sorted(self.directory.glob(f"{BACKUP}*")):
            if _status_if_old(path, before) is not None:
                # Its files are links to files of the store: removing them frees nothing.
                yield Item(
                    kind="temporary folder",
                    name=path.name,
                    bytes=0,
                    remove=partial(_remove_tree, path),
                )

    def _place(self, incoming: Incoming) -> None:
        target = self.path(incoming.sha256)
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        files.move(incoming.copy, target)

    def _remove(self, sha256: str) -> None:
        self.path(sha256).unlink(missing_ok=True)


def file_clock(directory: Path) -> float:
    """The time of a file that is written there now. Raises OSError."""
    with tempfile.TemporaryFile(dir=directory) as file:
        file.write(b"x")
        file.flush()
        return os.fstat(file.fileno()).st_mtime


def _status_if_old(path: Path, before: float) -> os.stat_result | None:
    try:
        status = path.lstat()
    except FileNotFoundError:  # removed or stored at this moment
        return None
    return status if status.st_mtime < before else None


def _unlink(path: Path) -> bool:
    try:
        path.unlink()
    except FileNotFoundError:
        return False
    return True


def _remove_tree(path: Path) -> bool:
    shutil.rmtree(path)
    return True
