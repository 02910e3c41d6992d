"""Uploads on the disk while they arrive: a directory each, which several processes share.

`data` holds the bytes that have arrived; its size is the offset, so that nothing has to be written
together with them, and a server that is killed leaves nothing that is untrue. Bytes that came with
a checksum which has not been compared yet are not part of it: `unverified` says from where on they
are left out. `became` names the data set that was made of an upload; `data` goes when that can be
read, and stays where it cannot, for another try.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from api.errors import ConflictError, GoneError, NotFoundError, TooManyError, UnavailableError
from api.host.lock import DirectoryInUseError, DirectoryLock
from api.settings import Settings
from api.store import viewer
from api.store.blobs.directory import file_clock
from api.store.ids import new_id
from saf import files
from saf.sizes import readable

HOUR = 3600.0
LATER = 600  # seconds after which an upload may have gone
SPARE = 2**28  # bytes of the disk that no upload takes
INFO, DATA, UNVERIFIED, BECAME = "info.json", "data", "unverified", "became"
CREATION = ".creation"  # the directory whose lock is held while room is counted
CREATION_SECONDS = 10.0  # that one waits for it
_ID = re.compile(r"up_[0-9a-z]{1,40}")


class UploadInUseError(Exception):
    """Another request writes to the upload."""


@dataclass(frozen=True, kw_only=True)
class Became:
    """The data set that an upload was made into, by which fields of the request."""

    dataset_id: str
    fields: Mapping[str, str] | None  # None: nobody remembers


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
    became: Became | None
    has_bytes: bool
    """False once a data set was read from it."""

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
        self._creating = threading.Lock()  # threads of this process wait in turn

    def create(self, length: int, *, name: str, metadata: Mapping[str, str], user: str) -> Upload:
        """Make room for an upload. Raises TooManyError beyond what may be kept, UnavailableError,
        and OSError."""
        with self._creating, self._alone():
            self._check_room(length, user)
            directory = self.directory / new_id("up")
            directory.mkdir(mode=0o700)
            (directory / DATA).touch(mode=0o600)
            info = {"length": length, "name": name, "metadata": dict(metadata), "user": user}
            files.write_bytes(directory / INFO, json.dumps(info).encode())
            files.sync_folder(self.directory)
        return self.find(directory.name)

    def find(self, id_: str) -> Upload:
        """The upload, also one that has become a data set, or NotFoundError; GoneError where
        nothing came for too long."""
        found = self._existing(id_)
        if self._is_old(found):
            raise GoneError(f"nothing came for the upload {id_} for too long; begin it again")
        return found

    @contextmanager
    def held(self, id_: str, *, also_old: bool = False) -> Iterator[Upload]:
        """The upload, for the one who writes to it or uses it, `also_old` where nothing came for
        too long. Raises UploadInUseError, and what `find` raises."""
        find = self._existing if also_old else self.find
        find(id_)
        directory = self.directory / id_
        try:
            lock = DirectoryLock(directory, make=False)
        except DirectoryInUseError as error:
            raise UploadInUseError from error
        except FileNotFoundError as error:  # removed at this moment
            raise self._missing(id_) from error
        try:
            try:
                found = find(id_)
            except NotFoundError:  # its directory may be there again, for this lock
                shutil.rmtree(directory, ignore_errors=True)
                raise
            # What came with a checksum that was never compared.
            if found.has_bytes and found.file.stat().st_size != found.offset:
                os.truncate(found.file, found.offset)
            (found.directory / UNVERIFIED).unlink(missing_ok=True)
            yield found
        finally:
            lock.release()

    def keep_became(self, id_: str, dataset_id: str, fields: Mapping[str, str] | None) -> None:
        """Remember for a while which data set is made of an upload, by which fields. Raises
        OSError."""
        became = {"dataset": dataset_id, "fields": fields}
        files.write_bytes(self.directory / id_ / BECAME, json.dumps(became).encode())

    def became(self, id_: str) -> Became | None:
        """The data set that was made of an upload, which may be gone; None where none was."""
        if not _ID.fullmatch(id_):
            return None
        became = _became(self.directory / id_)
        if became is not None:
            self._existing(id_)  # NotFoundError where it is another user's
        return became

    def settle(self, id_: str, dataset_id: str, *, was_read: bool) -> None:
        """A data set was read from an upload, whose bytes are forgotten; or could not be, and it is
        an upload as before. Raises OSError."""
        directory = self.directory / id_
        if not _ID.fullmatch(id_) or not directory.is_dir():
            return
        became = _became(directory)
        if was_read:
            if became is None:  # the process ended before it was written
                self.keep_became(id_, dataset_id, None)
            (directory / DATA).unlink(missing_ok=True)
        elif became is not None and became.dataset_id == dataset_id:
            (directory / BECAME).unlink(missing_ok=True)

    def remove(self, upload: Upload) -> None:
        """Remove an upload that is held. Raises ConflictError where it has become a data set, and
        OSError."""
        if upload.became is not None and not upload.has_bytes:
            raise ConflictError(
                f"the upload {upload.id} has become the data set {upload.became.dataset_id}; "
                "delete that one"
            )
        # From here on nobody finds it, whatever becomes of the rest.
        (upload.directory / INFO).unlink(missing_ok=True)
        shutil.rmtree(upload.directory, ignore_errors=True)

    def _existing(self, id_: str) -> Upload:
        if not _ID.fullmatch(id_):
            raise NotFoundError(f"there is no upload {id_[:60]!a}")
        try:
            found = self._read(self.directory / id_)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise self._missing(id_) from error
        if not _is_there_for_viewer(found):
            raise self._missing(id_)
        return found

    def _missing(self, id_: str) -> NotFoundError:
        return NotFoundError(
            f"there is no upload {id_} on this machine of the service; begin it again"
        )

    def _is_old(self, upload: Upload) -> bool:
        return upload.expires_at < file_clock(self.directory)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """No other process makes room meanwhile. Raises UnavailableError, OSError."""
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            lock = DirectoryLock(self.directory / CREATION, patience=CREATION_SECONDS)
        except DirectoryInUseError as error:
            raise UnavailableError(
                "another process of the service makes room for an upload; try again in a moment"
            ) from error
        try:
            yield
        finally:
            lock.release()

    def _read(self, directory: Path) -> Upload:
        info = json.loads((directory / INFO).read_bytes())
        became = _became(directory)
        try:
            seen, has_bytes = (directory / DATA).stat(), True
        except FileNotFoundError:
            if became is None:
                raise
            seen, has_bytes = (directory / BECAME).stat(), False
        offset = seen.st_size if has_bytes else info["length"]
        with suppress(FileNotFoundError, ValueError):
            offset = min(offset, int((directory / UNVERIFIED).read_text()))
        return Upload(
            id=directory.name,
            directory=directory,
            length=info["length"],
            offset=offset,
            name=info["name"],
            metadata=info["metadata"],
            user=info["user"],
            expires_at=seen.st_mtime + HOUR * self._settings.upload_kept_hours,
            became=became,
            has_bytes=has_bytes,
        )

    def _kept(self) -> Iterator[Upload]:
        """The uploads whose bytes are there or may come; those that are too old are removed."""
        clock = file_clock(self.directory)
        for directory in self.directory.glob("up_*"):
            try:
                found = self._read(directory)
                if found.expires_at < clock:
                    with self.held(found.id, also_old=True) as old:
                        if self._is_old(old):
                            (directory / INFO).unlink(missing_ok=True)
                            shutil.rmtree(directory, ignore_errors=True)
                            continue
            except (OSError, ValueError, KeyError, NotFoundError):
                continue  # it is being made, or it goes
            except UploadInUseError:
                pass
            if found.has_bytes:
                yield found

    def _check_room(self, length: int, user: str) -> None:
        settings = self._settings
        there = list(self._kept())
        own = [each for each in there if each.user == user]
        for kept, most, most_bytes, whose, name in (
            (
                *(own, settings.uploads_kept_per_user, settings.uploads_kept_bytes_per_user),
                *(f" of {user}", "_PER_USER"),
            ),
            (there, settings.uploads_kept, settings.uploads_kept_bytes, "", ""),
        ):
            remedy = "finish or delete one (DELETE /v1/uploads/…), or set SAF_UPLOADS_KEPT"
            if most and len(kept) >= most:
                raise TooManyError(
                    f"there are {len(kept)} uploads{whose} that have not become data sets, which "
                    f"are the most; {remedy}{name} on the server",
                    retry_after=LATER,
                )
            bytes_ = sum(each.length for each in kept)
            if most_bytes and bytes_ + length > most_bytes:
                raise TooManyError(
                    f"uploads{whose} that have not become data sets take {readable(bytes_)}, and "
                    f"with this one they would take more than the {readable(most_bytes)} that are "
                    f"kept; {remedy}_BYTES{name} on the server",
                    retry_after=LATER,
                )
        announced = sum(each.length - each.offset for each in there)
        free = shutil.disk_usage(self.directory).free - SPARE - announced
        if length > free:
            raise UnavailableError(
                f"the disk of the server has room for {readable(max(0, free))} more, and the "
                f"upload has {readable(length)}; try again later, or send less"
            )


def _became(directory: Path) -> Became | None:
    try:
        content = (directory / BECAME).read_text()
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        found = json.loads(content)
    except ValueError:  # of a version that kept the id alone
        return Became(dataset_id=content, fields=None)
    return Became(dataset_id=found["dataset"], fields=found["fields"])


def _is_there_for_viewer(upload: Upload) -> bool:
    """An upload is its user's alone, until it has become a data set."""
    seen_by = viewer.current()
    return seen_by is None or seen_by.is_admin or upload.user == seen_by.name


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
