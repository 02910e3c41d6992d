"""The artifact store in a bucket of S3, or of a server that speaks like it: `PREFIX/ab/ab12…`.

Credentials, region and endpoint come from where every AWS program has them (AWS_ACCESS_KEY_ID,
AWS_PROFILE, AWS_REGION, AWS_ENDPOINT_URL, roles of the machine): botocore's own chain reads them.
The bucket must show at once what was written and removed, as S3 does.
"""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Callable, Iterator
from email.utils import parsedate_to_datetime
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, cast
from urllib.parse import urlsplit

import botocore.session
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionError,
    HTTPClientError,
    IncompleteReadError,
    NoCredentialsError,
)
from botocore.parsers import ResponseParserError

from api.store.blobs.base import ArtifactStore, Incoming, Item, Stored, StoreError
from api.store.blobs.cache import Cache
from saf import files

PART_BYTES = 16 * 2**20  # of an upload in parts; a smaller file is sent whole
MOST_PARTS = 9000  # S3 takes 10,000
READ_BYTES = 64 * 2**10
ROW_TIMEOUTS = {"connect_timeout": 3, "read_timeout": 5}  # seconds; a row is locked meanwhile
FILE_TIMEOUTS = {"connect_timeout": 5, "read_timeout": 30}
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,254}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_MISSING = ("404", "NoSuchKey", "NotFound")
_DENIED = ("403", "AccessDenied", "AllAccessDisabled", "Forbidden", "AccountProblem")
_CREDENTIALS = (
    *("InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken"),
    *("AuthFailure", "InvalidClientTokenId", "UnrecognizedClientException"),
)
_AWAY = (ConnectionError, HTTPClientError, IncompleteReadError)
_FULL = ("QuotaExceeded", "InsufficientStorage", "XMinioStorageFull", "507")


