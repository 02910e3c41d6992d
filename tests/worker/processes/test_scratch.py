"""Directories of workers that died are cleared, those of workers that live are not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from worker.processes import scratch as scratch_module
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
    scratch = Scratch(tmp_path, "mine")
    try:
        scratch.clear_leftovers()
        assert attempt.exists()
        assert orphan.poll() is None

        holder.kill()
        holder.wait()
        scratch.clear_leftovers()

        assert not attempt.parent.exists()
        assert orphan.wait(timeout=10) == -9
        assert stranger.poll() is None
    finally:
        for process in (orphan, stranger, holder):
            process.kill()
            process.wait()
        holder.stdin.close()
        holder.stdout.close()
        scratch.remove()
    assert list((tmp_path / "work").iterdir()) == []


def test_an_attempts_directory_goes_with_the_attempt(tmp_path: Path) -> None:
    scratch = Scratch(tmp_path, "mine")
    with scratch.attempt("job_1", 2) as directory:
        (directory / "file").write_text("x")
    assert not directory.exists()
    scratch.remove()


def test_a_folder_that_may_not_be_entered_stays_and_the_others_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = scratch_module._lock

    def refuse(directory: Path) -> int | None:
        if directory.name == "of-another-user":
            raise PermissionError(13, "Permission denied")
        return lock(directory)

    monkeypatch.setattr(scratch_module, "_lock", refuse)
    for name in ("of-another-user", "left"):
        (tmp_path / "work" / name).mkdir(parents=True)
    scratch = Scratch(tmp_path, "mine")
    scratch.clear_leftovers()
    assert {path.name for path in (tmp_path / "work").iterdir()} == {"of-another-user", "mine"}
    scratch.remove()
