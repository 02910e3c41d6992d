"""Uploads on the disk while they arrive: a directory each, which several processes share.

`data` holds the bytes that have arrived; its size is the offset, so that nothing has to be written
together with them, and a server that is killed leaves nothing that is untrue. Bytes that came with
a checksum which has not been compared yet are not part of it: `unverified` says from where on they
are left out.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from api.errors import GoneError, NotFoundError, TooManyError, UnavailableError
from api.host.lock import DirectoryInUseError, DirectoryLock
from api.settings import Settings
from api.store.blobs.directory import file_clock
from api.store.tables import new_id
from saf import files
from saf.sizes import readable

HOUR = 3600.0
LATER = 600  # seconds after which an upload may have gone
SPARE = 2**28  # bytes of the disk that no upload takes
INFO, DATA, UNVERIFIED, BECAME = "info.json", "data", "unverified", "became"
CREATION = ".creation"  # the directory whose lock is held while room is counted


class UploadInUseError(Exception):
    """Another request writes to the upload."""


@dataclass(frozen=True, kw_only=True)
class Upload:
    """What is known of an upload that arrives in pieces."""

    id: str
    directory: Path
    length: int
    offset: int
    name: str  # of the file, as the client calls it
    metadata: Mapping[str, str]
    user: str
    expires_at: float

    @property
    def is_complete(self) -> bool:
        """Whether all of it has arrived."""
        return self.offset == self.length

    @property
    def file(self) -> Path:
        """Where the bytes are."""
        return self.directory / DATA


class Uploads:
    """The uploads that lie on this machine."""

    def __init__(self, settings: Settings) -> None:
        self.directory = settings.data_dir.absolute() / "uploads"
        self._settings = settings

    def create(self, length: int, *, name: str, metadata: Mapping[str, str], user: str) -> Upload:
        """Make room for an upload. Raises TooManyError beyond what may be kept, and OSError."""
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = DirectoryLock(self.directory / CREATION, patience=10.0)
        try:
            self._check_room(length, user)
            directory = self.directory / new_id("up")
            directory.mkdir(mode=0o700)
            (directory / DATA).touch(mode=0o600)
            info = {"length": length, "name": name, "metadata": dict(metadata), "user": user}
            files.write_bytes(directory / INFO, json.dumps(info).encode())
            files.sync_folder(self.directory)
        finally:
            lock.release()
        return self.find(directory.name)

    def find(self, id_: str) -> Upload:
        """The upload, or NotFoundError; GoneError where nothing came for too long."""
        directory = self.directory / id_
        if not id_.startswith("up_") or id_ != Path(id_).name:
            raise NotFoundError(f"there is no upload {id_[:60]}")
        try:
            found = self._read(directory)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise NotFoundError(
                f"there is no upload {id_} on this machine of the service; begin it again"
            ) from error
        if found.expires_at < file_clock(self.directory):
            raise GoneError(f"nothing came for the upload {id_} for too long; begin it again")
        return found

    @contextmanager
    def held(self, id_: str) -> Iterator[Upload]:
        """The upload, for the one who writes to it or uses it. Raises UploadInUseError."""
        self.find(id_)
        try:
            lock = DirectoryLock(self.directory / id_)
        except DirectoryInUseError as error:
            raise UploadInUseError from error
        try:
            found = self.find(id_)
            # What came with a checksum that was never compared.
            if found.file.stat().st_size != found.offset:
                os.truncate(found.file, found.offset)
            (found.directory / UNVERIFIED).unlink(missing_ok=True)
            yield found
        finally:
            lock.release()

    def became(self, upload: Upload, dataset_id: str) -> None:
        """The bytes of an upload that is held are those of a data set now: forget them, and
        remember which one it is, for a while. Raises OSError."""
        files.write_bytes(upload.directory / BECAME, dataset_id.encode())
        upload.file.unlink(missing_ok=True)

    def dataset_of(self, id_: str) -> str | None:
        """The data set that an upload has become; None where it has not."""
        if id_ != Path(id_).name:
            return None
        try:
            return (self.directory / id_ / BECAME).read_text()
        except (FileNotFoundError, NotADirectoryError):
            return None

    def remove(self, upload: Upload) -> None:
        """Remove an upload that is held."""
        shutil.rmtree(upload.directory, ignore_errors=True)

    def _read(self, directory: Path) -> Upload:
        info = json.loads((directory / INFO).read_bytes())
        seen = (directory / DATA).stat()
        try:
            offset = min(seen.st_size, int((directory / UNVERIFIED).read_text()))
        except (FileNotFoundError, ValueError):
            offset = seen.st_size
        return Upload(
            id=directory.name,
            directory=directory,
            length=info["length"],
            offset=offset,
            name=info["name"],
            metadata=info["metadata"],
            user=info["user"],
            expires_at=seen.st_mtime + HOUR * self._settings.upload_kept_hours,
        )

    def _all(self) -> Iterator[Upload]:
        for directory in self.directory.glob("up_*"):
            try:
                yield self._read(directory)
            except (OSError, ValueError, KeyError):
                continue  # it is being made, or it goes

    def _check_room(self, length: int, user: str) -> None:
        settings = self._settings
        there = list(self._all())
        own = sum(each.length for each in there if each.user == user)
        for bytes_, most, whose, name in (
            (own, settings.uploads_kept_bytes_per_user, f" of {user}", "_PER_USER"),
            (sum(each.length for each in there), settings.uploads_kept_bytes, "", ""),
        ):
            if most and bytes_ + length > most:
                raise TooManyError(
                    f"uploads{whose} that have not become data sets take {readable(bytes_)}, and "
                    f"with this one they would take more than the {readable(most)} that are kept; "
                    "finish or delete one (DELETE /v1/uploads/…), or set "
                    f"SAF_UPLOADS_KEPT_BYTES{name} on the server",
                    retry_after=LATER,
                )
        announced = sum(each.length - each.offset for each in there)
        free = shutil.disk_usage(self.directory).free - SPARE - announced
        if length > free:
            raise UnavailableError(
                f"the disk of the server has room for {readable(max(0, free))} more, and the "
                f"upload has {readable(length)}; try again later, or send less"
            )


class Writer:
    """Adds bytes to an upload that is held. Threads may share it: a request that is cancelled
    closes it while the thread of its last write may still be at work."""

    def __init__(self, upload: Upload, checksum: tuple[str, bytes] | None) -> None:
        """`checksum` is the name of a hash and its value over all that is going to be written.
        Raises OSError."""
        self.offset = upload.offset
        self._begun = upload.offset
        self._upload = upload
        self._checksum = checksum
        self._digest: Any = None
        self._failed: OSError | None = None
        self._lock = threading.Lock()
        if checksum is not None:
            self._digest = hashlib.new(checksum[0])
            files.write_bytes(upload.directory / UNVERIFIED, str(upload.offset).encode())
        # Without a buffer, which would hold what the disk has refused and write it again.
        self._file = upload.file.open("ab", buffering=0)

    def write(self, block: bytes) -> None:
        """Add some bytes. Raises OSError, also after one, since part of that block may be there;
        ValueError once it is closed."""
        rest = memoryview(block)
        with self._lock:
            if self._failed is not None:
                raise self._failed
            try:
                while rest:
                    written = self._file.write(rest)
                    if self._digest is not None:
                        self._digest.update(rest[:written])
                    self.offset += written
                    rest = rest[written:]
            except OSError as error:
                self._failed = error
                raise

    def close(self) -> bool:
        """Wait until the disk has what was written; False, and nothing stays, where it is not what
        the checksum says. Raises OSError."""
        with self._lock:
            fits = self._checksum is None or self._digest.digest() == self._checksum[1]
            try:
                if not fits:
                    self._file.truncate(self._begun)
                    self.offset = self._begun
                os.fsync(self._file.fileno())
            finally:
                self._file.close()
            (self._upload.directory / UNVERIFIED).unlink(missing_ok=True)
            return fits
