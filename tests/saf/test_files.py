"""Files appear whole or not at all, and are known by their content."""

from __future__ import annotations

import hashlib
import io
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from saf import files

WRITES_FOR_EVER = """
import sys
from pathlib import Path
from saf import files
with files.written(Path(sys.argv[1])) as file:
    file.write(b"half")
    file.flush()
    print("half", flush=True)
    sys.stdin.read()
"""


def write_and_close(path: Path) -> None:
    with files.written(path) as file:
        file.write(b"new")
        file.close()
        file.write(b"more")


def write_while_another_does(path: Path) -> None:
    with files.written(path, replace=False) as file:
        file.write(b"new")
        path.write_bytes(b"theirs")


def test_a_file_is_whole_at_the_end_of_the_block_and_not_before(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with files.written(path) as file:
        file.write(b"new")
        file.flush()
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_an_exception_leaves_what_was_there_and_no_part(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with pytest.raises(ValueError, match="write to closed file"):
        write_and_close(path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_writer_that_is_killed_leaves_what_was_there_and_hinders_nobody(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    command = [sys.executable, "-c", WRITES_FOR_EVER, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"half\n"
        writer.send_signal(signal.SIGKILL)
        writer.wait()
    assert path.read_bytes() == b"old"
    files.write_bytes(path, b"new")
    assert path.read_bytes() == b"new"


def test_two_that_write_one_file_at_once_do_not_mix(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with files.written(path) as one, files.written(path) as other:
        one.write(b"11")
        other.write(b"2")
    assert path.read_bytes() == b"11", "the one that ended last"


def test_without_replace_a_file_that_came_meanwhile_stays(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with pytest.raises(FileExistsError):
        write_while_another_does(path)
    assert path.read_bytes() == b"theirs"
    assert list(tmp_path.iterdir()) == [path]


def test_the_mode_is_never_wider_than_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "file"
    before = os.umask(0o022)
    try:
        with files.written(path, mode=0o600) as file:
            (part,) = tmp_path.iterdir()
            assert stat.S_IMODE(part.stat().st_mode) == 0o600
            file.write(b"secret")
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        files.write_bytes(path, b"for all")
        assert stat.S_IMODE(path.stat().st_mode) == 0o644
    finally:
        os.umask(before)


def test_a_digest_is_that_of_all_pieces_and_copies_them(tmp_path: Path) -> None:
    content = os.urandom(2 * files.BLOCK + 1)
    path, copy = tmp_path / "file", io.BytesIO()
    path.write_bytes(content)
    expected = files.Digest(hashlib.sha256(content).hexdigest(), len(content))
    assert files.digest_of(path) == expected
    with path.open("rb") as file:
        assert files.digest(files.blocks(file), copy_to=copy) == expected
    assert copy.getvalue() == content


def test_a_digest_that_nobody_wants_any_more_ends() -> None:
    asked = iter([False, True])
    with pytest.raises(InterruptedError):
        files.digest([b"1", b"2", b"3"], unwanted=lambda: next(asked))
