"""What lies on the disk of an upload whose request ends in the middle of a write."""

from __future__ import annotations

import asyncio
import errno
import resource
import signal
import threading
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import pytest
from fastapi import Request

from api.settings import Settings
from api.uploads.files import Upload, Uploads, Writer
from api.uploads.routes import BLOCK, write_body
from tests import loops
from tests.waiting import PATIENCE


class StalledDisk(Writer):
    """A disk that takes a block only when it is let go."""

    def __init__(self, upload: Upload) -> None:
        super().__init__(upload, None)
        self.begun, self.let_go = threading.Event(), threading.Event()

    def write(self, block: bytes) -> None:
        self.begun.set()
        assert self.let_go.wait(PATIENCE)
        super().write(block)


class Body:
    """A request of so many blocks, of which no two are alike, that never ends."""

    def __init__(self, blocks: int) -> None:
        self._blocks = blocks

    async def stream(self) -> AsyncIterator[bytes]:
        for number in range(self._blocks):
            yield bytes([number + 1]) * BLOCK
        await asyncio.Event().wait()


def uploads(tmp_path: Path, length: int) -> tuple[Uploads, Upload]:
    made = Uploads(Settings(data_dir=tmp_path))
    return made, made.create(length, name="", metadata={}, user="somebody")


def test_a_request_that_is_cancelled_during_a_write_writes_no_block_twice(tmp_path: Path) -> None:
    """As a server that stops cancels it."""
    found, upload = uploads(tmp_path, 10 * BLOCK)

    async def cancelled() -> None:
        with found.held(upload.id) as held:
            writer = StalledDisk(held)
            task = asyncio.ensure_future(write_body(cast(Request, Body(3)), writer, upload.length))
            await asyncio.to_thread(writer.begun.wait, PATIENCE)
            task.cancel()
            await asyncio.sleep(0)
            writer.let_go.set()
            with suppress(asyncio.CancelledError):
                await task
            await asyncio.to_thread(writer.close)

    loops.run(cancelled())
    kept = upload.file.read_bytes()
    assert kept in (b"", bytes([1]) * BLOCK), [kept[n] for n in range(0, len(kept), BLOCK)]


def test_after_a_block_that_the_disk_took_in_part_no_other_one_is_added(tmp_path: Path) -> None:
    _, upload = uploads(tmp_path, 10 * BLOCK)
    writer = Writer(upload, None)
    before: Any = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (BLOCK + 1000, before[1]))
        writer.write(b"a" * BLOCK)
        with pytest.raises(OSError, match="large") as refused:
            writer.write(b"b" * BLOCK)
        assert refused.value.errno == errno.EFBIG
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    with pytest.raises(OSError, match="large"):
        writer.write(b"c" * BLOCK)
    assert writer.close()
    assert upload.file.read_bytes() == b"a" * BLOCK + b"b" * 1000
    assert writer.offset == BLOCK + 1000
