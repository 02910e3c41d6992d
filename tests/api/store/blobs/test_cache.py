from __future__ import annotations

import hashlib
import io
import os
import threading
from pathlib import Path
from typing import BinaryIO

import pytest

from api.store.blobs import cache as caches
from api.store.blobs.cache import Cache


class Source:
    """Files by their hash, and how often each was fetched."""

    def __init__(self) -> None:
        self.fetched: list[str] = []
        self._contents: dict[str, bytes] = {}
        self.hold = threading.Event()
        self.hold.set()

    def add(self, content: bytes) -> str:
        sha256 = hashlib.sha256(content).hexdigest()
        self._contents[sha256] = content
        return sha256

    def get(
        self, cache: Cache, sha256: str, directory: Path | None = None, wanted: bool = True
    ) -> Path:
        def open_() -> BinaryIO:
            self.fetched.append(sha256)
            self.hold.wait()
            return io.BytesIO(self._contents[sha256])

        return cache.local(sha256, open_, directory, lambda: not wanted)


@pytest.fixture
def source() -> Source:
    return Source()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cache:
    monkeypatch.setattr(caches, "FRESH_SECONDS", 1.0)
    return Cache(tmp_path / "cache", 1000)


def age(cache: Cache, sha256: str, seconds: float) -> None:
    before = os.stat(cache.directory / sha256).st_mtime - seconds
    os.utime(cache.directory / sha256, (before, before))


def test_the_least_recently_used_copies_make_room_and_what_is_in_use_stays(
    cache: Cache, source: Source, tmp_path: Path
) -> None:
    one, two, three = (source.add(bytes([number]) * 400) for number in range(3))
    used = source.get(cache, one, tmp_path / "attempt")
    source.get(cache, two)
    age(cache, one, 100)
    age(cache, two, 200)
    source.get(cache, one)  # used again, so the other one is older
    age(cache, one, 50)
    source.get(cache, three)
    assert {path.name for path in cache.directory.iterdir()} == {one, three}
    age(cache, three, 10)
    source.get(cache, two)
    assert {path.name for path in cache.directory.iterdir()} == {two, three}
    assert used.read_bytes() == bytes([0]) * 400, "it is linked where it is needed"
    assert source.fetched == [one, two, three, two]


def test_a_copy_that_was_just_asked_for_stays_though_there_is_no_room(
    cache: Cache, source: Source
) -> None:
    paths = [source.get(cache, source.add(bytes([number]) * 900)) for number in range(2)]
    assert all(path.is_file() for path in paths)


def test_a_copy_that_nobody_waits_for_any_more_is_given_up(
    cache: Cache, source: Source, tmp_path: Path
) -> None:
    with pytest.raises(InterruptedError):
        source.get(cache, source.add(b"large"), tmp_path / "attempt", wanted=False)
    assert list(cache.directory.iterdir()) == []
    assert not (tmp_path / "attempt").exists()


def test_who_asks_for_what_is_being_fetched_waits_for_it(cache: Cache, source: Source) -> None:
    sha256 = source.add(b"a data set")
    source.hold.clear()
    found: list[Path] = []
    jobs = [
        threading.Thread(target=lambda: found.append(source.get(cache, sha256))) for _ in range(3)
    ]
    for job in jobs:
        job.start()
    source.hold.set()
    for job in jobs:
        job.join()
    assert found == 3 * [cache.directory / sha256]
    assert source.fetched == [sha256]


def test_what_a_killed_process_left_half_fetched_goes(cache: Cache, source: Source) -> None:
    cache.directory.mkdir()
    for name, seconds in ((".part-old", 7200), (".part-young", 60)):
        (cache.directory / name).write_bytes(b"half")
        age(cache, name, seconds)
    sha256 = source.add(b"whole")
    source.get(cache, sha256)
    assert {path.name for path in cache.directory.iterdir()} == {sha256, ".part-young"}
