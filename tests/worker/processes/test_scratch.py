"""Directories of workers that died are cleared, those of workers that live are not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from api.host import lock
from tests.waiting import PATIENCE
from worker.processes import scratch
from worker.processes.process import MARK  # type: ignore[attr-defined]
from worker.processes.scratch import Scratch

HOLDER = """
import os, sys
from pathlib import Path
from worker.processes.scratch import Scratch
scratch = Scratch(Path(sys.argv[1]), "other")
(scratch.directory / "job-1").mkdir()
print("ready", flush=True)
sys.stdin.read()
"""


def test_leftovers_of_a_dead_worker_are_removed_and_its_processes_ended(tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, tmp_path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert holder.stdout is not None
    assert holder.stdin is not None
    holder.stdout.readline()
    attempt = tmp_path / "work" / "other" / "job-1"
    orphan = subprocess.Popen(["sleep", "600"], env={**os.environ, MARK: str(attempt)})
    stranger = subprocess.Popen(["sleep", "600"], env={**os.environ, MARK: f"{tmp_path}/else/x"})
    own = Scratch(tmp_path, "mine")
    try:
        own.clear_leftovers()
        assert attempt.exists()
        assert orphan.poll() is None

        holder.kill()
        holder.wait()
        own.clear_leftovers()

        assert not attempt.parent.exists()
        assert orphan.wait(timeout=PATIENCE) == -9
        assert stranger.poll() is None
    finally:
        for process in (orphan, stranger, holder):
            process.kill()
            process.wait()
        holder.stdin.close()
        holder.stdout.close()
        own.remove()
    assert list((tmp_path / "work").iterdir()) == []


def test_an_attempts_directory_goes_with_the_attempt(tmp_path: Path) -> None:
    own = Scratch(tmp_path, "mine")
    with own.attempt("job_1", 2) as directory:
        (directory / "file").write_text("x")
    assert not directory.exists()
    own.remove()


def test_a_folder_that_may_not_be_entered_stays_and_the_others_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    take = lock.take

    def refuse(path: Path, *, make: bool = False) -> int | None:
        if path.parent.name == "of-another-user":
            raise PermissionError(13, "Permission denied")
        return take(path, make=make)

    monkeypatch.setattr(scratch, "take", refuse)
    for name in ("of-another-user", "left"):
        (tmp_path / "work" / name).mkdir(parents=True)
    own = Scratch(tmp_path, "mine")
    own.clear_leftovers()
    assert {path.name for path in (tmp_path / "work").iterdir()} == {"of-another-user", "mine"}
    own.remove()
