"""The files that an attempt reads, and whether they are still what they were when it began.

A training maps its data set into memory, so what it reads is what the file holds at that moment. A
file that was damaged and is whole again looks like before, and what was computed meanwhile is wrong
all the same: so not only its content counts but whether it was written to at all.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from api.store.blobs.base import ArtifactStore
from api.store.blobs.verified import DamagedError, State
from saf.errors import DataError


class InputChangedError(Exception):
    """A file was written to while the attempt read it: what the attempt has computed since its last
    checkpoint does not count, and another one reads the file anew, or does without it."""


@dataclass(frozen=True, kw_only=True)
class _Input:
    path: Path
    sha256: str
    file: BinaryIO  # the file that was at `path`, whatever is there later
    state: State
    error: DataError | None  # of a data set that is damaged; None: a checkpoint


class Inputs:
    """Holds input files open, so that the files that are checked are those that the training
    has."""

    def __init__(self, store: ArtifactStore) -> None:
        self._store = store
        self._always: list[_Input] = []
        self._at_start: list[_Input] = []

    def add_dataset(self, path: Path, sha256: str, error: DataError) -> None:
        """Add a file that is read during the whole training; `error` describes damage. Raises
        OSError."""
        self._always.append(self._held(path, sha256, error))

    def add_checkpoint(self, path: Path, sha256: str) -> None:
        """Add a file that is read before the training begins. Raises OSError."""
        self._at_start.append(self._held(path, sha256, None))

    def check(self, has_started: bool = False) -> None:
        """Raise InputChangedError where the attempt may have read something else than it should,
        and DataError where its data set is damaged. Raises OSError.

        `has_started`: the training said that it has read what it begins with.
        """
        for file in (*self._always, *self._at_start):
            self._check(file)
        if has_started:
            for file in (*self._always, *self._at_start):
                self._check_place(file)
            _close(self._at_start)

    def close(self) -> None:
        """Close the files."""
        _close(self._always)
        _close(self._at_start)

    def _held(self, path: Path, sha256: str, error: DataError | None) -> _Input:
        file = path.open("rb")
        try:
            state = self._store.verified.check_open(file.fileno(), sha256)
        except BaseException:
            file.close()
            raise
        return _Input(path=path, sha256=sha256, file=file, state=state, error=error)

    def _check(self, file: _Input) -> None:
        try:
            state = self._store.verified.check_open(file.file.fileno(), file.sha256)
        except DamagedError:
            state = None
        if state != file.state:
            self._changed(file)

    def _check_place(self, file: _Input) -> None:
        """Check that the training cannot have opened another file than this one."""
        try:
            found = file.path.stat()
        except FileNotFoundError:
            return
        if (found.st_dev, found.st_ino) != file.state[:2]:
            self._changed(file)

    def _changed(self, file: _Input) -> None:
        if file.error is not None:
            try:
                self._store.local(file.sha256)
            except DamagedError as error:
                raise file.error from error
        what = "checkpoint" if file.error is None else "file of its data set"
        raise InputChangedError(
            f"the {what} was written to while the attempt read it; nothing that was computed since "
            "is kept"
        )


def _close(files: list[_Input]) -> None:
    for file in files:
        file.file.close()
    files.clear()