class BucketStore(ArtifactStore):
    """Objects appear whole or not at all; a server that is asked to keep one checks its SHA-256.

    A received file is at its place at once, without a row. `_place` looks, under the lock of the
    row, whether a removal took it away meanwhile.
    """

    def __init__(self, url: str, cache: Cache) -> None:
        """`url` is s3://BUCKET or s3://BUCKET/PREFIX. ValueError, in one line, for any other and
        where the settings of AWS are of no use."""
        super().__init__()
        self._bucket, self._prefix = _parts(url)
        self._cache = cache
        self.verified = cache.verified
        self.address = f"s3://{self._bucket}/{self._prefix}".rstrip("/")
        try:
            session = botocore.session.Session(
                # As all AWS programs have it; botocore alone knows only the second.
                session_vars={
                    "region": ("region", ["AWS_REGION", "AWS_DEFAULT_REGION"], None, None)
                }
            )
            # One client waits briefly, for what is asked while a row is locked or a person waits.
            self._s3 = session.create_client("s3", config=_config(ROW_TIMEOUTS))
            self._files = session.create_client("s3", config=_config(FILE_TIMEOUTS))
        except (BotoCoreError, ValueError) as error:
            raise ValueError(f"{self.address} cannot be used: {error}") from None

    def check(self) -> None:
        # An upload in parts that is never completed leaves nothing, not even an old version.
        key = f"{self._prefix}.check"
        with self._in_words():
            upload = self._s3.create_multipart_upload(Bucket=self._bucket, Key=key)
            self._s3.abort_multipart_upload(
                Bucket=self._bucket, Key=key, UploadId=upload["UploadId"]
            )

    def room(self) -> tuple[int, int] | None:
        return None

    def receive(self, source: Path) -> Incoming:
        found = files.digest_of(source)
        incoming = Incoming(sha256=found.sha256, bytes=found.bytes, copy=source)
        self._upload(incoming)  # also over one that is there, which may be damaged
        return incoming

    def discard(self, incoming: Incoming) -> None:
        """Nothing: the file is the caller's, and the object may be another job's too."""

    def find(self, sha256: str) -> Stored | None:
        with self._in_words():
            try:
                head = self._s3.head_object(Bucket=self._bucket, Key=self._key(sha256))
            except ClientError as error:
                if _code(error) not in _MISSING:
                    raise
                # The answer has no body: it does not say whether the bucket is missing too.
                self._s3.head_bucket(Bucket=self._bucket)
                return None
        return Stored(
            sha256=sha256, bytes=head["ContentLength"], modified=head["LastModified"].timestamp()
        )

    def read(self, sha256: str) -> BinaryIO:
        stored = self.find(sha256)
        if stored is None:
            raise FileNotFoundError(f"{self.address} has no file {sha256}")
        raw = _Object(partial(self._body, sha256), stored.bytes)
        return cast(BinaryIO, io.BufferedReader(raw, READ_BYTES))

    def _on_this_machine(
        self, sha256: str, directory: Path | None, unwanted: Callable[[], bool]
    ) -> Path:
        source = partial(self.read, sha256)
        return self._cache.local(sha256, source, directory, unwanted)

    def old_files(self, seconds: float) -> Iterator[Stored]:
        for page in self._pages("list_objects_v2"):
            before = _clock(page) - seconds
            for entry in page.get("Contents", []):
                folder, _, name = entry["Key"].removeprefix(self._prefix).partition("/")
                modified = entry["LastModified"].timestamp()
                if _SHA256.fullmatch(name) and folder == name[:2] and modified < before:
                    yield Stored(sha256=name, bytes=entry["Size"], modified=modified)

    def old_leftovers(self, seconds: float) -> Iterator[Item]:
        for page in self._pages("list_multipart_uploads"):
            before = _clock(page) - seconds
            for entry in page.get("Uploads", []):
                if entry["Initiated"].timestamp() < before:
                    where = {"Key": entry["Key"], "UploadId": entry["UploadId"]}
                    parts = self._pages("list_parts", **where)
                    yield Item(
                        kind="temporary file",
                        name=entry["Key"],
                        bytes=sum(part["Size"] for page in parts for part in page.get("Parts", [])),
                        remove=partial(self._abort, where),
                    )

    def _place(self, incoming: Incoming) -> None:
        if self._has(incoming):
            return
        try:
            self._upload(incoming)
        except FileNotFoundError as error:  # the source went too: the caller receives it again
            raise StoreError(f"{self.address} has lost {incoming.sha256}") from error

    def _remove(self, sha256: str) -> None:
        with self._in_words():
            self._s3.delete_object(Bucket=self._bucket, Key=self._key(sha256))

    def _has(self, incoming: Incoming) -> bool:
        stored = self.find(incoming.sha256)
        return stored is not None and stored.bytes == incoming.bytes

    def _upload(self, incoming: Incoming) -> None:
        to = {"Bucket": self._bucket, "Key": self._key(incoming.sha256)}
        with self._in_words(), incoming.copy.open("rb") as file:
            if incoming.bytes <= PART_BYTES:
                self._files.put_object(Body=file, **to)
            else:
                self._upload_in_parts(file, incoming.bytes, to)

    def _upload_in_parts(self, file: BinaryIO, size: int, to: dict[str, str]) -> None:
        at_once = max(PART_BYTES, -(-size // MOST_PARTS))
        upload = {**to, "UploadId": self._files.create_multipart_upload(**to)["UploadId"]}
        try:
            parts: list[dict[str, Any]] = []
            while block := file.read(at_once):
                number = len(parts) + 1
                sent = self._files.upload_part(Body=block, PartNumber=number, **upload)
                parts.append({"PartNumber": number, "ETag": sent["ETag"]})
            self._files.complete_multipart_upload(MultipartUpload={"Parts": parts}, **upload)
        except BaseException:
            with contextlib.suppress(BotoCoreError, ClientError):  # then `saf gc` does it
                self._files.abort_multipart_upload(**upload)
            raise

    def _body(self, sha256: str, position: int) -> Any:
        """The stream of an object's bytes from `position` on."""
        with self._in_words():
            try:
                found = self._files.get_object(
                    Bucket=self._bucket, Key=self._key(sha256), Range=f"bytes={position}-"
                )
            except ClientError as error:
                if _code(error) == "NoSuchKey":
                    raise FileNotFoundError(f"{self.address} has no file {sha256}") from None
                raise
        return _Body(found["Body"], self._in_words)

    def _pages(self, operation: str, **more: str) -> Iterator[dict[str, Any]]:
        where = {"Bucket": self._bucket, **(more or {"Prefix": self._prefix})}
        with self._in_words():
            yield from self._files.get_paginator(operation).paginate(**where)

    def _abort(self, upload: dict[str, str]) -> bool:
        with self._in_words():
            try:
                self._s3.abort_multipart_upload(Bucket=self._bucket, **upload)
            except ClientError as error:
                if _code(error) != "NoSuchUpload":
                    raise
                return False
        return True

    def _key(self, sha256: str) -> str:
        return f"{self._prefix}{sha256[:2]}/{sha256}"

    @contextlib.contextmanager
    def _in_words(self) -> Iterator[None]:
        """What the library raises, as StoreError: what it says itself may hold whole requests."""
        try:
            yield
        except ClientError as error:
            raise StoreError(f"{self.address} {_why(error)}") from None
        except NoCredentialsError:
            raise StoreError(
                f"{self.address} cannot be used without credentials; set AWS_ACCESS_KEY_ID and "
                "AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
            ) from None
        except _AWAY as error:
            raise StoreError(f"{self.address} does not answer ({type(error).__name__})") from None
        except (BotoCoreError, ResponseParserError) as error:
            raise StoreError(
                f"{self.address} cannot be used ({type(error).__name__}); look at the settings and "
                "credentials of AWS"
            ) from None


class _Body:
    """The bytes of one answer, with errors in words."""

    def __init__(self, body: Any, in_words: Callable[[], Any]) -> None:
        self._body = body
        self._in_words = in_words

    def read(self, most: int) -> bytes:
        with self._in_words():
            found: bytes = self._body.read(most)
            return found

    def close(self) -> None:
        self._body.close()


class _Object(io.RawIOBase):
    """An object as a file: nothing is asked for before it is read, and only from there on."""

    def __init__(self, body: Callable[[int], _Body], size: int) -> None:
        self._ask = body
        self._size = size
        self._position = 0
        self._body: _Body | None = None

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        if start + offset != self._position:
            self._leave()
            self._position = max(0, start + offset)
        return self._position

    def readinto(self, buffer: Any) -> int:
        if self._position >= self._size:
            return 0
        try:
            block = self._read(len(buffer))
        except StoreError:  # the connection was lost: a new one goes on where it stopped
            self._leave()
            block = self._read(len(buffer))
        buffer[: len(block)] = block
        self._position += len(block)
        return len(block)

    def close(self) -> None:
        self._leave()
        super().close()

    def _read(self, most: int) -> bytes:
        if self._body is None:
            self._body = self._ask(self._position)
        return self._body.read(most)

    def _leave(self) -> None:
        if self._body is not None:
            self._body.close()
            self._body = None


def _parts(url: str) -> tuple[str, str]:
    """Bucket, and the beginning of all keys. The address is not repeated in an error: it may hold
    a password that does not belong there."""
    parts = urlsplit(url)
    if parts.username or parts.password or "@" in parts.netloc:
        raise ValueError(
            "ARTIFACTS_URL holds a name or password; give s3://BUCKET/PREFIX, and the credentials "
            "as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or by AWS_PROFILE"
        )
    prefix = parts.path.strip("/")
    if not _BUCKET.fullmatch(parts.netloc) or parts.query or parts.fragment or "//" in prefix:
        raise ValueError(
            "ARTIFACTS_URL is not of the form s3://BUCKET/PREFIX; the address of another server "
            "than Amazon's goes into AWS_ENDPOINT_URL"
        )
    return parts.netloc, f"{prefix}/" if prefix else ""


def _config(timeouts: dict[str, int]) -> Any:
    return Config(
        **timeouts,
        retries={"mode": "standard", "total_max_attempts": 2},
        max_pool_connections=50,
        # The SHA-256 of a body is signed, over TLS too, so the server refuses another one. The
        # checksums that botocore adds by default are unknown to some servers.
        s3={"payload_signing_enabled": True},
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        user_agent_extra="saf-service",
    )


def _clock(page: dict[str, Any]) -> float:
    """When the server gave this answer, by its own clock."""
    return parsedate_to_datetime(page["ResponseMetadata"]["HTTPHeaders"]["date"]).timestamp()


def _code(error: ClientError) -> str:
    code = str(error.response.get("Error", {}).get("Code", ""))
    return code if re.fullmatch(r"\w{1,60}", code) else "an error without a code"


def _why(error: ClientError) -> str:
    """What a server refused, without what it says of the request."""
    code = _code(error)
    if code in ("NoSuchBucket", *_MISSING):
        return "is not there: there is no such bucket"
    if code in _DENIED:
        return f"refuses access ({code}): the credentials are not valid or lack a permission"
    if code in _CREDENTIALS:
        return f"does not accept the credentials ({code})"
    if code in _FULL:
        return f"is full ({code})"
    return f"answers with {code}"
